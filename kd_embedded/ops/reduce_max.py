"""REDUCE_MAX: the largest value along axes."""

from __future__ import annotations

from kd_embedded.ops._reduce_extreme import reduce_extreme_op

OP = reduce_extreme_op("REDUCE_MAX", largest=True)
