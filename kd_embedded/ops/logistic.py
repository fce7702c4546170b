"""LOGISTIC: 1 / (1 + exp(-x)), to a scale of 1/256."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._lookup import float_table, lookup_op, scales
from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/activations.cc:421 (v2.14), SigmoidPrepare<kReference>: a table of float32 values.
    The C library's expf is off by at most 0.502 units, so rounding the exact value gives its result but in very rare
    cases.
    """
    if scales(graph, op)[1] != 1 / 256:
        raise refuse(graph, op, f"has an output scale of {scales(graph, op)[1]:g} and not 1/256")
    return float_table(graph, op, _logistic)


def _logistic(x: NDArray[Any]) -> NDArray[Any]:
    one = np.float32(1)
    return np.asarray(one / (one + np.exp(-x.astype(np.float64)).astype(np.float32)))


OP = lookup_op("LOGISTIC", table)
