"""PAD: a frame of zeros, which is the output's zero point (kernels/pad.cc:248, EvalInt)."""

from __future__ import annotations

from kd_embedded.ops._movement import movement
from kd_embedded.ops._padding import inside
from kd_embedded.ops.spec import output_tensor
from kd_embedded.tflite.graph import Graph, Op


def zero(graph: Graph, op: Op) -> int:
    """The output's zero point."""
    quant = output_tensor(graph, op).quant
    return quant.zero_point[0] if quant else 0


OP = movement("PAD", inside, background=zero)
