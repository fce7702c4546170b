"""EXP: the exponential function."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._lookup import float_table, lookup_op
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256]. Source: tensorflow/lite/kernels/exp.cc:59 (v2.14), Prepare: a table of float32 values."""
    return float_table(graph, op, lambda x: np.exp(x.astype(np.float64)).astype(np.float32))


OP = lookup_op("EXP", table)
