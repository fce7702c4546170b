"""What a model costs: multiply-accumulates and weights, op by op."""

from __future__ import annotations

from dataclasses import dataclass

from kd_embedded import ops
from kd_embedded.ops.spec import output_tensor
from kd_embedded.tflite.graph import Graph, Op


@dataclass(frozen=True)
class OpCost:
    """One op. ``weight_bytes`` counts its constant inputs (weights, biases, shapes), also those it shares."""

    index: int
    name: str
    output_shape: tuple[int, ...]
    macs: int
    weight_bytes: int


@dataclass(frozen=True)
class Analysis:
    """A whole model, for one inference. ``weight_bytes`` counts each constant once."""

    ops: tuple[OpCost, ...]
    macs: int
    weight_bytes: int


def analyze(graph: Graph) -> Analysis:
    """The cost of each op and of the whole; ModelError where an op lacks a tensor that its cost is counted from."""
    costs = tuple(_cost(graph, op) for op in graph.ops)
    constants = {i for op in graph.ops for i in _constants(graph, op)}
    return Analysis(
        ops=costs,
        macs=sum(cost.macs for cost in costs),
        weight_bytes=sum(graph.tensors[i].bytes for i in constants),
    )


def _cost(graph: Graph, op: Op) -> OpCost:
    return OpCost(
        index=op.index,
        name=op.name,
        output_shape=output_tensor(graph, op).shape,
        macs=ops.spec(op.name).macs(graph, op),
        weight_bytes=sum(graph.tensors[i].bytes for i in _constants(graph, op)),
    )


def _constants(graph: Graph, op: Op) -> set[int]:
    return {i for i in op.inputs if i >= 0 and graph.tensors[i].data is not None}
