"""A Keras model as the float graph that TensorFlow's converter quantizes, and its ops in TensorFlow.

The converter itself folds batch normalization into the layers before and fuses activations, so the constants here are
the very floats that become int8, and the tensors those that get a scale. Fine-tuning with fake quantization (qat.py)
and calibration (calibrate.py) work on this graph; what it becomes is the same list of ops again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.errors import ModelError
from kd_embedded.tflite.graph import Graph, Op, Tensor

Array = NDArray[Any]
Values = Mapping[int, Any]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Input and output share scale and zero point (TensorFlow, compiler/mlir/lite/ir/tfl_ops.td: SameOperandsAndResults...).
SAME_SCALE = (
    *("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "PAD", "MAXIMUM"),
    *("MINIMUM", "REDUCE_MAX", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "TRANSPOSE"),
)
# Those of them whose output needs no rounding of its own: every value is one of the input's.
MOVES = tuple(name for name in SAME_SCALE if name not in ("AVERAGE_POOL_2D", "RESIZE_BILINEAR"))
# Scale and zero point of outputs that the converter fixes (the same folder: FixedOutputRangeInterface).
FIXED = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
WAY_OUT = "leave qat_epochs and calibration out of [quantize], or replace that layer"


def activations(graph: Graph) -> list[Tensor]:
    """The float tensors that are computed, the input first: those that get a scale."""
    indices = [*graph.inputs, *(index for op in graph.ops for index in op.outputs)]
    return [graph.tensors[index] for index in indices if graph.tensors[index].dtype == "float32"]


def constants(graph: Graph) -> dict[int, Array]:
    """Each constant operand by its tensor, weights in TensorFlow's layout with the output channel last.

    That is float32 [HK, WK, C_IN, C_OUT] for a convolution, [HK, WK, C_OUT] depthwise and [C_IN, C_OUT] dense.
    """
    found = {index: tensor.data for index, tensor in enumerate(graph.tensors) if tensor.data is not None}
    for index, op in kernels(graph).items():
        data = graph.tensors[index].data
        assert data is not None
        if op.name == "DEPTHWISE_CONV_2D":
            found[index] = data[0]
        else:
            found[index] = np.ascontiguousarray(np.moveaxis(data, 0, -1))
    return found


def kernels(graph: Graph) -> dict[int, Op]:
    """The weights, by tensor, with the first op that uses them."""
    found: dict[int, Op] = {}
    for op in graph.ops:
        if op.name in WEIGHTED:
            found.setdefault(op.inputs[1], op)
    return found


def biases(graph: Graph) -> tuple[int, ...]:
    """The tensors of biases, each once."""
    return tuple(dict.fromkeys(op.inputs[2] for op in graph.ops if op.name in WEIGHTED and has_bias(op)))


def has_bias(op: Op) -> bool:
    """Whether a layer of ``WEIGHTED`` has a bias; a dense one may have none."""
    return len(op.inputs) > 2 and op.inputs[2] >= 0


def untied(graph: Graph) -> Graph:
    """``graph`` with a bias of its own for each layer: the converter stores equal constants, as of zeros, but once."""
    tensors, ops, own = list(graph.tensors), list(graph.ops), dict[tuple[int, ...], int]()
    readers: dict[int, set[tuple[int, ...]]] = {}
    for op in graph.ops:
        for place, index in enumerate(op.inputs):
            as_bias = op.name in WEIGHTED and place == 2
            readers.setdefault(index, set()).add(op.inputs[1:] if as_bias else ())
    for op in graph.ops:
        if op.name not in WEIGHTED or not has_bias(op):
            continue
        weights, bias = op.inputs[1:], op.inputs[2]  # the same of a layer that is called twice
        if weights not in own:
            own[weights] = bias if readers[bias] == {weights} else len(tensors)
            if own[weights] != bias:
                tensors.append(replace(graph.tensors[bias], index=len(tensors)))
        ops[op.index] = replace(op, inputs=(*op.inputs[:2], own[weights]))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def runner(graph: Graph, wanted: Sequence[int]) -> Callable[[NDArray[np.float32]], list[Array]]:
    """A compiled function from inputs float32 [N, ...] to the values [N, ...] of the tensors ``wanted``."""
    import tensorflow as tf

    given = constants(graph)

    @tf.function(input_signature=[tf.TensorSpec((None, *graph.input.shape[1:]), tf.float32)])
    def run(inputs: Any) -> list[Any]:
        values: dict[int, Any] = {graph.inputs[0]: inputs, **given}
        for op in graph.ops:
            values[op.outputs[0]] = apply(graph, op, values)
        return [values[index] for index in wanted]

    return lambda inputs: [value.numpy() for value in run(tf.convert_to_tensor(inputs))]


def check(graph: Graph, layer_of: Callable[[Tensor], str], where: str) -> None:
    """Raises a ModelError that names the layer of the first op which ``apply`` does not have."""
    for op in graph.ops:
        inputs = [graph.tensors[index] for index in op.inputs if index >= 0]
        if reason := _unsupported(op, inputs):
            what = f"{reason}{_in_layer(graph, op, layer_of)} is not known to fake quantization"
            raise ModelError(what, where=where, todo=WAY_OUT)


def check_gradients(graph: Graph, inputs: NDArray[np.float32], layer_of: Callable[[Tensor], str], where: str) -> None:
    """Raises a ModelError that names the layer of the first op which TensorFlow cannot differentiate on this machine.

    ``inputs`` float32 [N, ...] are any: the gradients are computed.
    """
    import tensorflow as tf

    values: dict[int, Any] = {graph.inputs[0]: inputs, **constants(graph)}
    for op in graph.ops:
        operands = {index: values[index] for index in op.inputs if index >= 0}
        watched = {index: tf.constant(value) for index, value in operands.items() if value.dtype == np.float32}
        with tf.GradientTape() as tape:
            tape.watch(watched)
            output = apply(graph, op, operands | watched)
        try:
            tape.gradient(output, watched)
        except (tf.errors.OpError, LookupError):
            what = f"TensorFlow has no gradient here for the {op.name}{_in_layer(graph, op, layer_of)}"
            raise ModelError(what, where=where, todo="set qat_epochs = 0, or replace that layer") from None
        values[op.outputs[0]] = output.numpy()


def _in_layer(graph: Graph, op: Op, layer_of: Callable[[Tensor], str]) -> str:
    layer = layer_of(graph.tensors[op.outputs[0]])
    return f" in layer {layer!r}" if layer else ""


def _unsupported(op: Op, inputs: list[Tensor]) -> str:
    if op.name not in _OPS:
        return f"the op {op.name}"
    if op.name in WEIGHTED and inputs[1].data is None:
        return f"a {op.name} without constant weights"
    if op.name == "CONV_2D" and inputs[0].shape[-1] != inputs[1].shape[-1]:
        return "a convolution in groups"
    return ""


def apply(graph: Graph, op: Op, values: Values) -> Any:
    """The output [N, ...] of ``op``; ``values`` holds its operands by tensor: ``constants``, or computed, [N, ...]."""
    import tensorflow as tf

    inputs = [values[index] for index in op.inputs if index >= 0]
    output = _OPS[op.name](tf, op, inputs, graph.tensors[op.outputs[0]].shape)
    return _fused(tf, op, output)


def _fused(tf: Any, op: Op, value: Any) -> Any:
    match op.options.get("fused_activation_function", "NONE"):
        case "RELU":
            return tf.nn.relu(value)
        case "RELU6":
            return tf.nn.relu6(value)
        case "RELU_N1_TO_1":
            return tf.clip_by_value(value, -1.0, 1.0)
        case _:
            return value


def _conv(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    at = op.options
    strides, dilations = (at["stride_h"], at["stride_w"]), (at["dilation_h_factor"], at["dilation_w_factor"])
    # On a CPU without oneDNN conv2d has no gradient with a dilation. convolution has, but takes no strides beside one.
    function = tf.nn.convolution if max(dilations) > 1 and strides == (1, 1) else tf.nn.conv2d
    return _biased(tf, function(inputs[0], inputs[1], strides, at["padding"], dilations=dilations), inputs)


def _depthwise(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    at, kernel = op.options, inputs[1]
    multiplier = kernel.shape[-1] // inputs[0].shape[-1]
    kernel = tf.reshape(kernel, (*kernel.shape[:2], inputs[0].shape[-1], multiplier))
    strides, dilations = (1, at["stride_h"], at["stride_w"], 1), (at["dilation_h_factor"], at["dilation_w_factor"])
    return _biased(tf, tf.nn.depthwise_conv2d(inputs[0], kernel, strides, at["padding"], dilations=dilations), inputs)


def _dense(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    flat = inputs[0] if len(inputs[0].shape) == 2 else tf.reshape(inputs[0], (-1, inputs[1].shape[0]))
    output = _biased(tf, tf.matmul(flat, inputs[1]), inputs)
    return output if len(shape) == 2 else tf.reshape(output, (-1, *shape[1:]))


def _biased(tf: Any, value: Any, inputs: list[Any]) -> Any:
    return tf.nn.bias_add(value, inputs[2]) if len(inputs) > 2 else value


def _pool(function: str) -> Callable[..., Any]:
    def pool(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
        at = op.options
        size, strides = (at["filter_height"], at["filter_width"]), (at["stride_h"], at["stride_w"])
        return getattr(tf.nn, function)(inputs[0], size, strides, at["padding"])

    return pool


def _reduce(function: str) -> Callable[..., Any]:
    def reduce(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
        axes = [int(axis) for axis in np.reshape(inputs[1], -1)]
        return getattr(tf, function)(inputs[0], axes, keepdims=bool(op.options["keep_dims"]))

    return reduce


def _unary(function: str) -> Callable[..., Any]:
    return lambda tf, op, inputs, shape: getattr(tf.nn, function)(inputs[0])


def _binary(function: str) -> Callable[..., Any]:
    return lambda tf, op, inputs, shape: getattr(tf, function)(inputs[0], inputs[1])


def _reshape(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    return tf.reshape(inputs[0], (-1, *shape[1:]))


def _resize(method: str) -> Callable[..., Any]:
    def resize(tf: Any, op: Op, inputs: list[Any], shape: tuple[int, ...]) -> Any:
        function = getattr(tf.compat.v1.image, f"resize_{method}")
        at = op.options
        return function(
            inputs[0], shape[1:3], align_corners=at["align_corners"], half_pixel_centers=at["half_pixel_centers"]
        )

    return resize


_OPS: Mapping[str, Callable[..., Any]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "ADD": _binary("add"),
    "SUB": _binary("subtract"),
    "MUL": _binary("multiply"),
    "MAXIMUM": _binary("maximum"),
    "MINIMUM": _binary("minimum"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MEAN": _reduce("reduce_mean"),
    "REDUCE_MAX": _reduce("reduce_max"),
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "CONCATENATION": lambda tf, op, inputs, shape: tf.concat(inputs, op.options["axis"]),
    "TRANSPOSE": lambda tf, op, inputs, shape: tf.transpose(inputs[0], inputs[1]),
    "PAD": lambda tf, op, inputs, shape: tf.pad(inputs[0], inputs[1]),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest_neighbor"),
    "RESIZE_BILINEAR": _resize("bilinear"),
    "RELU": _unary("relu"),
    "RELU6": _unary("relu6"),
    "LEAKY_RELU": lambda tf, op, inputs, shape: tf.nn.leaky_relu(inputs[0], op.options["alpha"]),
    "LOGISTIC": _unary("sigmoid"),
    "TANH": _unary("tanh"),
    "SOFTMAX": _unary("softmax"),
    # Not tf.nn.silu's kin: as Keras writes it, so that the converter knows it again.
    "HARD_SWISH": lambda tf, op, inputs, shape: inputs[0] * tf.nn.relu6(inputs[0] + 3.0) * (1.0 / 6.0),
}
