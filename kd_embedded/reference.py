"""The interpreter made of the ops' own integer references: the bytes of TFLite's reference kernels, on any platform.

NumPy alone, many samples at once; no TensorFlow, tflite-runtime or TFLM. What goes in is a Graph and int8 samples, what
comes out is what BUILTIN_REF computes from them (kd_embedded/ops/ says how, op by op).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import ops
from kd_embedded.errors import ModelError
from kd_embedded.ops.spec import elements, refuse
from kd_embedded.passes.float_islands import fold_float_islands
from kd_embedded.passes.fold_shapes import fold_shapes
from kd_embedded.passes.strip_edges import strip_edges
from kd_embedded.tflite.check import check_aot, check_int8_edges
from kd_embedded.tflite.graph import Graph, Op

Array = NDArray[Any]
_CHUNK_ELEMENTS = 1 << 20  # of the largest tensor, over all samples of a chunk: an op's int64 copies stay below 100 MB


def run(graph: Graph, inputs: Array) -> Array:
    """The outputs [N * output.shape[0], *output.shape[1:]] for ``inputs``, int8 [N, *input.shape[1:]].

    Float and uint8 edges are taken off (passes/strip_edges.py): what goes in and comes out is int8 all the same.
    Raises ModelError where an op, or an attribute of one, has no reference here.
    """
    output = checked(graph).output
    values = run_keeping(graph, inputs, [output.index])[output.index]
    return np.ascontiguousarray(values.reshape(-1, *output.shape[1:]))


def run_keeping(graph: Graph, inputs: Array, tensors: Sequence[int]) -> dict[int, Array]:
    """The values [N, *shape] of the ``tensors`` (indices) for ``inputs``, int8 [N, *input.shape[1:]]; else as ``run``.

    Memory stays bounded: samples run in chunks, and a value is dropped after the last op that reads it.
    """
    graph = checked(graph)
    wanted = (inputs.shape[0], *graph.input.shape[1:])
    if inputs.shape != wanted or not len(inputs) or graph.input.shape[0] != 1:
        what = f"inputs of shape {list(inputs.shape)} do not suit the model's {list(graph.input.shape)}"
        raise ModelError(what, where="interpreter reference", todo="give one or more samples, each a batch of 1")
    largest = max(elements(tensor) for tensor in graph.tensors)
    step = max(1, _CHUNK_ELEMENTS // max(1, largest))
    parts = [_run_chunk(graph, inputs[start : start + step], tensors) for start in range(0, len(inputs), step)]
    return {index: np.concatenate([part[index] for part in parts]) for index in tensors}


def checked(graph: Graph) -> Graph:
    """``graph`` without float edges and shape arithmetic; ModelError where the aot engine does not have an op of it."""
    graph = fold_float_islands(strip_edges(fold_shapes(graph)).graph)
    check_aot(graph, graph.name)
    check_int8_edges(graph, graph.name)
    for op in graph.ops:
        spec = ops.spec(op.name)
        if spec.reference is None or spec.accepts is None:
            raise refuse(graph, op, "is not in the aot engine")
        spec.accepts(graph, op)
    return graph


def _run_chunk(graph: Graph, inputs: Array, keep: Collection[int]) -> dict[int, Array]:
    """The kept values [N, *shape] of one chunk of samples."""
    values: dict[int, Array] = {graph.inputs[0]: inputs[:, np.newaxis]}
    kept = {index: _samples(_value(graph, values, index), inputs) for index in keep if _is_given(graph, index)}
    for op, dead in zip(graph.ops, _dying(graph), strict=True):
        for index, value in zip(op.outputs, _outputs(graph, op, values), strict=True):
            values[index] = value
            if index in keep:
                kept[index] = _samples(value, inputs)
        for index in dead:
            values.pop(index, None)
    return kept


def _outputs(graph: Graph, op: Op, values: Mapping[int, Array]) -> list[Array]:
    reference = ops.spec(op.name).reference
    assert reference is not None  # checked
    outputs = reference(graph, op, [None if i < 0 else _value(graph, values, i) for i in op.inputs])
    for index, value in zip(op.outputs, outputs, strict=True):
        tensor = graph.tensors[index]
        assert value.shape[1:] == tensor.shape and value.dtype == np.dtype(tensor.dtype), (op, value.shape, value.dtype)
    return outputs


def _value(graph: Graph, values: Mapping[int, Array], index: int) -> Array:
    data = graph.tensors[index].data
    return values[index] if data is None else data[np.newaxis]


def _is_given(graph: Graph, index: int) -> bool:
    return index in graph.inputs or graph.tensors[index].data is not None


def _samples(value: Array, inputs: Array) -> Array:
    """``value`` with one row for each sample, where it is the same for all."""
    return np.broadcast_to(value, (len(inputs), *value.shape[1:]))


def _dying(graph: Graph) -> Iterator[list[int]]:
    """For each op the tensors that nothing after it reads."""
    last = {index: position for position, op in enumerate(graph.ops) for index in (*op.outputs, *op.inputs)}
    for position in range(len(graph.ops)):
        yield [index for index, end in last.items() if end == position]
