"""What SPLIT, SPLIT_V and UNPACK share: one tensor cut along an axis into the outputs."""

from __future__ import annotations

from collections.abc import Sequence

from kd_embedded.ops._movement import Piece, positions, require_shape
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def cut(graph: Graph, op: Op, position: int, axis: int, sizes: Sequence[int], *, keep_axis: bool = True) -> list[Piece]:
    """A piece for each output, ``sizes`` along ``axis`` of input ``position``; the axis vanishes or is kept."""
    data = input_tensor(graph, op, position)
    if len(sizes) != len(op.outputs) or sum(sizes) != data.shape[axis] or min(sizes, default=0) < 1:
        raise refuse(graph, op, f"cuts {data.shape[axis]} into {list(sizes)} for {len(op.outputs)} outputs")
    of, found, start = positions(data).swapaxes(0, axis), [], 0
    for number, size in enumerate(sizes):
        part = of[start : start + size].swapaxes(0, axis)
        output = output_tensor(graph, op, number)
        part = part if keep_axis else part.squeeze(axis)
        require_shape(graph, op, output, part.shape)
        found.append(Piece(position, part, positions(output), number))
        start += size
    return found
