"""ABS: the magnitude, requantized where the scales differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops._lookup import ALL_VALUES, divide32, lookup_op, multiplier, scales, zero_points
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/elementwise.cc (v2.14), SetAbsOutputMultiplier and AbsEvalQuantized.
    """
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    value = np.abs(ALL_VALUES - zero_point)
    if scale != output_scale:
        value = multiply_by_quantized_multiplier(value, *multiplier(graph, op, divide32(scale, by=output_scale)))
    return np.clip(wrap32(value + output_zero_point), -128, 127).astype(np.int8)


OP = lookup_op("ABS", table)
