"""DEPTHWISE_CONV_2D: each output value sums over one plane of the filter, ``[1, HK, WK, C_OUT]``."""

from __future__ import annotations

from kd_embedded.ops import _layers
from kd_embedded.ops.spec import OpSpec, elements, input_tensor, output_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Output values times HK x WK."""
    filters = input_tensor(graph, op, 1)
    return elements(output_tensor(graph, op)) * size(graph, op, filters, 1) * size(graph, op, filters, 2)


OP = OpSpec("DEPTHWISE_CONV_2D", macs, _layers.accepts, _layers.reference, _layers.lower)
