"""ADD: the sum of two operands."""

from __future__ import annotations

from kd_embedded.ops._sums import sum_op

OP = sum_op("ADD", 1, rank=6)
