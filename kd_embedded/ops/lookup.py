"""LOOKUP, which no file has: several ops that come to a function of one int8 value (passes/fold_pointwise.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._lookup import lookup_op
from kd_embedded.ops.spec import refuse
from kd_embedded.tflite.graph import Graph, Op


def table(graph: Graph, op: Op) -> NDArray[Any]:
    """int8 [256]: the attribute ``table``."""
    if "table" not in op.options:
        raise refuse(graph, op, "is not an op of TFLite")
    return np.array(op.options["table"], np.int8)


OP = lookup_op("LOOKUP", table)
