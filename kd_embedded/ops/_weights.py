"""What the ops with weights share: their tensors, checked; multipliers and activation range; the requantization.

Source: tensorflow/lite/kernels/kernel_util.cc (v2.14).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import quantize_multiplier, wrap32
from kd_embedded.ops.spec import input_tensor, output_tensor, refuse
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor

_MAX_SHIFT = 30  # beyond it the reference's own shift is undefined
_BIAS_TOLERANCE = 0.02  # of GetQuantizedConvolutionMultipler
_RANGES = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


def activation(graph: Graph, op: Op, position: int) -> Tensor:
    """Input ``position``: an int8 tensor that is computed, with one scale and zero point."""
    tensor = input_tensor(graph, op, position)
    if tensor.data is not None:
        raise refuse(graph, op, f"has the constant {tensor.name} as its input")
    return _int8(graph, op, tensor)


def operand(graph: Graph, op: Op, position: int) -> Tensor:
    """Input ``position``: an int8 tensor with one scale and zero point, computed or constant."""
    return _int8(graph, op, input_tensor(graph, op, position))


def result(graph: Graph, op: Op) -> Tensor:
    """The output: int8, with one scale and zero point."""
    return _int8(graph, op, output_tensor(graph, op))


def quant(tensor: Tensor) -> QuantParams:
    """The parameters of a tensor that ``activation``, ``result`` or ``constant_weights`` has let pass."""
    assert tensor.quant is not None
    return tensor.quant


def constant_weights(graph: Graph, op: Op, position: int, rank: int) -> tuple[Tensor, NDArray[Any]]:
    """Input ``position`` with its value: int8, constant, with ``rank`` axes."""
    tensor = input_tensor(graph, op, position)
    if tensor.data is None:
        raise refuse(graph, op, f"has weights (tensor {tensor.name}) that are not constant")
    if tensor.dtype != "int8" or tensor.quant is None:
        raise refuse(graph, op, f"has weights (tensor {tensor.name}) of type {tensor.dtype} and not quantized int8")
    if len(tensor.shape) != rank or 0 in tensor.shape:
        raise refuse(graph, op, f"has weights (tensor {tensor.name}) of shape {list(tensor.shape)}")
    return tensor, tensor.data


def constant_bias(graph: Graph, op: Op, position: int, channels: int) -> NDArray[Any]:
    """Input ``position`` as int32 [channels]; zeros where it is left out."""
    if position >= len(op.inputs) or op.inputs[position] < 0:
        return np.zeros(channels, np.int32)
    tensor = graph.tensors[op.inputs[position]]
    if tensor.data is None or tensor.dtype != "int32":
        raise refuse(graph, op, f"has a bias (tensor {tensor.name}) that is not a constant of type int32")
    if tensor.data.size != channels:
        raise refuse(graph, op, f"has a bias (tensor {tensor.name}) of {tensor.data.size} values for {channels}")
    if tensor.quant is not None and any(tensor.quant.zero_point):
        raise refuse(graph, op, f"has a bias (tensor {tensor.name}) with a zero point other than 0")
    return tensor.data.reshape(channels)


def multipliers(
    graph: Graph, op: Op, source: Tensor, weights: Tensor, output: Tensor, channels: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Multiplier and shift of each output channel, int32 [channels]; one weights' scale stands for all channels.

    Source: kernel_util.cc:215, PopulateConvolutionQuantizationParams (in double precision).
    """
    scales = quant(weights).scale
    if len(scales) not in (1, channels):
        raise refuse(graph, op, f"has {len(scales)} scales of weights for {channels} output channels")
    source_scale, output_scale = quant(source).scale[0], quant(output).scale[0]
    return _quantized(graph, op, [source_scale * scale / output_scale for scale in scales], channels)


def per_tensor_multiplier(
    graph: Graph, op: Op, source: Tensor, weights: Tensor, bias: Tensor | None, output: Tensor, channels: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The one multiplier and shift of a FULLY_CONNECTED or BATCH_MATMUL, repeated: int32 [channels].

    Source: kernel_util.cc:292, GetQuantizedConvolutionMultipler: the product of the scales is a float32, and a bias
    whose own scale disagrees with it is refused.
    """
    source_scale, scale, output_scale = (quant(tensor).scale[0] for tensor in (source, weights, output))
    if bias is not None:
        bias_scale = bias.quant.scale[0] if bias.quant is not None and len(bias.quant.scale) == 1 else 0.0
        if abs(source_scale * scale - bias_scale) / output_scale > _BIAS_TOLERANCE:
            raise refuse(graph, op, f"has a bias (tensor {bias.name}) whose scale is not input's times weights'")
    with np.errstate(over="ignore", under="ignore"):
        product = float(np.float32(source_scale) * np.float32(scale))
    return _quantized(graph, op, [product / output_scale], channels)


def activation_range(graph: Graph, op: Op, output: Tensor) -> tuple[int, int]:
    """Lowest and highest output value that the fused activation leaves, within int8.

    Source: kernel_util.cc:389, CalculateActivationRangeQuantized (the division is in float32).
    """
    name = op.options.get("fused_activation_function", "NONE")
    if name not in _RANGES:
        raise refuse(graph, op, f"has the fused activation {name}")
    low, high = (None if real is None else _step(graph, op, output, real) for real in _RANGES[name])
    return max(-128, -128 if low is None else low), min(127, 127 if high is None else high)


def requantize(
    accumulators: NDArray[Any],
    multiplier: NDArray[Any],
    shift: NDArray[Any],
    zero_point: int,
    low: int,
    high: int,
) -> NDArray[Any]:
    """int8 [..., C] of ``accumulators`` int64 [..., C], taken modulo 2**32, which are overwritten; the others are [C].

    ``clip(wrap32(multiply_by_quantized_multiplier(...) + zero_point))`` in fewer passes: most of an inference is here.
    """
    x, shift = accumulators, shift.astype(np.int64)
    if max(int(x.max(initial=0)), -int(x.min(initial=0))) >= 1 << 31 or shift.max() > 0:
        x[...] = wrap32(wrap32(x) << np.maximum(shift, 0))
    x *= multiplier
    x += 1 << 30
    x >>= 31
    right = np.maximum(-shift, 0)
    x += (x >> 63) & -(right > 0).astype(np.int64)  # ties away from zero, where anything is rounded
    x += (np.int64(1) << right) >> 1
    x >>= right
    x += zero_point
    return np.clip(x if right.min() > 0 else wrap32(x), low, high).astype(np.int8)


def _int8(graph: Graph, op: Op, tensor: Tensor) -> Tensor:
    if tensor.dtype != "int8" or tensor.quant is None:
        raise refuse(graph, op, f"has tensor {tensor.name} of type {tensor.dtype} and not quantized int8")
    if tensor.quant.per_channel:
        raise refuse(graph, op, f"has tensor {tensor.name} with {len(tensor.quant.scale)} scales and not one")
    if 0 in tensor.shape:
        raise refuse(graph, op, f"has the empty tensor {tensor.name}")
    return tensor


def _quantized(graph: Graph, op: Op, real: list[float], channels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    pairs = [quantize_multiplier(value) for value in real if math.isfinite(value)]
    if len(pairs) < len(real) or max(shift for _, shift in pairs) > _MAX_SHIFT:
        raise refuse(graph, op, f"multiplies its sums by {max(real):g}, more than the reference kernels can")
    multiplier, shift = (np.array(values, np.int32) for values in zip(*pairs, strict=True))
    return np.broadcast_to(multiplier, channels), np.broadcast_to(shift, channels)


def _step(graph: Graph, op: Op, output: Tensor, real: float) -> int:
    """``real`` quantized as ``output`` is: divided in float32, rounded half away from zero."""
    scale, zero_point = quant(output).scale[0], quant(output).zero_point[0]
    with np.errstate(over="ignore"):
        quotient = float(np.float32(real) / np.float32(scale))
    if not abs(quotient) < 2**31 - 256:
        raise refuse(graph, op, f"has an output scale of {scale:g}, too small for its fused activation")
    return zero_point + int(np.trunc(quotient + np.copysign(0.5, quotient)))
