"""BATCH_MATMUL: each output value sums over the inner axis of the left operand, ``[..., M, K]``."""

from __future__ import annotations

from kd_embedded.ops.spec import OpSpec, elements, input_tensor, output_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Output values times K (``adj_x`` says that the left operand comes transposed)."""
    inner = -2 if op.options.get("adj_x") else -1
    return elements(output_tensor(graph, op)) * size(graph, op, input_tensor(graph, op, 0), inner)


OP = OpSpec("BATCH_MATMUL", macs)
