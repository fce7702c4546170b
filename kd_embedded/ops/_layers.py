"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: an op to its ``Layer``, and the integer reference of a layer.

Sources (v2.14): tensorflow/lite/kernels/conv.cc:328, depthwise_conv.cc:98 and fully_connected.cc, Prepare;
internal/reference/integer_ops/conv.h:26, ConvPerChannel; depthwise_conv.h:24, DepthwiseConvPerChannel;
fully_connected.h:77, FullyConnected, and :33, FullyConnectedPerChannel. The last takes the first two axes of its
output for rows and channels there; ours, as that of tensorflow/tflite-micro 90b983c2, has a row for each index of all
axes but the last (tflite/check.py, reference_departures).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kd_embedded import kernels
from kd_embedded.kernels.layers import Layer
from kd_embedded.ops._weights import (
    activation,
    activation_range,
    constant_bias,
    constant_weights,
    multipliers,
    per_tensor_multiplier,
    quant,
    requantize,
    result,
)
from kd_embedded.ops.spec import Values, output_tensor, refuse
from kd_embedded.program import Step, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor

_MAX_STEP = 1 << 15  # strides and dilations: no image is wider, and the reference's int arithmetic holds
_CHUNK = 1 << 21  # values of the largest temporary array


def to_layer(graph: Graph, op: Op) -> Layer:
    """The op as a layer; ModelError (``refuse``) where the reference kernel, or ours, would not compute it."""
    return {"CONV_2D": _conv, "DEPTHWISE_CONV_2D": _depthwise, "FULLY_CONNECTED": _dense}[op.name](graph, op)


def accepts(graph: Graph, op: Op) -> None:
    """Refuses what ``to_layer`` does."""
    to_layer(graph, op)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """The output [N, *shape]; the weights are taken from the graph."""
    x = values[0]
    assert x is not None
    return [evaluate(to_layer(graph, op), x).reshape(len(x), *output_tensor(graph, op).shape)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """The calls of the first kernel of the target that takes the layer."""
    return kernels.lower(to_layer(graph, op), op.index, target)


def evaluate(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    """The outputs int8 [N, H, W, C_OUT] for ``x`` int8 [N, H, W, C_IN], N any number of images."""
    x = x.reshape(-1, *layer.input_shape)
    taps = math.prod(layer.kernel) * (layer.input_shape[2] if layer.kind != "depthwise" else 1)
    per_image = math.prod(layer.output_shape[:2]) * max(taps, layer.output_shape[2])
    step = max(1, _CHUNK // per_image)
    return np.concatenate([_evaluate(layer, x[i : i + step]) for i in range(0, len(x), step)])


class _Window(NamedTuple):
    output: int
    before: int


def _conv(graph: Graph, op: Op) -> Layer:
    source, output = activation(graph, op, 0), result(graph, op)
    weights, values = constant_weights(graph, op, 1, 4)
    batch, height, width, channels_in = image(graph, op, source)
    channels, *kernel, per_group = weights.shape
    if channels_in % per_group or channels % (channels_in // per_group):
        raise refuse(graph, op, f"has {channels_in} input and {channels} output channels for filters of {per_group}")
    if any(quant(weights).zero_point):
        raise refuse(graph, op, f"has weights (tensor {weights.name}) with a zero point other than 0")
    multiplier, shift = multipliers(graph, op, source, weights, output, channels)
    return _windowed(
        graph,
        op,
        kind="conv",
        n=batch,
        input_shape=(height, width, channels_in),
        kernel=(kernel[0], kernel[1]),
        groups=channels_in // per_group,
        weights=values,
        multiplier=multiplier,
        shift=shift,
    )


def _depthwise(graph: Graph, op: Op) -> Layer:
    source, output = activation(graph, op, 0), result(graph, op)
    weights, values = constant_weights(graph, op, 1, 4)
    batch, height, width, channels_in = image(graph, op, source)
    one, *kernel, channels = weights.shape
    factor = option(graph, op, "depth_multiplier")
    if one != 1 or factor * channels_in != channels:
        raise refuse(
            graph, op, f"has depth_multiplier {factor} and {channels_in} channels for weights {list(weights.shape)}"
        )
    multiplier, shift = multipliers(graph, op, source, weights, output, channels)
    plain = factor == 1 and channels > 1  # else a convolution with a group for each input channel
    return _windowed(
        graph,
        op,
        kind="depthwise" if plain else "conv",
        n=batch,
        input_shape=(height, width, channels_in),
        kernel=(kernel[0], kernel[1]),
        groups=channels_in,
        weights=values[0] if plain else np.moveaxis(values, -1, 0).reshape(channels, *kernel, 1),
        multiplier=multiplier,
        shift=shift,
    )


def _windowed(graph: Graph, op: Op, **known: Any) -> Layer:
    """A convolution from what its kind has found: strides, dilations, padding, output shape, bias, range."""
    source, output = activation(graph, op, 0), result(graph, op)
    stride = steps(graph, op, "stride_h", "stride_w")
    dilation = steps(graph, op, "dilation_h_factor", "dilation_w_factor")
    (height, width, _), kernel = known["input_shape"], known["kernel"]
    padding = option(graph, op, "padding")
    rows = window(height, kernel[0], stride[0], dilation[0], padding)
    columns = window(width, kernel[1], stride[1], dilation[1], padding)
    channels = len(known["multiplier"])
    _check_shape(graph, op, output, (known["n"], rows.output, columns.output, channels))
    low, high = activation_range(graph, op, output)
    return Layer(
        input=source.index,
        output=output.index,
        output_shape=(rows.output, columns.output, channels),
        stride=stride,
        dilation=dilation,
        padding=(rows.before, columns.before),
        bias=constant_bias(graph, op, 2, channels),
        input_zero_point=quant(source).zero_point[0],
        weights_zero_point=0,  # DepthwiseConvPerChannel never reads it, and ConvPerChannel's is 0
        output_zero_point=quant(output).zero_point[0],
        low=low,
        high=high,
        **known,
    )


def _dense(graph: Graph, op: Op) -> Layer:
    source, output = activation(graph, op, 0), result(graph, op)
    weights, values = constant_weights(graph, op, 1, 2)
    if op.options and option(graph, op, "weights_format") != "DEFAULT":
        raise refuse(graph, op, f"has weights in format {op.options['weights_format']}")
    channels, depth = weights.shape
    shape = _dense_shape(graph, op, source, channels, depth)
    _check_shape(graph, op, output, shape)
    bias = constant_bias(graph, op, 2, channels)
    per_channel = quant(weights).per_channel
    if per_channel:
        multiplier, shift = multipliers(graph, op, source, weights, output, channels)
    else:
        tensor = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        multiplier, shift = per_tensor_multiplier(graph, op, source, weights, tensor, output, channels)
    low, high = activation_range(graph, op, output)
    return Layer(
        kind="dense",
        input=source.index,
        output=output.index,
        n=math.prod(shape[:-1]),
        input_shape=(1, 1, depth),
        output_shape=(1, 1, channels),
        kernel=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        padding=(0, 0),
        groups=1,
        weights=values.reshape(channels, 1, 1, depth),
        bias=bias,
        multiplier=multiplier,
        shift=shift,
        input_zero_point=quant(source).zero_point[0],
        weights_zero_point=0 if per_channel else quant(weights).zero_point[0],
        output_zero_point=quant(output).zero_point[0],
        low=low,
        high=high,
    )


def _dense_shape(graph: Graph, op: Op, source: Tensor, channels: int, depth: int) -> tuple[int, ...]:
    """What fully_connected.cc, PrepareImpl resizes the output to."""
    size = math.prod(source.shape)
    keep = bool(op.options.get("keep_num_dims", False))
    if size % depth or (keep and source.shape[-1:] != (depth,)):
        raise refuse(graph, op, f"has an input of shape {list(source.shape)} for weights of {depth} columns")
    return (*source.shape[:-1], channels) if keep else (size // depth, channels)


def window(size: int, kernel: int, stride: int, dilation: int, padding: str) -> _Window:
    """Output size and padding before along one axis. Source: padding.h:44, ComputeOutSize, and :23, ComputePadding."""
    reach = (kernel - 1) * dilation + 1
    output = (size + stride - 1) // stride if padding == "SAME" else int((size + stride - reach) / stride)
    return _Window(output, max((output - 1) * stride + reach - size, 0) // 2)


def image(graph: Graph, op: Op, tensor: Tensor) -> tuple[int, int, int, int]:
    """N, H, W and C of an op's input."""
    if len(tensor.shape) != 4:
        raise refuse(graph, op, f"has an input (tensor {tensor.name}) of shape {list(tensor.shape)}")
    batch, height, width, channels = tensor.shape
    return batch, height, width, channels


def option(graph: Graph, op: Op, name: str) -> Any:
    """The attribute ``name``, which has no default."""
    if name not in op.options:
        raise refuse(graph, op, f"lacks the attribute {name}")
    return op.options[name]


def steps(graph: Graph, op: Op, vertical: str, horizontal: str) -> tuple[int, int]:
    """Two attributes that are strides or dilations."""
    found = int(option(graph, op, vertical)), int(option(graph, op, horizontal))
    if not all(1 <= step <= _MAX_STEP for step in found):
        raise refuse(graph, op, f"has {vertical} {found[0]} and {horizontal} {found[1]}")
    return found


def _check_shape(graph: Graph, op: Op, output: Tensor, shape: tuple[int, ...]) -> None:
    if output.shape != shape:
        raise refuse(graph, op, f"has an output of shape {list(output.shape)} and computes {list(shape)}")


def _evaluate(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    products = _depthwise_products(layer, x) if layer.kind == "depthwise" else _conv_products(layer, x)
    products += layer.bias
    y = requantize(products, layer.multiplier, layer.shift, layer.output_zero_point, layer.low, layer.high)
    return y.reshape(len(x), *layer.output_shape)


def _pixels(layer: Layer, x: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """``x - zero_point`` [N, H * W + 1, C_IN] in ``dtype``; the last pixel, which padding reads, is 0."""
    height, width, channels = layer.input_shape
    pixels = np.zeros((len(x), height * width + 1, channels), dtype)
    np.subtract(x.reshape(len(x), -1, channels), layer.input_zero_point, out=pixels[:, :-1], dtype=dtype)
    return pixels


def _conv_products(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    """int64 [N, OUT_H * OUT_W, C_OUT], exact: a matrix product in the float type that holds every partial sum."""
    weights = layer.weights.astype(np.int64) - layer.weights_zero_point
    reach = max(127 - layer.input_zero_point, layer.input_zero_point + 128)
    bound = int(np.abs(weights).sum(axis=(1, 2, 3)).max()) * reach
    dtype = np.float32 if bound < 1 << 24 else np.float64
    windows = layer.taps()
    patches = np.take(_pixels(layer, x, dtype), windows.ravel(), axis=1, mode="clip")
    patches = patches.reshape(len(x), *windows.shape, layer.groups, -1)
    filters = weights.reshape(layer.groups, len(weights) // layer.groups, -1).astype(dtype)
    columns = [
        patches[..., group, :].reshape(len(x), len(windows), -1) @ filters[group].T for group in range(layer.groups)
    ]
    products: NDArray[Any] = np.concatenate(columns, axis=-1).astype(np.int64)
    return products


def _depthwise_products(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    """int64 [N, OUT_H * OUT_W, C_OUT], modulo 2**32."""
    channels = layer.output_shape[2]
    pixels = _pixels(layer, x, np.int32)
    weights = layer.weights.reshape(-1, channels).astype(np.int32)
    windows = layer.taps()
    sums = np.zeros((len(x), len(windows), channels), np.int32)
    for tap, values in enumerate(weights):
        sums += np.take(pixels, windows[:, tap], axis=1, mode="clip") * values
    return sums.astype(np.int64)
