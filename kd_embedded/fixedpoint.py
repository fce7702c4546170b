"""The integer arithmetic of the TFLite reference kernels, vectorised: requantize multiplier and shift, and rounding.

Every function is exact on any platform: int64 NumPy, no floating point except where the reference itself has it (the
multiplier from real scales). Sources, with lines of the versions that ops/__init__.py names: tensorflow/lite/kernels/
internal/{quantization_util.cc,common.h,common.cc} and google/gemmlowp fixedpoint/fixedpoint.h. TFLite is built without
TFLITE_SINGLE_ROUNDING (common.h:146), so a requantization rounds twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
Ints = NDArray[Any]


def quantize_multiplier(real: float) -> tuple[int, int]:
    """``real`` as (multiplier, shift): ``real ~= multiplier / 2**31 * 2**shift``, multiplier in [2**30, 2**31) or 0.

    Source: quantization_util.cc:53, QuantizeMultiplier.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << 31) + 0.5) if fraction > 0 else -math.floor(-fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def wrap32(x: Ints) -> Ints:
    """``x`` modulo 2**32 as int64 in [-2**31, 2**31): what an int32 accumulator of the device holds."""
    return ((np.asarray(x, np.int64) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def saturating_rounding_doubling_high_mul(a: Ints, b: Ints) -> Ints:
    """High 32 bits of ``2 a b``, rounded to nearest, ties up; int64 of int32 values.

    Source: gemmlowp fixedpoint.h:340, SaturatingRoundingDoublingHighMul. Its nudge and truncating division amount to
    rounding ties towards plus infinity; only INT32_MIN squared saturates.
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, INT32_MAX)


def rounding_divide_by_pot(x: Ints, exponent: Ints | int) -> Ints:
    """``x / 2**exponent`` rounded to nearest, ties away from zero; exponent in [0, 31].

    Source: gemmlowp fixedpoint.h:368, RoundingDivideByPOT.
    """
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + ((x & mask) > threshold))


def multiply_by_quantized_multiplier(x: Ints, multiplier: Ints | int, shift: Ints | int) -> Ints:
    """``x * multiplier / 2**31 * 2**shift`` as the device rounds it: left shift (wrapping), high mul, right shift.

    Source: common.cc:20, MultiplyByQuantizedMultiplier (double rounding).
    """
    shift = np.asarray(shift, np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = wrap32(np.asarray(x, np.int64) << left)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, np.asarray(multiplier)), right)
