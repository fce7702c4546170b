"""SLICE: a box of the input. Inputs: data, begin, size (kernels/slice.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, movement, positions, require_rank, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op

_MOST_AXES = 5  # kernels/slice.cc:50, kMaxDim


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """The box; a size of -1 goes to the end of its axis."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    rank = len(data.shape)
    require_rank(graph, op, data, *range(1, _MOST_AXES + 1))
    begins, sizes = vector(graph, op, 1, rank), vector(graph, op, 2, rank)
    sizes = [all_ - begin if size == -1 else size for all_, begin, size in zip(data.shape, begins, sizes, strict=True)]
    for all_, begin, size in zip(data.shape, begins, sizes, strict=True):
        if begin < 0 or size < 1 or begin + size > all_:
            raise refuse(graph, op, f"takes {size} values from {begin} on of {all_}")
    require_shape(graph, op, output, sizes)
    box = tuple(slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))
    return [Piece(0, positions(data)[box], positions(output))]


OP = movement("SLICE", pieces)
