"""Small int8 networks of random weights, one of each common kind, for what is proven on every core."""

from __future__ import annotations

from typing import Any

import numpy as np
from tflite_builder import O, T, build

_SAME, _VALID = 0, 1
_RELU = 1


class _Net:
    """Tensors and ops, added one after the other."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.tensors = [T(shape, scale=0.05, zero_point=-3)]
        self.ops: list[O] = []
        self._random = np.random.default_rng(seed)

    def constant(self, shape: tuple[int, ...], dtype: str, scale: Any, axis: int = 0) -> int:
        reach = 127 if dtype == "int8" else 2000
        data = self._random.integers(-reach, reach + 1, shape)
        zero_point = [0] * len(scale) if isinstance(scale, list) else 0
        self.tensors.append(T(shape, dtype, scale=scale, zero_point=zero_point, axis=axis, data=data))
        return len(self.tensors) - 1

    def activation(self, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        self.tensors.append(T(shape, scale=scale, zero_point=zero_point))
        return len(self.tensors) - 1

    def convolution(self, source: int, channels: int, kernel: int, stride: int = 1, activation: int = _RELU) -> int:
        _, height, width, depth = self.tensors[source].shape
        scales = [0.002 + 0.0005 * i for i in range(channels)]
        weights = self.constant((channels, kernel, kernel, depth), "int8", scales)
        bias = self.constant((channels,), "int32", [0.05 * scale for scale in scales])
        output = self.activation((1, -(-height // stride), -(-width // stride), channels), 0.05, -3)
        attributes = {"Padding": _SAME, "StrideH": stride, "StrideW": stride, "FusedActivationFunction": activation}
        attributes |= {"DilationHFactor": 1, "DilationWFactor": 1}
        self.ops.append(O("CONV_2D", [source, weights, bias], [output], "Conv2DOptions", attributes))
        return output

    def depthwise(self, source: int, kernel: int, stride: int = 1) -> int:
        _, height, width, depth = self.tensors[source].shape
        scales = [0.004 + 0.0005 * i for i in range(depth)]
        weights = self.constant((1, kernel, kernel, depth), "int8", scales, axis=3)
        bias = self.constant((depth,), "int32", [0.05 * scale for scale in scales])
        output = self.activation((1, -(-height // stride), -(-width // stride), depth), 0.05, -3)
        attributes = {"Padding": _SAME, "StrideH": stride, "StrideW": stride, "FusedActivationFunction": _RELU}
        attributes |= {"DepthMultiplier": 1, "DilationHFactor": 1, "DilationWFactor": 1}
        op = O("DEPTHWISE_CONV_2D", [source, weights, bias], [output], "DepthwiseConv2DOptions", attributes)
        self.ops.append(op)
        return output

    def add(self, one: int, other: int) -> int:
        output = self.activation(tuple(self.tensors[one].shape), 0.09, 5)
        self.ops.append(O("ADD", [one, other], [output], "AddOptions", {"FusedActivationFunction": 0}))
        return output

    def dense(self, source: int, channels: int) -> int:
        depth = int(np.prod(self.tensors[source].shape))
        flat = self.activation((1, depth), float(self.tensors[source].scale), int(self.tensors[source].zero_point))
        shape = self.constant((2,), "int32", None)
        self.tensors[shape].data = np.array([1, depth])
        self.ops.append(O("RESHAPE", [source, shape], [flat]))
        weights = self.constant((channels, depth), "int8", 0.003)
        bias = self.constant((channels,), "int32", 0.00015)
        output = self.activation((1, channels), 0.2, 4)
        self.ops.append(O("FULLY_CONNECTED", [flat, weights, bias], [output], "FullyConnectedOptions"))
        return output

    def model(self) -> bytes:
        return build(self.tensors, self.ops)

    def model_with_float_edges(self) -> bytes:
        """The same between a QUANTIZE and a DEQUANTIZE."""
        first, last = len(self.tensors), len(self.tensors) + 1
        result = self.ops[-1].outputs[0]
        for shape in (self.tensors[0].shape, self.tensors[result].shape):
            self.tensors.append(T(shape, "float32", scale=None))
        ops = [O("QUANTIZE", [first], [0]), *self.ops, O("DEQUANTIZE", [result], [last])]
        return build(self.tensors, ops, inputs=[first])


def conv_net() -> bytes:
    """Two convolutions, the first with stride 2 and odd sizes, and a dense layer."""
    net = _Net((1, 13, 11, 3), 1)
    net.dense(net.convolution(net.convolution(0, 6, 3, stride=2), 5, 5), 4)
    return net.model()


def depthwise_net() -> bytes:
    """A convolution, two separable ones and a dense layer."""
    net = _Net((1, 12, 10, 2), 2)
    value = net.convolution(0, 8, 3)
    for stride in (1, 2):
        value = net.convolution(net.depthwise(value, 3, stride), 9, 1)
    net.dense(value, 3)
    return net.model()


def residual_net() -> bytes:
    """A convolution, a block with a shortcut, and a dense layer."""
    net = _Net((1, 8, 8, 3), 3)
    start = net.convolution(0, 8, 3)
    net.dense(net.add(net.convolution(net.convolution(start, 8, 3), 8, 3, activation=0), start), 5)
    return net.model()


def float_net() -> bytes:
    """A convolution and a dense layer, whose input and output are floats."""
    net = _Net((1, 9, 7, 4), 4)
    net.dense(net.convolution(0, 7, 3), 6)
    return net.model_with_float_edges()


NETS = {"conv": conv_net, "depthwise": depthwise_net, "residual": residual_net}
