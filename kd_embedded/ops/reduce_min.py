"""REDUCE_MIN: the smallest value along axes."""

from __future__ import annotations

from kd_embedded.ops._reduce_extreme import reduce_extreme_op

OP = reduce_extreme_op("REDUCE_MIN", largest=False)
