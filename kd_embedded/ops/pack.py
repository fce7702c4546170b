"""PACK: tensors of one shape stacked along a new axis. Scale and zero point are the same for all (kernels/pack.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, axis_of, movement, positions, require_quant, require_shape
from kd_embedded.ops.spec import input_tensor, output_tensor
from kd_embedded.tflite.graph import Graph, Op


def check(graph: Graph, op: Op) -> None:
    """Refuses operands that TFLite would have to requantize."""
    for position in range(len(op.inputs)):
        require_quant(graph, op, input_tensor(graph, op, position), output_tensor(graph, op))


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """Each input into its place of the new axis."""
    output, sizes = output_tensor(graph, op), input_tensor(graph, op, 0).shape
    axis = axis_of(graph, op, op.options.get("axis", 0), len(sizes) + 1)
    require_shape(graph, op, output, (*sizes[:axis], len(op.inputs), *sizes[axis:]))
    places = positions(output)
    tensors = (input_tensor(graph, op, position) for position in range(len(op.inputs)))
    return [Piece(i, positions(tensor), places.take(i, axis)) for i, tensor in enumerate(tensors)]


OP = movement("PACK", pieces, check=check)
