"""RELU6: requantized and held between 0 and 6."""

from __future__ import annotations

from kd_embedded.ops._relu import relu_op

OP = relu_op("RELU6", 0.0, 6.0)
