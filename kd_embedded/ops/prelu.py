"""PRELU: what is below zero is multiplied by ``alpha``, the second operand, which broadcasts to the first's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops._binary import Walk, binary_op, operand_quant, output_quant
from kd_embedded.ops._lookup import divide32, multiplier
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.program import Call, Step
from kd_embedded.tflite.graph import Graph, Op

_Factor = tuple[int, int]


def _factors(graph: Graph, op: Op) -> tuple[_Factor, _Factor]:
    """Multiplier and shift above and below zero.

    Source: tensorflow/lite/kernels/activations.cc:674 (v2.14), PreluPrepare (in float32).
    """
    (scale, _), (alpha, _), (output, _) = *(operand_quant(graph, op, i) for i in (0, 1)), output_quant(graph, op)
    above, below = divide32(scale, by=output), divide32(scale, alpha, by=output)
    return multiplier(graph, op, above), multiplier(graph, op, below)


def _check(graph: Graph, op: Op) -> None:
    if input_tensor(graph, op, 0).shape != output_tensor(graph, op).shape:
        raise refuse(graph, op, "has an alpha larger than its input")


def _function(graph: Graph, op: Op) -> Any:
    """Source: internal/reference/prelu.h:78, Prelu, and :30, BroadcastPrelu4DSlow."""
    factor_above, factor_below = _factors(graph, op)
    zero_point, alpha_zero_point = (operand_quant(graph, op, position)[1] for position in (0, 1))
    output_zero_point = output_quant(graph, op)[1]

    def compute(values: NDArray[Any], alphas: NDArray[Any]) -> NDArray[Any]:
        x = values - zero_point
        above = multiply_by_quantized_multiplier(x, *factor_above)
        below = multiply_by_quantized_multiplier(x * (alphas - alpha_zero_point), *factor_below)
        return np.clip(wrap32(np.where(x >= 0, above, below) + output_zero_point), -128, 127)

    return compute


def _calls(graph: Graph, op: Op, walk: Walk) -> tuple[Step, ...]:
    assert not walk.exchanged  # _check: the input has the output's shape, so alpha is what stands still
    factor_above, factor_below = _factors(graph, op)
    fields = walk.fields() | {
        "zero_point_a": operand_quant(graph, op, 0)[1],
        "zero_point_b": operand_quant(graph, op, 1)[1],
        "zero_point": output_quant(graph, op)[1],
        "multiplier_above": factor_above[0],
        "multiplier_below": factor_below[0],
        "shift_above": factor_above[1],
        "shift_below": factor_below[1],
    }
    return (Call("prelu", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps),)


OP = binary_op("PRELU", _function, _calls, 4, _check)
