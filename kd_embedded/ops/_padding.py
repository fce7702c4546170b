"""What PAD and PADV2 share: the input inside a larger output of one value."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, positions, require_rank, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op

_MOST_AXES = 5  # kernels/internal/reference/pad.h:28, PadKernelMaxDimensionCount


def paddings(graph: Graph, op: Op) -> list[tuple[int, int]]:
    """(before, after) for each axis; refused where one is negative."""
    rank = len(input_tensor(graph, op, 0).shape)
    flat = vector(graph, op, 1, 2 * rank)
    if min(flat, default=0) < 0:
        raise refuse(graph, op, f"has the paddings {flat}, one of them negative")
    return [(flat[2 * axis], flat[2 * axis + 1]) for axis in range(rank)]


def inside(graph: Graph, op: Op) -> list[Piece]:
    """The whole input into its place in the output."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    require_rank(graph, op, data, *range(1, _MOST_AXES + 1))
    pads = paddings(graph, op)
    sizes = zip(data.shape, pads, strict=True)
    require_shape(graph, op, output, [before + size + after for size, (before, after) in sizes])
    place = tuple(slice(before, before + size) for size, (before, _) in zip(data.shape, pads, strict=True))
    return [Piece(0, positions(data), positions(output)[place])]
