"""What a model's output tells: int8 values, one for each class, or the index of a class, from an ARG_MAX at the end."""

from __future__ import annotations

from kd_embedded.errors import ModelError
from kd_embedded.ops.spec import describe, elements, input_tensor, output_tensor
from kd_embedded.tflite.graph import Graph, Op

INDEX_OPS = ("ARG_MAX", "ARG_MIN")


def index_op(graph: Graph) -> Op | None:
    """The op whose output is the model's and holds indices; None for a model with an output of int8 values."""
    makers = (op for op in graph.ops if op.name in INDEX_OPS and graph.outputs[0] in op.outputs)
    return next(makers, None)


def class_count(graph: Graph) -> int:
    """How many classes the output tells apart: one for each int8 value, or as many as an index may name."""
    op = index_op(graph)
    if op is None:
        return elements(graph.output)
    return elements(input_tensor(graph, op, 0)) // elements(graph.output)


def check_index_type(graph: Graph, op: Op) -> None:
    """Raises a ModelError unless ``op``, one of INDEX_OPS, gives int32: TFLM has no other, nor has the aot engine."""
    output = output_tensor(graph, op)
    kind = str(op.options.get("output_type", output.dtype)).lower()
    if not kind == output.dtype == "int32":
        raise ModelError(
            f"{describe(op)} gives {kind} indices (tensor {output.name}), and int32 is supported",
            where=graph.name,
            todo="make them with tf.argmax(..., output_type=tf.int32)",
        )
