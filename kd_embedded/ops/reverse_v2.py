"""REVERSE_V2: the values along an axis in reverse order (kernels/reverse.cc)."""

from __future__ import annotations

import numpy as np

from kd_embedded.ops._movement import Piece, axis_of, movement, positions, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """The whole input, seen from the other end of one axis; of several, TFLite 2.14 reverses the first only."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    if input_tensor(graph, op, 1).shape != (1,):
        raise refuse(graph, op, "reverses several axes, which TFLite does not do")
    (axis,) = vector(graph, op, 1, 1)
    require_shape(graph, op, output, data.shape)
    return [Piece(0, np.flip(positions(data), axis_of(graph, op, axis, len(data.shape))), positions(output))]


OP = movement("REVERSE_V2", pieces)
