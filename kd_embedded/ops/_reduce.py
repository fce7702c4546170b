"""MEAN, REDUCE_MAX and REDUCE_MIN: which values of the input each value of the output is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._weights import activation, result
from kd_embedded.ops.spec import Values, elements, input_tensor, output_tensor, refuse
from kd_embedded.program import Array, Overlap
from kd_embedded.tflite.graph import Graph, Op

LOOPS = 3  # of the kernels: over kept axes, and over reduced ones
_MAX_COUNT = 1 << 22  # of values in one sum: the reference's int32 holds them

_Loop = tuple[int, int]  # rounds, step in the input


def reduced_axes(graph: Graph, op: Op) -> tuple[int, ...]:
    """The axes that vanish, ascending; refused where they are not constant, or the output has another shape.

    Source: tensorflow/lite/kernels/internal/reference/reduce.h:109 (v2.14), ResolveAxis: negative ones count from the
    end, repeated ones count once.
    """
    source, output, tensor = activation(graph, op, 0), result(graph, op), input_tensor(graph, op, 1)
    rank = len(source.shape)
    if tensor.data is None or tensor.dtype != "int32":
        raise refuse(graph, op, f"has axes (tensor {tensor.name}) that are not constant int32")
    axes = [int(axis) for axis in tensor.data.reshape(-1)]
    if not axes or not all(-rank <= axis < rank for axis in axes):
        raise refuse(graph, op, f"has axes {axes} for {rank}")
    resolved = tuple(sorted({axis % rank for axis in axes}))
    keep = bool(op.options.get("keep_dims", False))
    made = [1 if axis in resolved else size for axis, size in enumerate(source.shape) if keep or axis not in resolved]
    if list(output.shape) != made:
        raise refuse(graph, op, f"makes shape {list(output.shape)} of {list(source.shape)} along {list(resolved)}")
    kept, reduced = loops(source.shape, resolved)
    if max(len(kept), len(reduced)) > LOOPS or math.prod(rounds for rounds, _ in reduced) > _MAX_COUNT:
        raise refuse(graph, op, f"reduces shape {list(source.shape)} along {list(resolved)}, more than the kernel does")
    return resolved


def reduced(graph: Graph, op: Op, values: Values) -> tuple[NDArray[Any], tuple[int, ...]]:
    """The input [N, *shape] and the axes of it to reduce."""
    x = values[0]
    assert x is not None
    return x, tuple(axis + 1 for axis in reduced_axes(graph, op))


def loops(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[list[_Loop], list[_Loop]]:
    """Loops over the kept and over the reduced axes, the outermost first; neighbours are joined."""
    found: list[tuple[bool, int, int]] = []
    step = 1
    for axis in reversed(range(len(shape))):
        if shape[axis] > 1:
            gone = axis in axes
            if found and found[-1][0] == gone:
                found[-1] = (gone, found[-1][1] * shape[axis], found[-1][2])
            else:
                found.append((gone, shape[axis], step))
        step *= shape[axis]
    found.reverse()
    kept, reduced = ([(rounds, step) for gone, rounds, step in found if gone == wanted] for wanted in (False, True))
    return kept, reduced


def loop_array(graph: Graph, op: Op) -> Array:
    """Rounds and input steps of the kernels' loops: over kept axes, then over reduced ones, the outermost first."""
    each = loops(input_tensor(graph, op, 0).shape, reduced_axes(graph, op))
    padded = [[(1, 1)] * (LOOPS - len(found)) + found for found in each]
    return Array("loops", np.array(padded, np.int32).reshape(-1))


def overlap(graph: Graph, op: Op) -> Overlap:
    """Output value o is written when all its inputs have been read; those of later ones must not lie there."""
    shape = input_tensor(graph, op, 0).shape
    positions = np.arange(elements(input_tensor(graph, op, 0))).reshape(shape)
    begins = positions.min(axis=reduced_axes(graph, op)).reshape(-1)
    lowest = np.minimum.accumulate(begins[::-1])[::-1]
    return Overlap(0, "forward", max(0, int((np.arange(begins.size) - lowest).max())))


def output_count(graph: Graph, op: Op) -> int:
    """How many values of the input one value of the output is made of."""
    return elements(input_tensor(graph, op, 0)) // elements(output_tensor(graph, op))
