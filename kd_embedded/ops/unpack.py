"""UNPACK: a tensor cut along an axis into slices without it (kernels/unpack.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, axis_of, movement
from kd_embedded.ops._split import cut
from kd_embedded.ops.spec import input_tensor
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """A piece for each output."""
    data = input_tensor(graph, op, 0)
    axis = axis_of(graph, op, op.options.get("axis", 0), len(data.shape))
    return cut(graph, op, 0, axis, [1] * op.options.get("num", 0), keep_axis=False)


OP = movement("UNPACK", pieces)
