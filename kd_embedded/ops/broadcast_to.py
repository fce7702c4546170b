"""BROADCAST_TO: axes of size 1 repeated, new ones in front (kernels/broadcast_to.cc)."""

from __future__ import annotations

import numpy as np

from kd_embedded.ops._movement import Piece, movement, positions, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """The input, seen in the output's shape."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    shape = vector(graph, op, 1, len(output.shape))
    require_shape(graph, op, output, shape)
    try:
        part = np.broadcast_to(positions(data), shape)
    except ValueError:
        raise refuse(graph, op, f"broadcasts {list(data.shape)} to {shape}") from None
    return [Piece(0, part, positions(output))]


OP = movement("BROADCAST_TO", pieces)
