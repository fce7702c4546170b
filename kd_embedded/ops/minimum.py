"""MINIMUM: the smaller of two operands."""

from __future__ import annotations

from kd_embedded.ops._extremes import extreme_op

OP = extreme_op("MINIMUM", largest=False)
