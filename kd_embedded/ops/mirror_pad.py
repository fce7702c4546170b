"""MIRROR_PAD: a frame that mirrors the input at its border, with the outermost value doubled (SYMMETRIC) or not."""

from __future__ import annotations

import itertools

from kd_embedded.ops._movement import Piece, movement, positions, require_shape
from kd_embedded.ops._padding import paddings
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op

_Segment = tuple[slice, slice]  # of an axis: where from, where to


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """Each axis has up to three segments: mirrored, as it is, mirrored; the pieces are all their combinations.

    Source: kernels/mirror_pad.cc:99, GetInputDimension.
    """
    data, output, pads = input_tensor(graph, op, 0), output_tensor(graph, op), paddings(graph, op)
    sizes = [before + size + after for size, (before, after) in zip(data.shape, pads, strict=True)]
    require_shape(graph, op, output, sizes)
    border = 1 if op.options.get("mode", "REFLECT") == "REFLECT" else 0
    axes = [_segments(size, *pad, border) for size, pad in zip(data.shape, pads, strict=True)]
    if any(max(pad) > size - border for size, pad in zip(data.shape, pads, strict=True)):
        raise refuse(graph, op, f"mirrors {pads} of {list(data.shape)}, more than there is")
    of, to = positions(data), positions(output)
    return [Piece(0, of[tuple(s[0] for s in each)], to[tuple(s[1] for s in each)]) for each in itertools.product(*axes)]


def _segments(size: int, before: int, after: int, border: int) -> list[_Segment]:
    found: list[_Segment] = [(slice(0, size), slice(before, before + size))]
    if before:
        last = border - 1
        found.append((slice(before + border - 1, last if last >= 0 else None, -1), slice(0, before)))
    if after:
        first, stop = size - 1 - border, size - 1 - border - after
        found.append((slice(first, stop if stop >= 0 else None, -1), slice(before + size, before + size + after)))
    return found


OP = movement("MIRROR_PAD", pieces)
