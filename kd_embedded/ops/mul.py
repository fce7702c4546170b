"""MUL: the product of two operands, requantized and held in a range.

The reference rounds twice: ``h = (p m + 2**30) >> 31``, then ``(h + 2**(s-1) - (h < 0)) >> s``. As floors of quotients
compose, that is ``(p m + 2**30 + 2**(s+30) - (2**31 if p < 0)) >> (s + 31)``: where p < 0 but h = 0, both are 0. The
kernel ``mul`` computes so for the right shifts s that products have but for extreme scales; else ``mul_exact``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.kernels.clamp import clamp
from kd_embedded.ops._binary import Walk, binary_op, operand_quant, output_quant
from kd_embedded.ops._lookup import divide32, multiplier
from kd_embedded.ops._weights import activation_range
from kd_embedded.ops.spec import elements, output_tensor
from kd_embedded.program import Call, Step
from kd_embedded.tflite.graph import Graph, Op

_FAST_SHIFTS = range(2, 23)  # half of a unit and the zero point are whole numbers of 2**32, and fit 32 bits with it


def _factor(graph: Graph, op: Op) -> tuple[int, int]:
    """Multiplier and shift. Source: tensorflow/lite/kernels/mul.cc:92 (v2.14), Prepare (in float32)."""
    (first, _), (second, _), (output, _) = *(operand_quant(graph, op, i) for i in (0, 1)), output_quant(graph, op)
    return multiplier(graph, op, divide32(first, second, by=output))


def _function(graph: Graph, op: Op) -> Any:
    """Source: internal/reference/integer_ops/mul.h:28, MulElementwise."""
    factor, (low, high) = _factor(graph, op), activation_range(graph, op, output_tensor(graph, op))
    zero_1, zero_2 = (operand_quant(graph, op, position)[1] for position in (0, 1))
    zero_point = output_quant(graph, op)[1]

    def compute(first: Any, second: Any) -> Any:
        scaled = multiply_by_quantized_multiplier((first - zero_1) * (second - zero_2), *factor)
        return np.clip(wrap32(scaled + zero_point), low, high)

    return compute


def _calls(graph: Graph, op: Op, walk: Walk) -> tuple[Step, ...]:
    (factor, shift), output = _factor(graph, op), output_tensor(graph, op)
    low, high = activation_range(graph, op, output)
    zero_a, zero_b = (operand_quant(graph, op, position)[1] for position in ((1, 0) if walk.exchanged else (0, 1)))
    fields = walk.fields() | {"zero_point_a": zero_a, "zero_point_b": zero_b}
    zero_point = output_quant(graph, op)[1]
    if -shift not in _FAST_SHIFTS:
        fields |= {"zero_point": zero_point, "multiplier": factor, "shift": shift, "low": low, "high": high}
        return (Call("mul_exact", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps),)
    fields |= {"multiplier": factor, "offset": (1 << (-shift - 2)) + (zero_point << (-shift - 1)), "shift": -shift - 1}
    call = Call("mul", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps)
    narrower = low > -128 or high < 127
    return (call, clamp(op.outputs[0], op.index, low, high, elements(output))) if narrower else (call,)


# tflite-runtime aborts above 4 axes; TFLM, which stands in for it there, has BroadcastMul6DSlow.
OP = binary_op("MUL", _function, _calls, rank=6)
