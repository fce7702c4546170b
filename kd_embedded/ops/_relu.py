"""RELU, RELU6, RELU_N1_TO_1 and RELU_0_TO_1 standing alone: requantized, then held between two reals.

Source: tensorflow/lite/kernels/activations.cc:210 (v2.14), ReluPrepare, and :125, QuantizedReluX; internal/optimized/
optimized_ops.h, ReluX, which the reference registrations use too. (TFLM's RELU6 does not requantize: it departs.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops._lookup import ALL_VALUES, divide32, lookup_op, multiplier, round_half_away, scales, zero_points
from kd_embedded.ops.spec import OpSpec, refuse
from kd_embedded.tflite.graph import Graph, Op


def relu_op(name: str, low: float, high: float | None) -> OpSpec:
    """The OpSpec of a rectifier between ``low`` and ``high``; None is unbounded."""

    def table(graph: Graph, op: Op) -> NDArray[Any]:
        return rectified(graph, op, low, high)

    return lookup_op(name, table)


def rectified(graph: Graph, op: Op, low: float, high: float | None) -> NDArray[Any]:
    """int8 [256]: the output for each int8 value. The multiplier is a quotient of float32."""
    scale, output_scale = scales(graph, op)
    zero_point, output_zero_point = zero_points(graph, op)
    factor, shift = multiplier(graph, op, divide32(scale, by=output_scale))
    scaled = multiply_by_quantized_multiplier(ALL_VALUES - zero_point, factor, shift)
    bottom = max(-128, output_zero_point + _step(graph, op, low, output_scale))
    top = 127 if high is None else min(127, output_zero_point + _step(graph, op, high, output_scale))
    unclamped = wrap32(scaled + output_zero_point)
    return np.minimum(np.maximum(unclamped, bottom), top).astype(np.int8)


def _step(graph: Graph, op: Op, real: float, scale: float) -> int:
    steps = float(round_half_away(np.float32(divide32(real, by=scale))))
    if not abs(steps) < 2.0**30:
        raise refuse(graph, op, f"has an output scale of {scale:g}, too small for its range")
    return int(steps)
