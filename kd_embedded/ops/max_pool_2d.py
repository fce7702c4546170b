"""MAX_POOL_2D: the largest value of each window."""

from __future__ import annotations

from kd_embedded.ops._pool import maximum, pool_op

OP = pool_op("MAX_POOL_2D", maximum)
