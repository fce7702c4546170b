"""LEAKY_RELU: what is below zero is multiplied by ``alpha``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops._lookup import ALL_VALUES, divide32, lookup_op, multiplier, scales, zero_points
from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/activations.cc:286 (v2.14), LeakyReluPrepare (products and quotients of float32);
    internal/reference/leaky_relu.h:38, QuantizeLeakyRelu.
    """
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    alpha = float(op.options.get("alpha", 0.0))
    if not np.isfinite(alpha):
        raise refuse(graph, op, f"has alpha {alpha}")
    value = ALL_VALUES - zero_point
    above, below = (
        multiply_by_quantized_multiplier(value, *multiplier(graph, op, real))
        for real in (divide32(scale, by=output_scale), divide32(scale, alpha, by=output_scale))
    )
    return np.clip(wrap32(np.where(value >= 0, above, below) + output_zero_point), -128, 127).astype(np.int8)


OP = lookup_op("LEAKY_RELU", table)
