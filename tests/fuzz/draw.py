"""Numbers that a case is made from: drawn at random, replayed, or asked of hypothesis. Smaller ones mean simpler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Item = TypeVar("_Item")


class Draw:
    """``below(n)`` is all that a case is made from; ``made`` keeps what it gave.

    ``given`` numbers are taken first, each lowered into its range; behind their end come ``more(n)``, or zeros.
    """

    def __init__(self, given: Sequence[int] = (), more: Callable[[int], int] | None = None) -> None:
        self._given, self._more = given, more
        self.made: list[int] = []

    @classmethod
    def seeded(cls, *seed: int) -> Draw:
        """Numbers of NumPy's generator for ``seed``."""
        rng = np.random.default_rng(seed)
        return cls(more=lambda n: int(rng.integers(n)))

    def below(self, n: int) -> int:
        """0 to n - 1."""
        at = len(self.made)
        drawn = self._more(n) if self._more and at >= len(self._given) else 0
        value = min(self._given[at], n - 1) if at < len(self._given) else drawn
        self.made.append(value)
        return value

    def integer(self, low: int, high: int) -> int:
        """low to high, both included."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[_Item]) -> _Item:
        """One of ``items``, the simplest first."""
        return items[self.below(len(items))]

    def chance(self, one_in: int) -> bool:
        """True once in ``one_in``; False is simpler."""
        return self.below(one_in) == one_in - 1

    def order(self, n: int) -> list[int]:
        """A permutation of 0 to n - 1."""
        left, found = list(range(n)), []
        while left:
            found.append(left.pop(self.below(len(left))))
        return found

    def scale(self) -> float:
        """A quantization scale, now and then an extreme one."""
        exponent = self.integer(-24, 6) if self.chance(6) else -self.integer(1, 8)
        return float(np.float32((1 + self.below(1000) / 1000) * 2.0**exponent))

    def zero_point(self) -> int:
        """A zero point of int8: 0, an end of the range, or any."""
        return self.pick([0, -128, 127, self.integer(-128, 127)])

    def values(self, shape: Sequence[int], low: int = -128, high: int = 127) -> NDArray[Any]:
        """int64 values of ``shape``: one value, the ends of the range, or anything in it."""
        kind, rng = self.below(4), np.random.default_rng(self.below(1 << 16))
        if kind == 0:
            return np.full(shape, self.pick([low, high, max(low, 0)]))
        if kind == 1:
            return rng.choice([low, high], tuple(shape))
        return rng.integers(low, high, tuple(shape), endpoint=True)


def shrink(made: Sequence[int], fails: Callable[[list[int]], bool], tries: int = 400) -> list[int]:
    """Shorter and smaller numbers than ``made`` that still fail: blocks dropped or zeroed, numbers halved."""
    best, left = list(made), [tries]

    def attempt(candidate: list[int]) -> bool:
        nonlocal best
        while candidate and candidate[-1] == 0:
            candidate = candidate[:-1]  # zeros follow the last one anyway
        if left[0] <= 0 or candidate == best:
            return False
        left[0] -= 1
        if fails(candidate):
            best = candidate
            return True
        return False

    progress = True
    while progress and left[0] > 0:
        before, size = list(best), max(1, len(best) // 2)
        while size:
            at = 0
            while at < len(best):
                block = len(best[at : at + size])
                if not attempt(best[:at] + best[at + size :]) and not attempt(
                    best[:at] + [0] * block + best[at + size :]
                ):
                    at += size
            size //= 2
        for at in range(len(best)):
            while best[at : at + 1] and best[at] and attempt([*best[:at], best[at] // 2, *best[at + 1 :]]):
                pass
            if best[at : at + 1] and best[at]:
                attempt([*best[:at], best[at] - 1, *best[at + 1 :]])
        progress = best != before
    return best
