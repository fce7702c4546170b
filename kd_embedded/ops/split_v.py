"""SPLIT_V: parts of given sizes along an axis. Inputs: data, sizes, axis (kernels/split_v.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, axis_of, movement, vector
from kd_embedded.ops._split import cut
from kd_embedded.ops.spec import input_tensor
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """A piece for each output; one size may be -1, the rest."""
    data = input_tensor(graph, op, 0)
    axis = axis_of(graph, op, vector(graph, op, 2, 1)[0], len(data.shape))
    sizes = vector(graph, op, 1, len(op.outputs))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = data.shape[axis] - sum(size for size in sizes if size != -1)
    return cut(graph, op, 0, axis, sizes)


OP = movement("SPLIT_V", pieces)
