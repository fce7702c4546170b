"""EXPAND_DIMS: an axis of size 1 inserted: no code."""

from __future__ import annotations

from kd_embedded.ops._movement import alias, axis_of, vector
from kd_embedded.ops.spec import input_tensor
from kd_embedded.tflite.graph import Graph, Op


def shape(graph: Graph, op: Op) -> tuple[int, ...]:
    """The input's shape with a 1 at the axis, which counts in the output (kernels/expand_dims.cc)."""
    sizes = input_tensor(graph, op, 0).shape
    axis = axis_of(graph, op, vector(graph, op, 1, 1)[0], len(sizes) + 1)
    return (*sizes[:axis], 1, *sizes[axis:])


OP = alias("EXPAND_DIMS", shape)
