"""SPLIT: equal parts along an axis. Inputs: axis, data (kernels/split.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, axis_of, movement, vector
from kd_embedded.ops._split import cut
from kd_embedded.ops.spec import input_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """A piece for each output."""
    data, count = input_tensor(graph, op, 1), len(op.outputs)
    axis = axis_of(graph, op, vector(graph, op, 0, 1)[0], len(data.shape))
    if data.shape[axis] % count:
        raise refuse(graph, op, f"cuts {data.shape[axis]} into {count} equal parts")
    return cut(graph, op, 1, axis, [data.shape[axis] // count] * count)


OP = movement("SPLIT", pieces)
