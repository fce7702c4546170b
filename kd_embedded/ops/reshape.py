"""RESHAPE: the same bytes under another shape, which the file gives: no code."""

from __future__ import annotations

import math

from kd_embedded.ops._movement import alias, constant
from kd_embedded.ops.spec import elements, input_tensor, output_tensor
from kd_embedded.tflite.graph import Graph, Op


def shape(graph: Graph, op: Op) -> tuple[int, ...]:
    """The shape asked for, -1 resolved: of the operand where there is one, else of the attribute.

    Source: kernels/reshape.cc, GetOutputShape and ResizeOutput. An operand that only the run knows must end in the
    shape that the file says.
    """
    operand = input_tensor(graph, op, 1) if len(op.inputs) > 1 and op.inputs[1] >= 0 else None
    if operand is not None and operand.data is None:
        return output_tensor(graph, op).shape
    given = op.options.get("new_shape", ()) if operand is None else constant(graph, op, 1).reshape(-1)
    wanted = [int(size) for size in given]
    known = math.prod(size for size in wanted if size != -1)
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = elements(input_tensor(graph, op, 0)) // known
    return tuple(wanted)


OP = alias("RESHAPE", shape)
