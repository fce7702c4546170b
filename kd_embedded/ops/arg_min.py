"""ARG_MIN: where the smallest value along an axis stands."""

from __future__ import annotations

from kd_embedded.ops._arg_extreme import arg_extreme_op

OP = arg_extreme_op("ARG_MIN", largest=False)
