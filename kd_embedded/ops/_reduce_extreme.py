"""REDUCE_MAX and REDUCE_MIN: the largest or smallest byte along axes.

Source: tensorflow/lite/kernels/reduce.cc:763 (v2.14), EvalType<kReference>, which wants input and output alike
quantized.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kd_embedded.ops import _reduce
from kd_embedded.ops._lookup import scales, zero_points
from kd_embedded.ops.spec import OpSpec, Values, output_tensor, refuse
from kd_embedded.program import Call, Step, Target
from kd_embedded.tflite.graph import Graph, Op


def reduce_extreme_op(name: str, largest: bool) -> OpSpec:
    """The OpSpec of REDUCE_MAX (``largest``) or REDUCE_MIN."""

    def accepts(graph: Graph, op: Op) -> None:
        _reduce.reduced_axes(graph, op)
        if len(set(scales(graph, op))) > 1 or len(set(zero_points(graph, op))) > 1:
            raise refuse(graph, op, "has an output of another scale or zero point than its input")

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        x, axes = _reduce.reduced(graph, op, values)
        made = x.max(axes) if largest else x.min(axes)
        return [made.reshape(len(x), *output_tensor(graph, op).shape)]

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        fields = {"loops": _reduce.loop_array(graph, op), "inverted": 0 if largest else -1}
        overlaps = (_reduce.overlap(graph, op),)
        return (Call("reduce_max", op.index, op.inputs[:1], op.outputs, fields, overlaps=overlaps),)

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower)
