"""RSQRT: 1 / sqrt(x), as layer normalization has it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    multiply_by_quantized_multiplier,
    rounding_divide_by_pot,
    wrap32,
)
from kd_embedded.ops._exponential import high_mul
from kd_embedded.ops._lookup import lookup_op, multiplier, scales, zero_points
from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op

_MORE_BITS = 20


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/elementwise.cc (v2.14), SetRsqrtOutputMultiplier (a square root of float32) and
    RsqrtEvalQuantized. The reference fails on negative numbers; only scales without them are accepted.
    """
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    if zero_point != -128:
        raise refuse(graph, op, f"has an input zero point of {zero_point}, so that it may be negative")
    root = float(np.sqrt(np.float32(scale)) * np.float32(output_scale))
    factor, shift = multiplier(graph, op, 1 / root if root else float("inf"))
    inverse, right = np.array([_inverse_root(value) for value in range(1, 256)]).T
    fine = multiply_by_quantized_multiplier(np.array(1), inverse, _MORE_BITS - right)
    scaled = multiply_by_quantized_multiplier(fine, factor, shift - _MORE_BITS)
    made = np.clip(wrap32(scaled + output_zero_point), -128, 127)
    return np.concatenate([[127], made]).astype(np.int8)


@cache
def _inverse_root(value: int) -> tuple[int, int]:
    """Multiplier and right shift of 1 / sqrt(value), below 2**29.

    Source: tensorflow/lite/kernels/internal/common.h:846 (v2.14), GetInvSqrtQuantizedMultiplierExp.
    """
    if value <= 1:
        return INT32_MAX, 0
    pairs = (31 - value.bit_length()) // 2 - 1
    shift, half_three = 11 - pairs, (1 << 28) + (1 << 27)
    half = int(rounding_divide_by_pot(np.array(value << 2 * pairs >> 1), 1))
    x = np.array(1 << 28)
    for _ in range(5):
        cubed = _grown(high_mul(high_mul(x, x), x), 6)
        x = _grown(wrap32(high_mul(half_three, x) - high_mul(half, cubed)), 3)
    inverse = int(high_mul(x, 1518500250))
    return (inverse << -shift, 0) if shift < 0 else (inverse, shift)


def _grown(x: NDArray[Any], exponent: int) -> NDArray[Any]:
    return np.clip(x << exponent, INT32_MIN, INT32_MAX)


OP = lookup_op("RSQRT", table)
