"""SPACE_TO_BATCH_ND: the phases of a grid over the padded image become images of their own."""

from __future__ import annotations

import numpy as np

from kd_embedded.ops._movement import Piece, movement, positions, require_quant, require_rank, require_shape, vector
from kd_embedded.ops.pad import zero
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def check(graph: Graph, op: Op) -> None:
    """Refuses an output that TFLite would have to requantize (kernels/space_to_batch_nd.cc)."""
    require_quant(graph, op, input_tensor(graph, op, 0), output_tensor(graph, op))


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """One piece for each phase: its pixels inside the image; the frame is the output's zero point.

    Source: kernels/internal/reference/space_to_batch_nd.h:40. Image i of phase (p, q) is batch
    (p * block_w + q) * B + i.
    """
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    require_rank(graph, op, data, 3, 4)
    axes = len(data.shape) - 2
    blocks, pads = vector(graph, op, 1, axes), vector(graph, op, 2, 2 * axes)
    padded = [size + sum(pads[2 * i : 2 * i + 2]) for i, size in enumerate(data.shape[1:-1])]
    if min(blocks) < 1 or min(pads) < 0 or any(size % block for size, block in zip(padded, blocks, strict=True)):
        raise refuse(graph, op, f"has blocks of {blocks} in an image of {padded}")
    batch, depth = data.shape[0], data.shape[-1]
    phases = int(np.prod(blocks))
    sizes = [size // block for size, block in zip(padded, blocks, strict=True)]
    require_shape(graph, op, output, (batch * phases, *sizes, depth))
    of, to = positions(data), positions(output).reshape(phases, batch, *sizes, depth)
    found = []
    for phase, offsets in enumerate(np.ndindex(*blocks)):
        reads, writes = [slice(None)], [slice(None)]
        for axis, offset in enumerate(offsets):
            block, before, size = blocks[axis], pads[2 * axis], data.shape[1 + axis]
            first = max(0, -((offset - before) // block))  # the first output pixel that lies in the image
            last = min(sizes[axis], -((offset - before - size) // block))
            start = first * block + offset - before
            reads.append(slice(start, size, block) if first < last else slice(0, 0))
            writes.append(slice(first, max(first, last)))
        part = of[tuple(reads)]
        if part.size:
            found.append(Piece(0, part, to[phase][tuple(writes)]))
    return found


OP = movement("SPACE_TO_BATCH_ND", pieces, check=check, background=zero)
