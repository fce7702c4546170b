"""STRIDED_SLICE: every n-th value of a box of the input. Inputs: data, begin, end, strides."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, movement, positions, require_rank, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op

_MOST_AXES = 5  # kernels/strided_slice.cc:307, Prepare


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """The box; an axis of ``shrink_axis_mask`` keeps one value and vanishes.

    Source: kernels/internal/strided_slice_logic.h:142, StartForAxis, and :189, StopForAxis.
    """
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    rank, shrink = len(data.shape), op.options.get("shrink_axis_mask", 0)
    require_rank(graph, op, data, *range(1, _MOST_AXES + 1))
    for mask in ("ellipsis_mask", "new_axis_mask", "offset"):
        if op.options.get(mask, 0):
            raise refuse(graph, op, f"has {mask} {int(op.options[mask])}")
    begins, ends, strides = (vector(graph, op, position, rank) for position in (1, 2, 3))
    part = positions(data)
    for axis in range(rank):
        if strides[axis] == 0 or (shrink >> axis & 1 and strides[axis] < 0):
            raise refuse(graph, op, f"has stride {strides[axis]} along axis {axis}")
        taken = _range(op, axis, data.shape[axis], begins[axis], ends[axis], strides[axis])
        if not taken:
            raise refuse(graph, op, f"takes nothing of axis {axis}")
        part = part.take(list(taken), axis)
    part = part.reshape([size for axis, size in enumerate(part.shape) if not shrink >> axis & 1])
    require_shape(graph, op, output, part.shape)
    return [Piece(0, part, positions(output))]


def _range(op: Op, axis: int, size: int, begin: int, end: int, stride: int) -> range:
    """The positions along one axis."""
    low, high = (0, size) if stride > 0 else (-1, size - 1)
    if op.options.get("begin_mask", 0) >> axis & 1:
        start = low if stride > 0 else high
    else:
        start = min(max(begin + size if begin < 0 else begin, low), high)
    if op.options.get("shrink_axis_mask", 0) >> axis & 1:
        return range(start, min(start + 1, size))
    if op.options.get("end_mask", 0) >> axis & 1:
        return range(start, high if stride > 0 else low, stride)
    return range(start, min(max(end + size if end < 0 else end, low), high), stride)


OP = movement("STRIDED_SLICE", pieces)
