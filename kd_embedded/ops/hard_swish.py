"""HARD_SWISH: x * relu6(x + 3) / 6, in 16-bit fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._lookup import ALL_VALUES, divide32, lookup_op, multiplier, scales, zero_points
from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op

_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/activations.cc:248 (v2.14), HardSwishPrepare (float32); internal/reference/
    hard_swish.h:61, HardSwish: a value ``fine`` on 1/128 of the input's scale, times a ``gate`` in [0, 1).
    """
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    fine_scale = divide32(scale, by=128.0)
    output_factor, output_shift = _multiplier16(graph, op, divide32(fine_scale, by=output_scale))
    if output_shift > 0:
        raise refuse(graph, op, f"has an output scale of {output_scale:g}, too small for its input's {scale:g}")
    gate_factor, gate_shift = _multiplier16(graph, op, divide32(fine_scale, by=3 / 32768))
    fine = (ALL_VALUES - zero_point) << 7
    gate = fine
    if gate_shift > 0:
        gate = _saturate16(gate << (gate_shift - 1))
    gate = _high_mul16(gate, gate_factor)
    if gate_shift > 0:
        gate = _saturate16(gate << 1)
    if gate_shift < 0:
        gate = _rounding_divide16(gate, -gate_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * _high_mul16(fine, output_factor)
    scaled = _rounding_divide16(np.where(product < 0, -(-product >> 15), product >> 15), -output_shift)
    return np.clip(scaled + output_zero_point, -128, 127).astype(np.int8)


def _multiplier16(graph: Graph, op: Op, real: float) -> tuple[int, int]:
    """Multiplier in 16 bits, and shift. Source: internal/common.h:696, DownScaleInt32ToInt16Multiplier."""
    factor, shift = multiplier(graph, op, real)
    return min((factor + (1 << 15)) >> 16, _INT16_MAX), shift


def _saturate16(x: NDArray[Any]) -> NDArray[Any]:
    return np.clip(x, _INT16_MIN, _INT16_MAX)


def _high_mul16(a: NDArray[Any], b: int) -> NDArray[Any]:
    """High 16 bits of ``2 a b``, rounded to nearest, ties up (``b`` is not negative, so nothing saturates)."""
    return np.asarray((a * b + (1 << 14)) >> 15)


def _rounding_divide16(x: NDArray[Any], exponent: int) -> NDArray[Any]:
    """gemmlowp's RoundingDivideByPOT on int16, whose mask is cut to 16 bits for an exponent above 15."""
    mask = (1 << exponent) - 1 if exponent < 16 else -1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + ((x & mask) > threshold))


OP = lookup_op("HARD_SWISH", table)
