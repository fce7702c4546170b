"""PADV2: a frame of a value that the third operand gives, quantized like the output (kernels/pad.cc:248, EvalInt)."""

from __future__ import annotations

from kd_embedded.ops._movement import movement, require_quant, vector
from kd_embedded.ops._padding import inside
from kd_embedded.ops.pad import zero
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def value(graph: Graph, op: Op) -> int:
    """The frame's value; the output's zero point where the operand is left out."""
    return vector(graph, op, 2, 1)[0] if _has_value(op) else zero(graph, op)


def check(graph: Graph, op: Op) -> None:
    """Refuses a frame that is not int8 or quantized unlike the output."""
    if not _has_value(op):
        return
    operand = input_tensor(graph, op, 2)
    if operand.dtype != "int8":
        raise refuse(graph, op, f"has a frame of {operand.dtype}, and int8 is supported")
    require_quant(graph, op, operand, output_tensor(graph, op))
    value(graph, op)


def _has_value(op: Op) -> bool:
    return len(op.inputs) > 2 and op.inputs[2] >= 0


OP = movement("PADV2", inside, check=check, background=value)
