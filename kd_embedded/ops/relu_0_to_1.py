"""RELU_0_TO_1: requantized and held between 0 and 1."""

from __future__ import annotations

from kd_embedded.ops._relu import relu_op

OP = relu_op("RELU_0_TO_1", 0.0, 1.0)
