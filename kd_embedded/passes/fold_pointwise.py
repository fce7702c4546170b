"""Ops that together are a function of one int8 tensor, value by value, made one table of 256 bytes.

SiLU comes as x * LOGISTIC(x), CELU as five ops, a hard sigmoid as ADD, RELU6 and MUL: as one lookup each they take a
tenth of the instructions, and the tensors between them no memory. The table is what the ops' own references give.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import ops
from kd_embedded.tflite.graph import Graph, Op


@dataclass(frozen=True, eq=False)
class _Function:
    """A tensor's value int64 [256] for each value of another tensor, by way of the ops ``made_by``."""

    values: NDArray[Any]
    made_by: frozenset[int]


_IDENTITY = _Function(np.arange(-128, 128, dtype=np.int64), frozenset())
_ByRoot = Mapping[int, _Function]  # one tensor as a function of others, by their index


def fold_pointwise(graph: Graph) -> Graph:
    """``graph`` with each such group as the one op LOOKUP, where nothing else reads what lies between.

    The op that comes last in a group keeps its index.
    """
    readers = _readers(graph)
    functions: dict[int, _ByRoot] = {}
    groups: dict[int, Op] = {}
    gone: set[int] = set()
    for op in graph.ops:
        found = _functions(graph, op, functions)
        if found:
            functions[op.outputs[0]] = found
    for op in reversed(graph.ops):
        group = None if op.index in gone else _largest(graph, op, functions.get(op.outputs[0], {}), readers)
        if group is not None:
            root, function = group
            options = MappingProxyType({"table": tuple(function.values.tolist())})
            groups[op.index] = replace(op, name="LOOKUP", inputs=(root,), options=options)
            gone |= function.made_by - {op.index}
    return replace(graph, ops=tuple(groups.get(op.index, op) for op in graph.ops if op.index not in gone))


def _readers(graph: Graph) -> Mapping[int, set[int]]:
    """The ops that read each tensor."""
    readers: dict[int, set[int]] = defaultdict(set)
    for op in graph.ops:
        for index in op.inputs:
            readers[index].add(op.index)
    return readers


def _functions(graph: Graph, op: Op, functions: Mapping[int, _ByRoot]) -> _ByRoot:
    """The op's output as functions of its only varying operand, or of what all of them are functions of."""
    pointwise = ops.spec(op.name).pointwise
    tensors = [graph.tensors[index] for index in op.inputs if index >= 0]
    varying = [tensor for tensor in tensors if tensor.data is None]
    if pointwise is None or any(tensor.shape != graph.tensors[op.outputs[0]].shape for tensor in varying):
        return {}
    if not all(tensor.data is None or np.all(tensor.data == tensor.data.flat[0]) for tensor in tensors):
        return {}
    known = {tensor.index: {tensor.index: _IDENTITY, **functions.get(tensor.index, {})} for tensor in varying}
    found: dict[int, _Function] = {}
    for root in set.intersection(*(set(by_root) for by_root in known.values())):
        used = [known[tensor.index][root] for tensor in varying]
        operands = [
            known[tensor.index][root].values if tensor.data is None else np.array(tensor.data.flat[0], np.int64)
            for tensor in tensors
        ]
        made_by = frozenset({op.index}).union(*(function.made_by for function in used))
        found[root] = _Function(pointwise(graph, op, operands).astype(np.int64), made_by)
    return found


def _largest(graph: Graph, op: Op, by_root: _ByRoot, readers: Mapping[int, set[int]]) -> tuple[int, _Function] | None:
    """The largest group of two or more ops that ends in ``op``, of which nothing else reads more than the result."""
    makers = {maker.index: maker for maker in graph.ops}

    def is_closed(group: frozenset[int]) -> bool:
        between = {index for made in group - {op.index} for index in makers[made].outputs}
        return not between & set(graph.outputs) and all(readers[index] <= group for index in between)

    closed = [(root, f) for root, f in by_root.items() if len(f.made_by) > 1 and is_closed(f.made_by)]
    return max(closed, key=lambda found: len(found[1].made_by), default=None)
