"""BATCH_TO_SPACE_ND: images become the phases of a grid over one larger image, which is cropped."""

from __future__ import annotations

import numpy as np

from kd_embedded.ops._movement import Piece, movement, positions, require_quant, require_rank, require_shape, vector
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def check(graph: Graph, op: Op) -> None:
    """Refuses an output that TFLite would have to requantize (kernels/batch_to_space_nd.cc)."""
    require_quant(graph, op, input_tensor(graph, op, 0), output_tensor(graph, op))


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """One piece for each phase. Source: kernels/internal/reference/batch_to_space_nd.h:39.

    Batch (p * block_w + q) * B + i is phase (p, q) of image i.
    """
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    require_rank(graph, op, data, 3, 4)
    axes, depth = len(data.shape) - 2, data.shape[-1]
    blocks, crops = vector(graph, op, 1, axes), vector(graph, op, 2, 2 * axes)
    phases = int(np.prod(blocks))
    if min(blocks) < 1 or min(crops) < 0 or data.shape[0] % phases:
        raise refuse(graph, op, f"has blocks of {blocks} and crops of {crops} in {data.shape[0]} images")
    batch = data.shape[0] // phases
    whole = [size * block for size, block in zip(data.shape[1:-1], blocks, strict=True)]
    kept = [slice(crops[2 * i], size - crops[2 * i + 1]) for i, size in enumerate(whole)]
    sizes = [max(0, part.stop - part.start) for part in kept]
    require_shape(graph, op, output, (batch, *sizes, depth))
    of, to = positions(data).reshape(phases, batch, *data.shape[1:]), positions(output)
    found = []
    for phase, offsets in enumerate(np.ndindex(*blocks)):
        reads, writes = [slice(None)], [slice(None)]
        for axis, offset in enumerate(offsets):
            block, before, size = blocks[axis], crops[2 * axis], data.shape[1 + axis]
            first = max(0, -((offset - before) // block))  # the first input pixel that is not cropped
            last = min(size, -((offset - before - sizes[axis]) // block))
            reads.append(slice(first, max(first, last)))
            writes.append(slice(first * block + offset - before, sizes[axis], block) if first < last else slice(0, 0))
        part = of[phase][tuple(reads)]
        if part.size:
            found.append(Piece(0, part, to[tuple(writes)]))
    return found


OP = movement("BATCH_TO_SPACE_ND", pieces, check=check)
