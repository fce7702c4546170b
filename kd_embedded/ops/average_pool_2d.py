"""AVERAGE_POOL_2D: the mean of each window, of the values that lie in the image."""

from __future__ import annotations

from kd_embedded.ops._pool import average, pool_op

OP = pool_op("AVERAGE_POOL_2D", average)
