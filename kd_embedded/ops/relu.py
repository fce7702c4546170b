"""RELU: requantized and held not below zero."""

from __future__ import annotations

from kd_embedded.ops._relu import relu_op

OP = relu_op("RELU", 0.0, None)
