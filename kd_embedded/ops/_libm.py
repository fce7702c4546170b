"""float32 functions of the C library as glibc (before 2.41) and newlib compute them, bit for bit on any platform.

Both have fdlibm's tanhf, which is off by up to 2 units in the last place; TFLite rounds what it gives to a table entry.
Source of the algorithm and its constants: fdlibm, s_tanhf.c and sexpm1f.c.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LN2_HIGH, _LN2_LOW = np.float32(6.9313812256e-01), np.float32(9.0580006145e-06)
_INVERSE_LN2 = np.float32(1.4426950216e00)
_Q = tuple(
    np.float32(q) for q in (-3.3333335072e-02, 1.5873016091e-03, -7.9365076090e-05, 4.0082177293e-06, -2.0109921195e-07)
)


def tanhf(x: NDArray[Any]) -> NDArray[Any]:
    """float32 of float32, any shape; no infinities or NaN."""
    magnitude = np.minimum(np.abs(x), np.float32(22))
    two = np.float32(2)
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        grown, shrunk = expm1f(two * magnitude), expm1f(-two * magnitude)
        large = np.float32(1) - two / (grown + two)
        small = -shrunk / (shrunk + two)
    result = np.where(magnitude >= 22, np.float32(1), np.where(magnitude >= 1, large, small))
    return np.copysign(result, x).astype(np.float32)


def expm1f(x: NDArray[Any]) -> NDArray[Any]:
    """exp(x) - 1, float32 of float32 in [-44, 44]."""
    one, half = np.float32(1), np.float32(0.5)
    k, reduced, correction = _reduce(x)
    half_x = half * reduced
    squared = reduced * half_x
    r1 = np.float32(0) * squared
    for q in reversed(_Q):
        r1 = squared * (q + r1)
    r1 = one + r1
    t = np.float32(3) - r1 * half_x
    e = squared * ((r1 - t) / (np.float32(6) - reduced * t))
    without = reduced - (reduced * e - squared)  # k is 0
    e = (reduced * (e - correction) - correction) - squared
    power = np.ldexp(one, k)
    minus_one = half * (reduced - e) - half
    plus_one = np.where(
        reduced < np.float32(-0.25), np.float32(-2) * (e - (reduced + half)), one + np.float32(2) * (reduced - e)
    )
    far = (one - (e - reduced)) * power - one  # k at most -2, or above 56
    middle = ((one - np.ldexp(one, -k)) - (e - reduced)) * power  # k below 23
    upper = ((reduced - (e + np.ldexp(one, -k))) + one) * power
    cases = [k == 0, k == -1, k == 1, k <= -2, k < 23]
    chosen = np.select(cases, [without, minus_one, plus_one, far, middle], upper)
    tiny = np.abs(x) < np.float32(2.0**-25)
    return np.where(x < np.float32(-18.714973), np.float32(-1), np.where(tiny, x, chosen)).astype(np.float32)


def _reduce(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """k, x - k ln 2 in float32, and what that rounding lost."""
    magnitude = np.abs(x)
    rounded = np.trunc(_INVERSE_LN2 * x + np.copysign(np.float32(0.5), x)).astype(np.int32)
    near = np.where(x < 0, np.int32(-1), np.int32(1))
    k = np.where(magnitude > _bits(0x3EB17218), np.where(magnitude < _bits(0x3F851592), near, rounded), np.int32(0))
    high = x - k.astype(np.float32) * _LN2_HIGH
    low = k.astype(np.float32) * _LN2_LOW
    reduced = high - low
    return k, reduced, (high - reduced) - low


def _bits(pattern: int) -> NDArray[Any]:
    return np.array(pattern, np.uint32).view(np.float32)
