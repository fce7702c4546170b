"""SQUEEZE: axes of size 1 removed: no code."""

from __future__ import annotations

from kd_embedded.ops._movement import alias, axis_of
from kd_embedded.ops.spec import input_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def shape(graph: Graph, op: Op) -> tuple[int, ...]:
    """The input's shape without the axes ``squeeze_dims``, or without all of size 1 (kernels/squeeze.cc)."""
    sizes = input_tensor(graph, op, 0).shape
    axes = {axis_of(graph, op, axis, len(sizes)) for axis in op.options.get("squeeze_dims", ())}
    if any(sizes[axis] != 1 for axis in axes):
        raise refuse(graph, op, f"squeezes axes {sorted(axes)} of {list(sizes)}, not all of size 1")
    axes = axes or {axis for axis, size in enumerate(sizes) if size == 1}
    return tuple(size for axis, size in enumerate(sizes) if axis not in axes)


OP = alias("SQUEEZE", shape)
