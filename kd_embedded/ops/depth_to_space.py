"""DEPTH_TO_SPACE: channels become blocks of pixels (kernels/internal/reference/depth_to_space.h:24)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, movement, positions, require_rank, require_shape
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """[B, H, W, n * n * C] to [B, H * n, W * n, C]: the old channels are row of block, column of block, channel."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    require_rank(graph, op, data, 4)
    n = op.options.get("block_size", 0)
    b, h, w, c = data.shape
    if n < 1 or c % (n * n):
        raise refuse(graph, op, f"has blocks of {n} of {c} channels")
    require_shape(graph, op, output, (b, h * n, w * n, c // (n * n)))
    of = positions(data).reshape(b, h, w, n, n, c // (n * n))
    return [Piece(0, of, positions(output).reshape(b, h, n, w, n, c // (n * n)).swapaxes(2, 3))]


OP = movement("DEPTH_TO_SPACE", pieces)
