"""GELU: x times the normal distribution function of x, or an approximation of it by tanh."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._libm import tanhf
from kd_embedded.ops._lookup import float_table, lookup_op
from kd_embedded.tflite.graph import Graph, Op

_SQRT_HALF = np.float32(math.sqrt(0.5))
_SQRT_2_OVER_PI = np.float32(math.sqrt(2 / math.pi))


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Sources: tensorflow/lite/kernels/activations.cc (v2.14), GeluPrepare: a table of float32 values; internal/
    reference/gelu.h. The C library's erff is off by less than a unit in the last place, so rounding the exact value
    gives its result but in rare cases.
    """
    return float_table(graph, op, _approximate if op.options.get("approximate", False) else _exact)


def _exact(x: NDArray[Any]) -> NDArray[Any]:
    argument = (x * _SQRT_HALF).astype(np.float64)
    erf = np.array([math.erf(value) for value in argument], np.float32)
    return np.asarray(np.float32(0.5) * x * (np.float32(1) + erf))


def _approximate(x: NDArray[Any]) -> NDArray[Any]:
    inner = x + np.float32(0.044715) * x * x * x
    return np.asarray(np.float32(0.5) * x * (np.float32(1) + tanhf(_SQRT_2_OVER_PI * inner)))


OP = lookup_op("GELU", table)
