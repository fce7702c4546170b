"""UNIDIRECTIONAL_SEQUENCE_LSTM: inputs 1-4 are the input weights of the gates, 5-8 their recurrent weights."""

from __future__ import annotations

from kd_embedded.ops.spec import OpSpec, elements, input_tensor, size
from kd_embedded.tflite.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Batch times steps times the values of the gates' weights; the products of gates and cell are not counted."""
    sequence = input_tensor(graph, op, 0)
    gates = [position for position in range(1, 9) if position < len(op.inputs) and op.inputs[position] >= 0]
    weights = sum(elements(input_tensor(graph, op, position)) for position in gates)
    return size(graph, op, sequence, 0) * size(graph, op, sequence, 1) * weights


OP = OpSpec("UNIDIRECTIONAL_SEQUENCE_LSTM", macs)
