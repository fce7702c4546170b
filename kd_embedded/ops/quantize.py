"""QUANTIZE from int8 to int8: the same reals on another scale and zero point, or a function of them.

The functions come from passes/float_islands.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops._libm import expm1f
from kd_embedded.ops._lookup import ALL_VALUES, lookup_op, multiplier, round_half_away, scales, zero_points
from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op


def _elu(x: NDArray[Any]) -> NDArray[Any]:
    return np.where(x < 0, expm1f(np.clip(x, np.float32(-40), np.float32(0))), x)


# On float32. Source: tensorflow/lite/kernels/{neg,elementwise}.cc (v2.14); internal/reference/elu.h:25.
FUNCTIONS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = MappingProxyType(
    {"NEG": np.negative, "SQUARE": np.square, "SQRT": np.sqrt, "ELU": _elu}
)


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/quantize.cc:105 (v2.14), Prepare (a quotient of doubles); internal/reference/
    requantize.h:28, Requantize.
    """
    if "functions" in op.options:
        return _of_reals(graph, op)
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    factor, shift = multiplier(graph, op, scale / output_scale)
    scaled = multiply_by_quantized_multiplier(ALL_VALUES - zero_point, factor, shift)
    return np.clip(wrap32(scaled + output_zero_point), -128, 127).astype(np.int8)


def _of_reals(graph: Graph, op: Op) -> NDArray[Any]:
    """Sources: internal/reference/dequantize.h:31, Dequantize; quantize.h:32, AffineQuantize (v2.14): in float32."""
    (scale, output_scale), (zero_point, output_zero_point) = scales(graph, op), zero_points(graph, op)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        reals = np.float32(scale) * (ALL_VALUES - zero_point).astype(np.float32)
        for name in op.options["functions"]:
            reals = FUNCTIONS[name](reals)
        steps = round_half_away(reals / np.float32(output_scale))
    if not np.all(np.abs(steps) < 2.0**30):
        raise refuse(graph, op, f"has no int8 value for some results of {' and '.join(op.options['functions'])}")
    return np.clip(steps.astype(np.int64) + output_zero_point, -128, 127).astype(np.int8)


OP = lookup_op("QUANTIZE", table)
