"""CONCATENATION: tensors joined along an axis. Scale and zero point are the same for all (kernels/concatenation.cc)."""

from __future__ import annotations

from kd_embedded.ops._movement import Piece, axis_of, movement, positions, require_quant, require_shape
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op


def check(graph: Graph, op: Op) -> None:
    """Refuses a fused activation, and operands that TFLite's int8 kernel would have to requantize."""
    if op.options.get("fused_activation_function", "NONE") != "NONE":
        raise refuse(graph, op, f"has a fused {op.options['fused_activation_function']}")
    for position in range(len(op.inputs)):
        require_quant(graph, op, input_tensor(graph, op, position), output_tensor(graph, op))


def pieces(graph: Graph, op: Op) -> list[Piece]:
    """Each input into its range of the axis."""
    output = output_tensor(graph, op)
    inputs = [input_tensor(graph, op, position) for position in range(len(op.inputs))]
    rank = len(output.shape)
    axis = axis_of(graph, op, op.options.get("axis", 0), rank)
    if any(len(tensor.shape) != rank for tensor in inputs):
        raise refuse(graph, op, f"joins tensors of other than {rank} axes")
    sizes = [tensor.shape[axis] for tensor in inputs]
    require_shape(graph, op, output, (*output.shape[:axis], sum(sizes), *output.shape[axis + 1 :]))
    to, found, start = positions(output).swapaxes(0, axis), [], 0
    for position, (tensor, size) in enumerate(zip(inputs, sizes, strict=True)):
        found.append(Piece(position, positions(tensor), to[start : start + size].swapaxes(0, axis)))
        start += size
    return found


OP = movement("CONCATENATION", pieces, check=check)
