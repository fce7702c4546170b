"""CONV_2D: each output value sums over one filter, ``[C_OUT, HK, WK, C_IN / groups]``."""

from __future__ import annotations

from kd_embedded.ops import _layers
from kd_embedded.ops.spec import OpSpec, elements, input_tensor, output_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Output values times HK x WK x C_IN / groups."""
    filters = input_tensor(graph, op, 1)
    per_output = size(graph, op, filters, 1) * size(graph, op, filters, 2) * size(graph, op, filters, 3)
    return elements(output_tensor(graph, op)) * per_output


OP = OpSpec("CONV_2D", macs, _layers.accepts, _layers.reference, _layers.lower)
