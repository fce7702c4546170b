"""What every later stage relies on: one int8 input, one output, int8 between, fixed shapes, only ops of TFLM."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kd_embedded.errors import ModelError
from kd_embedded.ops import TFLM_OPS
from kd_embedded.ops.spec import describe, input_tensor, output_tensor
from kd_embedded.tflite.classes import check_index_type, index_op
from kd_embedded.tflite.graph import Graph, Op, Tensor

_FULL_INT8 = (
    "convert to full int8 (optimizations=[DEFAULT], a representative_dataset, supported_ops=[TFLITE_BUILTINS_INT8], "
    "inference_input_type=inference_output_type=tf.int8)"
)
_AGAIN = "convert the model again"
_MOST_ACTIVATION_BYTES = 4 << 20
_ROWS_AND_CHANNELS = 2  # axes
_FIRST_AXES = (
    "a dense layer on more than two axes with a scale for each channel: BUILTIN_REF takes the first two axes of its "
    "output for rows and channels, so nearly every output is wrong; TFLM and kd-embedded flatten all axes but the last"
)
_FOLDED_ROWS = (
    "a matrix product with adj_x whose right operand has 1 on the axis before its matrices, and the left one more: "
    "BUILTIN_REF folds that axis into rows, so that most outputs are wrong; TFLM and kd-embedded broadcast"
)
_INDEX_TYPES = ("int32", "int64", "bool")  # shapes, axes, indices and biases beside the int8 values


@dataclass(frozen=True)
class Departure:
    """An op that an interpreter (TFLM, on every board; or BUILTIN_REF) computes wrongly, without saying so."""

    op_index: int
    op_name: str
    why: str


def check_full_int8(graph: Graph, where: str) -> None:
    """Raises a ModelError that names op, tensor and way out, unless ``graph`` is a full-int8 model for TFLM."""
    _check_edges(graph, where)
    _check_dynamic_range(graph, where)
    for op in graph.ops:
        _check_known(op, where)
        tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
        for tensor in tensors:
            _check_type(graph, op, tensor, where)
        for tensor in tensors:
            _check_shape(op, tensor, where)
    check_batch(graph, where)


def check_aot(graph: Graph, where: str) -> None:
    """Raises a ModelError unless ``graph`` has the form that the aot engine compiles.

    That is one input, one output, shapes that are known and not empty, and ops in an order in which each reads what is
    there. What the single op takes is for its own ``accepts`` to say.
    """
    _check_edges(graph, where)
    _check_dynamic_range(graph, where)
    known = {*graph.inputs, *(tensor.index for tensor in graph.tensors if tensor.data is not None)}
    for op in graph.ops:
        for index in (*op.inputs, *op.outputs):
            if index >= 0:
                _check_shape(op, graph.tensors[index], where)
                _check_fits(op, graph.tensors[index], where)
        _check_order(graph, op, known, where)
    if graph.outputs[0] not in known:
        raise ModelError(f"no op computes its output (tensor {graph.output.name})", where=where, todo=_AGAIN)


def check_int8_edges(graph: Graph, where: str) -> None:
    """Raises a ModelError unless input and output are int8 activations with one scale and zero point each.

    The output may be int32 indices instead, of an ARG_MAX or ARG_MIN at the end.
    """
    _check_edge_values("input", graph.input, where)
    op = index_op(graph)
    if op is None:
        _check_edge_values("output", graph.output, where)
    else:
        check_index_type(replace(graph, name=where), op)


def check_batch(graph: Graph, where: str) -> None:
    """Raises a ModelError unless input and output are batches of one, as the firmware takes and gives them."""
    check_int8_edges(graph, where)
    _check_edge_batch("input", graph.input, 2, where)
    _check_edge_batch("output", graph.output, 2 if index_op(graph) is None else 1, where)


def tflm_departures(graph: Graph) -> tuple[Departure, ...]:
    """The ops of ``graph`` that TFLM is known to compute wrongly or otherwise than the reference kernels."""
    return tuple(Departure(op.index, op.name, why) for op in graph.ops if (why := _departure(graph, op)))


def reference_departures(graph: Graph) -> tuple[Departure, ...]:
    """The ops of ``graph`` that BUILTIN_REF of tflite-runtime 2.14 is known to compute wrongly; TFLM is right there.

    Sources (v2.14): tensorflow/lite/kernels/internal/reference/integer_ops/fully_connected.h:33,
    FullyConnectedPerChannel; tensorflow/lite/kernels/batch_matmul.cc, Eval.
    """
    dense = per_channel_dense(graph)
    found = ((op, _reference_departure(graph, op, op.index in dense)) for op in graph.ops)
    return tuple(Departure(op.index, op.name, why) for op, why in found if why)


def per_channel_dense(graph: Graph) -> tuple[int, ...]:
    """Indices of FULLY_CONNECTED ops whose weights have a scale per output channel, which old TFLM libraries ignore."""
    dense = (op for op in graph.ops if op.name == "FULLY_CONNECTED")
    return tuple(op.index for op in dense if (quant := input_tensor(graph, op, 1).quant) and quant.per_channel)


def _departure(graph: Graph, op: Op) -> str:
    if op.name == "RELU6" and input_tensor(graph, op, 0).quant != output_tensor(graph, op).quant:
        return (
            "a RELU6 that is not fused into the op before it: TFLM clamps but does not requantize, so nearly every "
            "output is wrong (kernels/activations.cc, Relu6Quantized); put it right behind a convolution or dense "
            "layer, or use ReLU"
        )
    if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return "TFLM and the reference kernels disagree, by up to 12 steps; unroll the layer (unroll=True) or use a GRU"
    return ""


def _reference_departure(graph: Graph, op: Op, is_per_channel_dense: bool) -> str:
    if is_per_channel_dense and len(output_tensor(graph, op).shape) != _ROWS_AND_CHANNELS:
        return _FIRST_AXES
    if op.name == "BATCH_MATMUL" and op.options.get("adj_x"):
        x, y = (input_tensor(graph, op, position).shape for position in (0, 1))
        if min(len(x), len(y)) > _ROWS_AND_CHANNELS and x[-3] > 1 and y[-3] == 1:
            return _FOLDED_ROWS
    return ""


def _check_edges(graph: Graph, where: str) -> None:
    for kind, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if len(indices) != 1:
            names = ", ".join(graph.tensors[i].name for i in indices)
            todo = "join them into one tensor" if kind == "input" else "keep the one the firmware needs"
            raise ModelError(f"has {len(indices)} {kind}s ({names}), and one is supported", where=where, todo=todo)


def _check_dynamic_range(graph: Graph, where: str) -> None:
    """Only large weights are int8 in such a model, so its first ops may look like those of a float model."""
    for op in graph.ops:
        tensors = [graph.tensors[i] for i in op.inputs if i >= 0]
        floats = [tensor for tensor in tensors if tensor.dtype == "float32" and tensor.data is None]
        if floats and any(tensor.dtype == "int8" and tensor.data is not None for tensor in tensors):
            raise ModelError(
                f"{describe(op)} is dynamic range quantized: int8 weights, but float32 tensor {floats[0].name}",
                where=where,
                todo=_FULL_INT8,
            )


def _check_known(op: Op, where: str) -> None:
    if op.name == "CUSTOM":
        raise ModelError(
            f"{describe(op)} is a custom op, which no stock interpreter runs",
            where=where,
            todo="convert with TFLITE_BUILTINS_INT8 alone (no SELECT_TF_OPS, no allow_custom_ops)",
        )
    if op.name not in TFLM_OPS:
        raise ModelError(
            f"{describe(op)} is not among the ops of TensorFlow Lite Micro",
            where=where,
            todo="replace that layer by another",
        )


def _check_type(graph: Graph, op: Op, tensor: Tensor, where: str) -> None:
    if tensor.dtype in _INDEX_TYPES:
        return
    if tensor.dtype != "int8":
        what, todo = _wrong_type(graph, op, tensor)
        raise ModelError(f"{describe(op)} {what} (tensor {tensor.name})", where=where, todo=todo)
    if tensor.quant is None or (tensor.quant.per_channel and tensor.data is None):
        raise ModelError(
            f"{describe(op)} uses tensor {tensor.name}, whose int8 values lack one scale and zero point",
            where=where,
            todo=_FULL_INT8,
        )


def _wrong_type(graph: Graph, op: Op, tensor: Tensor) -> tuple[str, str]:
    if tensor.index in graph.inputs and op.name == "QUANTIZE":
        return f"takes a {tensor.dtype} input", "convert with inference_input_type=tf.int8"
    if tensor.index in graph.outputs and op.name in ("DEQUANTIZE", "QUANTIZE"):
        return f"gives a {tensor.dtype} output", "convert with inference_output_type=tf.int8"
    if tensor.dtype == "int16":
        return "has int16 activations", f"only int8 activations are supported: {_FULL_INT8}"
    if tensor.dtype == "uint8":
        return "has uint8 values, as TensorFlow 1 quantized them", _FULL_INT8
    if op.name == "DEQUANTIZE" and any(i >= 0 and graph.tensors[i].data is not None for i in op.inputs):
        return "expands quantized weights to floats", _FULL_INT8
    return f"computes in {tensor.dtype}", _FULL_INT8


def _check_shape(op: Op, tensor: Tensor, where: str) -> None:
    if 0 in tensor.shape:
        raise ModelError(
            f"{describe(op)} uses tensor {tensor.name}, which is empty: shape {list(tensor.shape)}",
            where=where,
            todo="remove the layer that makes it",
        )
    # An open batch axis is harmless: the interpreters take the 1 that stands in the shape.
    if any(axis > 0 for axis in tensor.dynamic_axes):
        raise ModelError(
            f"{describe(op)} uses tensor {tensor.name}, whose shape is dynamic in axes {list(tensor.dynamic_axes)}",
            where=where,
            todo="convert with a fixed input shape and a batch of 1",
        )


def _check_fits(op: Op, tensor: Tensor, where: str) -> None:
    """Bounds the work on one tensor, too: plans and proofs look at single elements."""
    if tensor.data is None and tensor.bytes > _MOST_ACTIVATION_BYTES:
        raise ModelError(
            f"{describe(op)} uses tensor {tensor.name} of shape {list(tensor.shape)}: {tensor.bytes} bytes of RAM, and "
            f"the aot engine plans up to {_MOST_ACTIVATION_BYTES >> 20} MiB for one",
            where=where,
            todo="use a smaller model",
        )


def _check_order(graph: Graph, op: Op, known: set[int], where: str) -> None:
    """``known`` are the tensors with a value before ``op``; its outputs are added."""
    for index in op.inputs:
        if index >= 0 and index not in known:
            name = graph.tensors[index].name
            raise ModelError(
                f"{describe(op)} reads tensor {name}, which no op before it computes", where=where, todo=_AGAIN
            )
    for index in op.outputs:
        if index in known:
            name = graph.tensors[index].name
            raise ModelError(
                f"{describe(op)} writes tensor {name}, which has a value already", where=where, todo=_AGAIN
            )
        known.add(index)


def _check_edge_batch(kind: str, tensor: Tensor, rank: int, where: str) -> None:
    if len(tensor.shape) < rank or tensor.shape[0] != 1:
        raise ModelError(
            f"its {kind} (tensor {tensor.name}) has shape {list(tensor.shape)}, and [1, ...] is supported",
            where=where,
            todo="convert with a fixed batch of 1",
        )


def _check_edge_values(kind: str, tensor: Tensor, where: str) -> None:
    if tensor.dtype != "int8" or tensor.quant is None:
        raise ModelError(
            f"its {kind} (tensor {tensor.name}) has type {tensor.dtype}, and quantized int8 is supported",
            where=where,
            todo=f"convert with inference_{kind}_type=tf.int8",
        )
    if tensor.data is not None:
        raise ModelError(f"its {kind} (tensor {tensor.name}) is a constant", where=where, todo=_AGAIN)
