"""gemmlowp's fixed-point functions that SOFTMAX and LOG_SOFTMAX are made of, vectorised: int64 arrays.

Sources: google/gemmlowp fixedpoint/fixedpoint.h:757, exp_on_negative_values, and :854,
one_over_one_plus_x_for_x_in_0_1; tensorflow/lite/kernels/internal/common.h:829 (v2.14), GetReciprocal;
quantization_util.cc:282, PreprocessSoftmaxScaling, and :338, CalculateInputRadius.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap32,
)

SUM_BITS = 12  # integer bits of a sum of exponentials
MAX_DEPTH = (1 << SUM_BITS) - 1  # exponentials that fit one
_DIFFERENCE_BITS = 5  # integer bits of what is raised to
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)  # exp(-1/4), exp(-1/2) ... exp(-16)


def high_mul(a: NDArray[Any] | int, b: NDArray[Any] | int) -> NDArray[Any]:
    """High 32 bits of ``2 a b``, rounded; a product of gemmlowp's fixed-point numbers."""
    return saturating_rounding_doubling_high_mul(np.asarray(a), np.asarray(b))


@dataclass(frozen=True)
class Exponent:
    """How a difference of int8 values becomes an exponent; differences below ``lowest`` count as minus infinity."""

    multiplier: int
    shift: int
    lowest: int

    def scaled(self, differences: NDArray[Any]) -> NDArray[Any]:
        """The exponents with 26 fractional bits of ``differences`` in [lowest, 0]."""
        return high_mul(differences << self.shift, self.multiplier)


def exponent(real: float) -> Exponent | None:
    """For a difference that stands for ``real`` per step; None where the reference cannot have it that small."""
    multiplier = min(real * (1 << (31 - _DIFFERENCE_BITS)), (1 << 31) - 1.0)
    if not multiplier > 1:
        return None
    factor, shift = quantize_multiplier(multiplier)
    lowest = -(((1 << _DIFFERENCE_BITS) - 1) * (1 << (31 - _DIFFERENCE_BITS)) // (1 << shift))
    return Exponent(factor, shift, lowest)


def exponentials(a: NDArray[Any]) -> NDArray[Any]:
    """exp(a) with 31 fractional bits, of ``a`` <= 0 with 26."""
    quarter = 1 << 24
    below = (a & (quarter - 1)) - quarter
    x = (below << _DIFFERENCE_BITS) + (1 << 28)
    squared = high_mul(x, x)
    cubed, fourth = high_mul(squared, x), high_mul(squared, squared)
    third = high_mul(rounding_divide_by_pot(fourth, 2) + cubed, 715827883)
    series = x + rounding_divide_by_pot(third + squared, 1)
    result = 1895147668 + high_mul(1895147668, series)
    for i, power in enumerate(_POWERS):
        result = np.where((below - a) & (quarter << i), high_mul(result, power), result)
    return np.where(a == 0, INT32_MAX, result)


def reciprocals(sums: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """1 / sum with 31 fractional bits, and the power of two to divide it by; sums have 19 fractional bits."""
    leading_zeros = count_leading_zeros(sums)
    return one_over_one_plus((sums << leading_zeros) - (1 << 31)), SUM_BITS - leading_zeros


def one_over_one_plus(a: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + a), both with 31 fractional bits, by three steps of Newton's method."""
    half = (a + INT32_MAX + 1) >> 1
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        x = wrap32(x + saturating_left_shift(high_mul(x, (1 << 29) - high_mul(half, x)), 2))
    return saturating_left_shift(x, 1)


def count_leading_zeros(x: NDArray[Any]) -> NDArray[Any]:
    """Of 32 bits; x is not negative."""
    return np.asarray(32 - np.ceil(np.log2(x + 0.5)).astype(np.int64))


def saturating_left_shift(x: NDArray[Any], exponent: NDArray[Any] | int) -> NDArray[Any]:
    """``x * 2**exponent`` held in int32."""
    return np.asarray(np.clip(x << exponent, INT32_MIN, INT32_MAX))
