"""Integer arithmetic on shapes, computed beforehand: with fixed shapes it comes to constants, and its ops vanish.

Keras writes SHAPE, STRIDED_SLICE and PACK before a RESHAPE when the batch is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import ops
from kd_embedded.errors import KdError
from kd_embedded.tflite.graph import Graph, Op, Tensor

Array = NDArray[Any]
_MOST = 64  # elements of a shape: what is larger is no shape arithmetic
_MOVES = ("STRIDED_SLICE", "SLICE", "PACK", "UNPACK", "CONCATENATION", "GATHER", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_ARITHMETIC: Mapping[str, Callable[..., Array]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "CAST": lambda value: value,
    "REDUCE_PROD": lambda value, axes: np.prod(value, axis=tuple(int(axis) for axis in axes.reshape(-1))),
}


def fold_shapes(graph: Graph) -> Graph:
    """``graph`` with the integer tensors that its shapes determine as constants, without the ops that made them."""
    tensors, kept = list(graph.tensors), []
    for op in graph.ops:
        values = _evaluate(replace(graph, tensors=tuple(tensors)), op) if _is_small(tensors, op) else None
        if values is None:
            kept.append(op)
            continue
        for index, value in zip(op.outputs, values, strict=True):
            value.flags.writeable = False
            tensors[index] = replace(tensors[index], data=value)
    return replace(graph, tensors=tuple(tensors), ops=tuple(kept))


def _is_small(tensors: list[Tensor], op: Op) -> bool:
    """Whether ``op`` computes int32 or int64 values, few enough for a shape."""
    outputs = [tensors[index] for index in op.outputs]
    return all(tensor.dtype in ("int32", "int64") and 0 < np.prod(tensor.shape) <= _MOST for tensor in outputs)


def _evaluate(graph: Graph, op: Op) -> list[Array] | None:
    """The values of the op's outputs, in their shapes and types, or None where the file does not determine them."""
    inputs = [graph.tensors[index] for index in op.inputs if index >= 0]
    if op.name == "SHAPE" and len(inputs) == 1:
        values = [np.array(inputs[0].shape)]
    elif any(tensor.data is None or tensor.dtype not in ("int32", "int64") for tensor in inputs):
        return None
    else:
        values = _compute(graph, op, [tensor.data for tensor in inputs if tensor.data is not None])
    outputs = [graph.tensors[index] for index in op.outputs]
    if len(values) != len(outputs) or any(v.size != np.prod(t.shape) for v, t in zip(values, outputs, strict=False)):
        return None
    return [np.array(v, t.dtype).reshape(t.shape) for v, t in zip(values, outputs, strict=True)]


def _compute(graph: Graph, op: Op, constants: list[Array]) -> list[Array]:
    """The op on constants; nothing where it is not one of those that shapes are made with, or is damaged."""
    try:
        if op.name in _ARITHMETIC and op.options.get("fused_activation_function", "NONE") == "NONE":
            return [np.asarray(_ARITHMETIC[op.name](*constants))]
        reference = ops.spec(op.name).reference
        if op.name not in _MOVES or reference is None:
            return []
        return [value[0] for value in reference(graph, op, [constant[np.newaxis] for constant in constants])]
    except (KdError, TypeError, ValueError, OverflowError):
        return []
