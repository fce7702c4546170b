"""ARG_MAX and ARG_MIN: where the largest or smallest byte along one axis stands, as int32; the first one of equals.

Sources: tensorflow/lite/kernels/arg_min_max.cc:67 (v2.14), Prepare, and :127, Eval; internal/reference/
arg_min_max.h:36, ArgMinMax: strictly greater or smaller values alone replace an earlier one. Scales and zero points
change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._weights import activation
from kd_embedded.ops.spec import OpSpec, Values, describe, elements, input_tensor, output_tensor, refuse
from kd_embedded.program import Array, Call, Overlap, Step, Target
from kd_embedded.tflite.classes import check_index_type
from kd_embedded.tflite.graph import Graph, Op

_INDEX_BYTES = 4


def arg_extreme_op(name: str, largest: bool) -> OpSpec:
    """The OpSpec of ARG_MAX (``largest``) or ARG_MIN."""

    def accepts(graph: Graph, op: Op) -> None:
        axis = _axis(graph, op)
        source, output = input_tensor(graph, op, 0), output_tensor(graph, op)
        check_index_type(graph, op)
        made = [*source.shape[:axis], *source.shape[axis + 1 :]]
        if list(output.shape) != made:
            raise refuse(graph, op, f"makes shape {list(output.shape)} of {list(source.shape)} along axis {axis}")
        readers = [other for other in graph.ops if output.index in other.inputs]
        if readers or output.index not in graph.outputs:
            what = f"read by {describe(readers[0])}" if readers else "not read"
            raise refuse(graph, op, f"gives indices (tensor {output.name}) that are {what}: they must be the output")

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        x = values[0]
        assert x is not None
        found = np.argmax if largest else np.argmin
        return [found(x, axis=_axis(graph, op) + 1).astype(np.int32)]

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        fields: Mapping[str, int | Array] = {**_sizes(graph, op), "inverted": 0 if largest else -1}
        return (Call("arg_max", op.index, op.inputs[:1], op.outputs, fields, overlaps=(_overlap(graph, op),)),)

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower)


def _axis(graph: Graph, op: Op) -> int:
    """The axis, counted from the front."""
    source, tensor = activation(graph, op, 0), input_tensor(graph, op, 1)
    if tensor.data is None or tensor.dtype != "int32" or tensor.data.size != 1:
        raise refuse(graph, op, f"has an axis (tensor {tensor.name}) that is not one constant int32")
    axis, rank = int(tensor.data.reshape(-1)[0]), len(source.shape)
    if not -rank <= axis < rank:
        raise refuse(graph, op, f"has axis {axis} for {rank}")
    return axis % rank


def _sizes(graph: Graph, op: Op) -> dict[str, int]:
    """The input as [outer, depth, inner]: the axis, and what is before and behind it."""
    shape, axis = input_tensor(graph, op, 0).shape, _axis(graph, op)
    return {"outer": math.prod(shape[:axis]), "depth": shape[axis], "inner": math.prod(shape[axis + 1 :])}


def _overlap(graph: Graph, op: Op) -> Overlap:
    """An index is written when its values have been read; those of the next ones must lie behind its four bytes."""
    sizes = _sizes(graph, op)
    indices = np.arange(elements(output_tensor(graph, op)))
    outer, inner = indices // sizes["inner"], indices % sizes["inner"]
    begins = outer * sizes["depth"] * sizes["inner"] + inner
    return Overlap(0, "forward", max(0, int((_INDEX_BYTES * indices - begins).max())))
