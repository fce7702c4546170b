"""QUANTIZE from int8 to int8: the same reals on another scale and zero point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops._lookup import ALL_VALUES, lookup_op, multiplier, scales, zero_points
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/quantize.cc (v2.14), Prepare (a quotient of doubles); internal/reference/
    requantize.h, Requantize.
    """
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    factor, shift = multiplier(graph, op, scale / output_scale)
    scaled = multiply_by_quantized_multiplier(ALL_VALUES - zero_point, factor, shift)
    return np.clip(wrap32(scaled + output_zero_point), -128, 127).astype(np.int8)


OP = lookup_op("QUANTIZE", table)
