"""Attributes of an op, which the file may hold in the table of another op."""

from __future__ import annotations

from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op


def check_attributes(graph: Graph, op: Op, *names: str) -> None:
    """Refuses attributes other than ``names``, all of them or none: the reference reads another op's as none at all."""
    if op.options and set(op.options) != set(names):
        raise refuse(graph, op, f"has the attributes {', '.join(sorted(op.options))}, which are another op's")
