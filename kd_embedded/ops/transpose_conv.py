"""TRANSPOSE_CONV: each input value is scattered through ``[C_OUT, HK, WK, C_IN]``. Inputs: shape, filter, input."""

from __future__ import annotations

from kd_embedded.ops.spec import OpSpec, elements, input_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Input values times C_OUT x HK x WK (what falls outside the output is counted too)."""
    filters = input_tensor(graph, op, 1)
    per_input = size(graph, op, filters, 0) * size(graph, op, filters, 1) * size(graph, op, filters, 2)
    return elements(input_tensor(graph, op, 2)) * per_input


OP = OpSpec("TRANSPOSE_CONV", macs)
