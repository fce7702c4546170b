"""TRANSPOSE: axes in another order (kernels/transpose.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, axis_of, movement, positions, require_rank, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op

_MOST_AXES = 6  # kernels/internal/types.h:995, kTransposeMaxDimensions


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """The whole input, seen in the output's order."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    rank = len(data.shape)
    require_rank(graph, op, data, *range(1, _MOST_AXES + 1))
    order = [axis_of(graph, op, axis, rank) for axis in vector(graph, op, 1, rank)]
    if sorted(order) != list(range(rank)):
        raise refuse(graph, op, f"has the order {order}, no permutation")
    part = positions(data).transpose(order)
    require_shape(graph, op, output, part.shape)
    return [Piece(0, part, positions(output))]


OP = movement("TRANSPOSE", pieces)
