"""SVDF: a dense layer in two steps, feature weights ``[FILTERS, C_IN]`` and time weights ``[FILTERS, STEPS]``."""

from __future__ import annotations

from kd_embedded.ops.spec import OpSpec, elements, input_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Batch times the values of both weights, each used once (kernels/svdf_common.cc, EvalIntegerSvdfReference)."""
    batch = size(graph, op, input_tensor(graph, op, 0), 0)
    return batch * sum(elements(input_tensor(graph, op, position)) for position in (1, 2))


OP = OpSpec("SVDF", macs)
