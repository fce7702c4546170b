"""SQUARED_DIFFERENCE: both operands brought to one scale with 7 more bits, subtracted, squared, requantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, quantize_multiplier, wrap32
from kd_embedded.ops._binary import Walk, binary_op, operand_quant, output_quant
from kd_embedded.ops.spec import refuse
from kd_embedded.program import Call, Step
from kd_embedded.tflite.graph import Graph, Op

_LEFT_SHIFT = 7
_Factor = tuple[int, int]


def _factors(graph: Graph, op: Op) -> tuple[_Factor, _Factor, _Factor]:
    """Multiplier and shift of both operands and the output.

    Source: tensorflow/lite/kernels/squared_difference.cc:70 (v2.14), Prepare (in doubles).
    """
    first, second = (operand_quant(graph, op, position)[0] for position in (0, 1))
    output = output_quant(graph, op)[0]
    twice_largest = 2 * max(first, second)
    real = twice_largest * twice_largest / ((1 << 2 * _LEFT_SHIFT) * output)
    if not 0 < real < 1:
        raise refuse(graph, op, f"has an output scale of {output:g}, too small for its operands")
    return (
        quantize_multiplier(first / twice_largest),
        quantize_multiplier(second / twice_largest),
        quantize_multiplier(real),
    )


def _function(graph: Graph, op: Op) -> Any:
    """Source: squared_difference.cc, SquaredDifference on int8."""
    factor_1, factor_2, factor = _factors(graph, op)
    zero_1, zero_2 = (operand_quant(graph, op, position)[1] for position in (0, 1))
    zero_point = output_quant(graph, op)[1]

    def compute(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        left = multiply_by_quantized_multiplier((first - zero_1) << _LEFT_SHIFT, *factor_1)
        right = multiply_by_quantized_multiplier((second - zero_2) << _LEFT_SHIFT, *factor_2)
        squared = wrap32((left - right) * (left - right))
        return np.clip(wrap32(multiply_by_quantized_multiplier(squared, *factor) + zero_point), -128, 127)

    return compute


def _calls(graph: Graph, op: Op, walk: Walk) -> tuple[Step, ...]:
    factor_a, factor_b, factor = _factors(graph, op)
    zero_a, zero_b = (operand_quant(graph, op, position)[1] for position in (0, 1))
    if walk.exchanged:
        factor_a, factor_b, zero_a, zero_b = factor_b, factor_a, zero_b, zero_a
    fields = walk.fields() | {
        "multiplier_a": factor_a[0],
        "multiplier_b": factor_b[0],
        "multiplier": factor[0],
        "shift_a": -factor_a[1],
        "shift_b": -factor_b[1],
        "shift": -factor[1],
        "zero_point_a": zero_a,
        "zero_point_b": zero_b,
        "zero_point": output_quant(graph, op)[1],
    }
    return (Call("squared_difference", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps),)


OP = binary_op("SQUARED_DIFFERENCE", _function, _calls, rank=6)
