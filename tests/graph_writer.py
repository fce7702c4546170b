"""A Graph back to a flatbuffer, so that interpreters of others can run what our passes have made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tflite.ActivationFunctionType import ActivationFunctionType
from tflite.Padding import Padding
from tflite_builder import O, T, build

from kd_embedded.tflite.graph import Graph, Op, Tensor

_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "SOFTMAX": "SoftmaxOptions",
}
_ENUMERATIONS: Mapping[str, Any] = {"padding": Padding, "fused_activation_function": ActivationFunctionType}
_SKIPPED = ("weights_format", "quantized_bias_type")  # always the default here


def to_model(graph: Graph) -> bytes:
    """The flatbuffer of ``graph``. A reshape's shape is a constant tensor behind the others."""
    tensors = [_tensor(tensor) for tensor in graph.tensors]
    ops = [_op(graph, op, tensors) for op in graph.ops]
    return build(tensors, ops, graph.inputs, graph.outputs)


def _tensor(tensor: Tensor) -> T:
    quant = tensor.quant
    return T(
        tensor.shape,
        tensor.dtype,
        quant.scale if quant else None,
        quant.zero_point if quant else 0,
        quant.axis if quant else 0,
        tensor.data,
        tensor.name,
    )


def _op(graph: Graph, op: Op, tensors: list[T]) -> O:
    if op.name == "RESHAPE":
        shape = np.array(graph.tensors[op.outputs[0]].shape)
        tensors.append(T([len(shape)], "int32", None, data=shape))
        return O("RESHAPE", [op.inputs[0], len(tensors) - 1], op.outputs)
    options = _OPTIONS.get(op.name, "")
    attributes = {_camel(name): _value(name, value) for name, value in op.options.items() if name not in _SKIPPED}
    return O(op.name, op.inputs, op.outputs, options, attributes if options else {}, version=op.version)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _value(name: str, value: Any) -> Any:
    return getattr(_ENUMERATIONS[name], value) if name in _ENUMERATIONS else value
