"""MAXIMUM and MINIMUM of two operands: bytes are compared as they are, whatever their scales.

Source: tensorflow/lite/kernels/maximum_minimum.cc (v2.14), TFLiteOperation; internal/reference/maximum_minimum.h:25,
MaximumMinimumBroadcastSlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kd_embedded.ops._binary import Walk, binary_op
from kd_embedded.ops.spec import OpSpec
from kd_embedded.program import Call, Step
from kd_embedded.tflite.graph import Graph, Op


def extreme_op(name: str, largest: bool) -> OpSpec:
    """The OpSpec of MAXIMUM (``largest``) or MINIMUM."""

    def function(graph: Graph, op: Op) -> Any:
        return np.maximum if largest else np.minimum

    def calls(graph: Graph, op: Op, walk: Walk) -> tuple[Step, ...]:
        fields = walk.fields() | {"inverted": 0 if largest else -1}
        return (Call("maximum", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps),)

    return binary_op(name, function, calls, rank=5)
