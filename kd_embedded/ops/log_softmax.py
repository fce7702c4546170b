"""LOG_SOFTMAX along the last axis, in fixed point, to a scale of 1/16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import (
    INT32_MIN,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    wrap32,
)
from kd_embedded.ops._exponential import (
    MAX_DEPTH,
    SUM_BITS,
    Exponent,
    count_leading_zeros,
    exponent,
    exponentials,
    high_mul,
    one_over_one_plus,
    saturating_left_shift,
)
from kd_embedded.ops._lookup import scales, zero_points
from kd_embedded.ops.spec import OpSpec, Values, elements, input_tensor, output_tensor, refuse
from kd_embedded.program import Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op

_SQRT_HALF, _FOURTH_ROOT_HALF, _LOG_2 = 1518500250, 1805811301, 1488522236


def accepts(graph: Graph, op: Op) -> None:
    """Refuses outputs of another scale, and rows longer than the sum of exponentials holds."""
    _exponent(graph, op)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """Source: tensorflow/lite/kernels/internal/reference/integer_ops/log_softmax.h (v2.14), LogSoftmax."""
    x, (found, reverse) = values[0], _exponent(graph, op)
    assert x is not None
    row = x.astype(np.int64)
    differences = row - row.max(-1, keepdims=True)
    scaled = found.scaled(np.maximum(differences, found.lowest))
    counted = differences >= found.lowest
    sums = np.where(counted, rounding_divide_by_pot(exponentials(scaled), SUM_BITS), 0).sum(-1, keepdims=True)
    log_sums = logarithms(sums)
    least = multiply_by_quantized_multiplier(wrap32(log_sums + INT32_MIN), *reverse)
    made = np.clip(rounding_divide_by_pot(scaled - log_sums, 22) + 127, -128, 127)
    return [np.where(differences > np.maximum(found.lowest - 1, least), made, -128).astype(np.int8)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call of the kernel ``log_softmax``."""
    (found, reverse), shape = _exponent(graph, op), output_tensor(graph, op).shape
    fields = {
        "rows": elements(output_tensor(graph, op)) // shape[-1],
        "depth": shape[-1],
        "multiplier": found.multiplier,
        "shift": found.shift,
        "lowest": found.lowest,
        "reverse_multiplier": reverse[0],
        "reverse_shift": -reverse[1],
    }
    return (Call("log_softmax", op.index, op.inputs, op.outputs, fields, overlaps=(Overlap(0, "forward"),)),)


def logarithms(sums: NDArray[Any]) -> NDArray[Any]:
    """log(sum) with 26 fractional bits; sums >= 1 have 19.

    Source: tensorflow/lite/kernels/internal/common.h:735 (v2.14), log_x_for_x_greater_than_or_equal_to_1_impl.
    """
    quarter = 1 << 23
    zeros = count_leading_zeros(sums)
    first = saturating_left_shift(high_mul(saturating_left_shift(sums, zeros - 1), _SQRT_HALF), 1)
    headroom = count_leading_zeros(high_mul(sums, _SQRT_HALF)) - 1
    r = np.minimum(first, saturating_left_shift(sums, headroom))
    power = np.maximum(((SUM_BITS - zeros) << 25) + quarter, ((SUM_BITS - headroom) << 25) - quarter)
    p, q = (r + _FOURTH_ROOT_HALF + 1) >> 1, 2 * (r - _FOURTH_ROOT_HALF)
    squared = high_mul(q, q)
    numerator = high_mul(q, r) + high_mul(high_mul(q, squared), 117049297)
    denominator = high_mul(p, 1057819769 + q + high_mul(127690142, squared)) + high_mul(638450708, q)
    fraction = high_mul(rounding_divide_by_pot(numerator, 6), one_over_one_plus(denominator))
    return saturating_left_shift(high_mul(power, _LOG_2) + fraction, 1)


def _exponent(graph: Graph, op: Op) -> tuple[Exponent, tuple[int, int]]:
    """How differences become exponents, and multiplier and shift of the way back.

    Sources: tensorflow/lite/kernels/activations.cc:626 (v2.14), LogSoftmaxPrepare<kReference>; internal/
    quantization_util.cc:321, PreprocessLogSoftmaxScalingExp.
    """
    (scale, output_scale), (_, zero_point) = scales(graph, op), zero_points(graph, op)
    shape = input_tensor(graph, op, 0).shape
    if output_tensor(graph, op).shape != shape or not shape:
        raise refuse(graph, op, f"makes shape {list(output_tensor(graph, op).shape)} of {list(shape)}")
    if zero_point != 127 or output_scale != 1 / 16:
        raise refuse(graph, op, f"has an output scale of {output_scale:g} and zero point {zero_point}, not 1/16, 127")
    if shape[-1] > MAX_DEPTH:
        raise refuse(graph, op, f"has rows of {shape[-1]} values, and {MAX_DEPTH} are supported")
    found = exponent(scale)
    reverse = 1.0 if found is None else 2.0 ** (31 - found.shift) / found.multiplier
    if found is None or not reverse < 1:
        raise refuse(graph, op, f"has an input scale of {scale:g}, too small for the reference")
    return found, quantize_multiplier(reverse)


OP = OpSpec("LOG_SOFTMAX", accepts=accepts, reference=reference, lower=lower)
