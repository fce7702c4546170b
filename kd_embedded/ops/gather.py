"""GATHER: slices along an axis, picked by constant indices (kernels/gather.cc)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._movement import axis_of, constant, require_shape
from kd_embedded.ops._tables import Picks, require_int8_activation
from kd_embedded.ops.spec import OpSpec, Values, input_tensor, output_tensor, refuse
from kd_embedded.program import Step, Target
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


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """The slices, as they are."""
    (value, *_), output = values, output_tensor(graph, op)
    assert value is not None  # accepts
    return [picks(graph, op).take(value).reshape(len(value), *output.shape)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call of ``gather``."""
    return (picks(graph, op).call(op),)


OP = OpSpec("GATHER", accepts=accepts, reference=reference, lower=lower)
