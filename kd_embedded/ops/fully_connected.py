"""FULLY_CONNECTED: each output value sums over one row of the weights, ``[C_OUT, C_IN]``."""

from __future__ import annotations

from kd_embedded.ops import _layers
from kd_embedded.ops.spec import OpSpec, elements, input_tensor, output_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Output values times C_IN."""
    return elements(output_tensor(graph, op)) * size(graph, op, input_tensor(graph, op, 1), -1)


OP = OpSpec("FULLY_CONNECTED", macs, _layers.accepts, _layers.reference, _layers.lower)
