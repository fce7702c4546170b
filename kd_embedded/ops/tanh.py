"""TANH: the hyperbolic tangent."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kd_embedded.ops._libm import tanhf
from kd_embedded.ops._lookup import float_table, lookup_op
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256].

    Source: tensorflow/lite/kernels/activations.cc:321 (v2.14), TanhPrepare<kReference>: a table of float32 values.
    """
    return float_table(graph, op, tanhf)


OP = lookup_op("TANH", table)
