"""TRANSPOSE_CONV: each input value is scattered through ``[C_OUT, HK, WK, C_IN]``. Inputs: shape, filter, input, bias.

Sources: tensorflow/lite/kernels/transpose_conv.cc:239 (v2.14), Prepare;
internal/reference/integer_ops/transpose_conv.h:26, TransposeConv.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.kernels._parts import bias_array, scale_arrays
from kd_embedded.ops._layers import image, option, steps, window
from kd_embedded.ops._weights import (
    activation,
    constant_bias,
    constant_weights,
    multipliers,
    quant,
    requantize,
    result,
)
from kd_embedded.ops.spec import (
    OpSpec,
    Values,
    elements,
    input_tensor,
    refuse,
    size,
)
from kd_embedded.program import Array, Call, Step, Target
from kd_embedded.tflite.graph import Graph, Op

_INPUT = 2


@dataclass(frozen=True, eq=False)
class _Transposed:
    """The op as the kernel takes it; arrays as in ``kernels.layers.Layer``."""

    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int]
    weights: NDArray[Any]  # int8 [C_OUT, HK, WK, C_IN]
    bias: NDArray[Any]
    multiplier: NDArray[Any]
    shift: NDArray[Any]
    input_zero_point: int
    output_zero_point: int


def macs(graph: Graph, op: Op) -> int:
    """Input values times C_OUT x HK x WK (what falls outside the output is counted too)."""
    filters = input_tensor(graph, op, 1)
    per_input = size(graph, op, filters, 0) * size(graph, op, filters, 1) * size(graph, op, filters, 2)
    return elements(input_tensor(graph, op, _INPUT)) * per_input


def accepts(graph: Graph, op: Op) -> None:
    """Refuses what the reference kernel would not compute; any input size goes with any output shape, as there."""
    _transposed(graph, op)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """The output [N, *shape]; the weights are taken from the graph."""
    it, x = _transposed(graph, op), values[_INPUT]
    assert x is not None
    products = _products(it, x.reshape(-1, *it.input_shape[1:]))
    products += it.bias
    y = requantize(products, it.multiplier, it.shift, it.output_zero_point, -128, 127)
    return [y.reshape(len(x), *it.output_shape)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call of the portable kernel."""
    it = _transposed(graph, op)
    args: dict[str, int | Array] = {
        "images": it.input_shape[0],
        "height": it.input_shape[1],
        "width": it.input_shape[2],
        "depth": it.input_shape[3],
        "output_height": it.output_shape[1],
        "output_width": it.output_shape[2],
        "channels": it.output_shape[3],
        "kernel_height": it.weights.shape[1],
        "kernel_width": it.weights.shape[2],
        "stride_height": it.stride[0],
        "stride_width": it.stride[1],
        "pad_top": it.padding[0],
        "pad_left": it.padding[1],
        "input_offset": -it.input_zero_point,
        "output_zero_point": it.output_zero_point,
        "weights": Array("weights", it.weights.reshape(-1), "weights"),
        "bias": bias_array(it.bias),
        **scale_arrays(it.multiplier, it.shift),
    }
    call = Call("transpose_conv", op.index, (op.inputs[_INPUT],), (op.outputs[0],), MappingProxyType(args))
    return (call,)


def _transposed(graph: Graph, op: Op) -> _Transposed:
    source, output = activation(graph, op, _INPUT), result(graph, op)
    weights, values = constant_weights(graph, op, 1, 4)
    batch, height, width, depth = image(graph, op, source)
    channels, *kernel, filter_depth = weights.shape
    shape = _output_shape(graph, op)
    if output.shape != shape or len(shape) != 4 or (shape[0], shape[3]) != (batch, channels) or depth != filter_depth:
        raise refuse(
            graph,
            op,
            f"makes {list(shape)} of {list(source.shape)} with weights {list(weights.shape)} "
            f"for an output of {list(output.shape)}",
        )
    stride = steps(graph, op, "stride_h", "stride_w")
    padding = option(graph, op, "padding")
    multiplier, shift = multipliers(graph, op, source, weights, output, channels)
    if op.options.get("fused_activation_function", "NONE") != "NONE":  # v2.14 ignores it, later ones do not
        raise refuse(graph, op, f"has the fused activation {op.options['fused_activation_function']}")
    return _Transposed(
        input_shape=(batch, height, width, depth),
        output_shape=shape,
        stride=stride,
        padding=(
            window(shape[1], kernel[0], stride[0], 1, padding).before,
            window(shape[2], kernel[1], stride[1], 1, padding).before,
        ),
        weights=values,
        bias=constant_bias(graph, op, 3, channels),
        multiplier=multiplier,
        shift=shift,
        input_zero_point=quant(source).zero_point[0],
        output_zero_point=quant(output).zero_point[0],
    )


def _output_shape(graph: Graph, op: Op) -> tuple[int, ...]:
    tensor = input_tensor(graph, op, 0)
    if tensor.data is None or tensor.dtype != "int32" or len(tensor.shape) != 1:
        raise refuse(graph, op, f"has an output shape (tensor {tensor.name}) that is not a constant list of int32")
    return tuple(int(value) for value in tensor.data)


def _products(it: _Transposed, x: NDArray[Any]) -> NDArray[Any]:
    """int64 [N, OUT_H, OUT_W, C_OUT], modulo 2**32: a product with each tap's weights, scattered."""
    _, *kernel, _ = it.weights.shape
    real = x.astype(np.float64) - it.input_zero_point  # exact: below 2**15 times the depth
    sums = np.zeros((len(x), *it.output_shape[1:]), np.int64)
    for ky, kx in np.ndindex(*kernel):
        y0, y1, rows = _reached(x.shape[1], it.output_shape[1], it.stride[0], ky - it.padding[0])
        x0, x1, columns = _reached(x.shape[2], it.output_shape[2], it.stride[1], kx - it.padding[1])
        part = real[:, y0:y1, x0:x1] @ it.weights[:, ky, kx].T.astype(np.float64)
        sums[:, rows, columns] += part.astype(np.int64)
    return sums


def _reached(inputs: int, outputs: int, stride: int, shift: int) -> tuple[int, int, slice]:
    """The inputs from first to before last whose place ``i * stride + shift`` is an output, and these outputs."""
    first = max(0, -(shift // stride))
    last = max(first, min(inputs, (outputs - 1 - shift) // stride + 1))
    start = first * stride + shift
    return first, last, slice(start, start + (last - first) * stride, stride)


OP = OpSpec("TRANSPOSE_CONV", macs, accepts, reference, lower)
