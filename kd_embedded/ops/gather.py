"""GATHER: slices along an axis, picked by constant indices (kernels/gather.cc)."""

from __future__ import annotations

import math

import numpy as np

from kd_embedded.ops._movement import axis_of, constant, require_shape
from kd_embedded.ops._tables import Picks, picking_op, require_int8_activation
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def accepts(graph: Graph, op: Op) -> None:
    """Refuses indices that the run computes or that lie outside, batch dimensions, and types other than int8."""
    require_int8_activation(graph, op)
    picks(graph, op)


def picks(graph: Graph, op: Op) -> Picks:
    """What is picked: [before the axis, 1, axis, behind it]."""
    sizes, indices = input_tensor(graph, op, 0).shape, constant(graph, op, 1)
    axis = axis_of(graph, op, op.options.get("axis", 0), len(sizes))
    if op.options.get("batch_dims", 0):
        raise refuse(graph, op, f"has batch_dims {op.options['batch_dims']}")
    if not indices.size or indices.min() < 0 or indices.max() >= sizes[axis]:
        raise refuse(graph, op, f"picks {indices.reshape(-1).tolist()} of {sizes[axis]}")
    require_shape(graph, op, output_tensor(graph, op), (*sizes[:axis], *indices.shape, *sizes[axis + 1 :]))
    return Picks(
        planes=math.prod(sizes[:axis]),
        row_size=1,
        column_size=sizes[axis],
        run=math.prod(sizes[axis + 1 :]),
        rows=np.zeros(1, np.int64),
        columns=indices.reshape(-1),
    )


OP = picking_op("GATHER", accepts, picks)
