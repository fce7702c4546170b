"""SPACE_TO_DEPTH: blocks of pixels become channels (kernels/internal/reference/space_to_depth.h:26)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, movement, positions, require_rank, require_shape
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """[B, H, W, C] to [B, H / n, W / n, n * n * C]: the new channels are row of block, column of block, channel."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    require_rank(graph, op, data, 4)
    n = op.options.get("block_size", 0)
    b, h, w, c = data.shape
    if n < 1 or h % n or w % n:
        raise refuse(graph, op, f"has blocks of {n} in an image of {h} x {w}")
    require_shape(graph, op, output, (b, h // n, w // n, n * n * c))
    of = positions(data).reshape(b, h // n, n, w // n, n, c)
    return [Piece(0, of, positions(output).reshape(b, h // n, w // n, n, n, c).swapaxes(2, 3))]


OP = movement("SPACE_TO_DEPTH", pieces)
