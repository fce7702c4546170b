"""TILE: the input repeated along its axes (kernels/tile.cc)."""

from __future__ import annotations

import numpy as np

from kd_embedded.ops._movement import Piece, movement, positions, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """The input at every place of the grid of repeats: each axis becomes two, repeats and values."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    repeats = vector(graph, op, 1, len(data.shape))
    if min(repeats, default=1) < 1:
        raise refuse(graph, op, f"repeats {repeats} times")
    require_shape(graph, op, output, [r * size for r, size in zip(repeats, data.shape, strict=True)])
    twofold = [part for pair in zip(repeats, data.shape, strict=True) for part in pair]
    single = [part for size in data.shape for part in (1, size)]
    part = np.broadcast_to(positions(data).reshape(single), twofold)
    return [Piece(0, part, positions(output).reshape(twofold))]


OP = movement("TILE", pieces)
