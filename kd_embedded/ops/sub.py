"""SUB: the second operand taken from the first."""

from __future__ import annotations

from kd_embedded.ops._sums import sum_op

OP = sum_op("SUB", -1, rank=5)
