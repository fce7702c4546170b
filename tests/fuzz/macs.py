"""Cases of the ops that multiply: every stride, dilation, padding and shape that is small, every kind of scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fuzz.build import Case, Model
from fuzz.draw import Draw

_SAME, _VALID = 0, 1
_ACTIVATIONS = (0, 0, 0, 1, 3, 2)  # NONE, RELU, RELU6, RELU_N1_TO_1


def _channels(draw: Draw) -> int:
    """Mostly few; at times enough for whole blocks of any kernel and a rest."""
    return draw.integer(1, 45) if draw.chance(4) else draw.integer(1, 9)


def _weights(model: Model, shape: list[int], channels: int, axis: int, per_channel: bool) -> int:
    """int8 weights with a scale for all or for each channel; -128 is legal in a file, if unusual."""
    draw = model.draw
    low = draw.pick([-127, -127, -128])
    scales = [draw.scale() for _ in range(channels)] if per_channel else draw.scale()
    zeros = [0] * channels if per_channel else 0
    return model.constant(draw.values(shape, low), "int8", scales, zeros, axis)


def _bias(model: Model, source: int, weights: int, channels: int, optional: bool = True) -> list[int]:
    """int32 biases with the scale of the products, so large at times that they saturate; none where they may lack."""
    draw = model.draw
    if optional and draw.chance(4):
        return []
    scale = np.atleast_1d(np.float32(model.quant(source)[0]) * np.asarray(model.tensors[weights].scale, np.float32))
    reach = draw.pick([1000, 10, 100_000, (1 << 31) - (1 << 24)])
    scales = [float(s) for s in scale]
    return [model.constant(draw.values([channels], -reach, reach), "int32", scales, [0] * len(scales))]


def _output(model: Model, shape: list[int], source: int, weights: int, terms: int) -> int:
    """The output's scale is near what keeps sums of ``terms`` products in range, or anything within reason."""
    draw = model.draw
    largest = float(np.max(np.asarray(model.tensors[weights].scale))) * model.quant(source)[0]
    spread = 2.0 ** (draw.integer(-4, 14) if draw.chance(3) else 6)
    scale = float(np.float32(largest * spread * math.sqrt(terms) * (1 + draw.below(100) / 100)))
    return model.activation(shape, (max(2.0**-26, scale), draw.zero_point()))


def _window(draw: Draw, size: int, most: int) -> tuple[int, int, int, int]:
    """Kernel, stride, dilation and the output's size by SAME padding along an axis of ``size``."""
    kernel = draw.integer(1, most)
    stride, dilation = draw.integer(1, 3), 1
    if draw.chance(4):
        dilation = draw.integer(1, 3)
    return kernel, stride, dilation, -(-size // stride)


def _geometry(draw: Draw, most: int = 4) -> tuple[list[int], list[int], list[int], list[int], int, list[int]]:
    """Input, kernel, stride, dilation, padding and output of an image's two axes."""
    sizes = [draw.integer(1, 9), draw.integer(1, 9)]
    rows, columns = (_window(draw, size, most) for size in sizes)
    kernel, stride, dilation = ([rows[i], columns[i]] for i in range(3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = draw.pick([_SAME, _VALID])
    if padding == _VALID:
        sizes = [max(size, r) for size, r in zip(sizes, reach, strict=True)]
        output = [(size - r) // s + 1 for size, r, s in zip(sizes, reach, stride, strict=True)]
    else:
        output = [rows[3], columns[3]]
    return sizes, kernel, stride, dilation, padding, output


def conv_2d(draw: Draw) -> Case:
    model = Model(draw)
    sizes, kernel, stride, dilation, padding, output = _geometry(draw)
    groups = draw.integer(1, 3) if draw.chance(5) else 1
    deep, wide = _channels(draw) * groups, _channels(draw) * groups
    batch = 2 if draw.chance(8) else 1
    source = model.source([batch, *sizes, deep])
    weights = _weights(model, [wide, *kernel, deep // groups], wide, 0, not draw.chance(3))
    bias = _bias(model, source, weights, wide, optional=False)
    result = _output(model, [batch, *output, wide], source, weights, math.prod(kernel) * deep // groups)
    model.op(
        "CONV_2D",
        [source, weights, *bias],
        [result],
        "Conv2DOptions",
        3,
        Padding=padding,
        StrideH=stride[0],
        StrideW=stride[1],
        DilationHFactor=dilation[0],
        DilationWFactor=dilation[1],
        FusedActivationFunction=draw.pick(_ACTIVATIONS),
    )
    return model.case("CONV_2D", [result])


def depthwise_conv_2d(draw: Draw) -> Case:
    model = Model(draw)
    sizes, kernel, stride, dilation, padding, output = _geometry(draw)
    deep, times = _channels(draw), draw.integer(1, 3) if draw.chance(3) else 1
    wide, batch = deep * times, 2 if draw.chance(8) else 1
    source = model.source([batch, *sizes, deep])
    weights = _weights(model, [1, *kernel, wide], wide, 3, not draw.chance(3))
    bias = _bias(model, source, weights, wide)
    result = _output(model, [batch, *output, wide], source, weights, math.prod(kernel))
    model.op(
        "DEPTHWISE_CONV_2D",
        [source, weights, *bias],
        [result],
        "DepthwiseConv2DOptions",
        3,
        Padding=padding,
        StrideH=stride[0],
        StrideW=stride[1],
        DepthMultiplier=times,
        DilationHFactor=dilation[0],
        DilationWFactor=dilation[1],
        FusedActivationFunction=draw.pick(_ACTIVATIONS),
    )
    return model.case("DEPTHWISE_CONV_2D", [result])


def fully_connected(draw: Draw) -> Case:
    model = Model(draw)
    width, rows, batch = draw.integer(1, 90), _channels(draw), draw.integer(1, 4) if draw.chance(4) else 1
    keep = draw.chance(3)
    lead = [batch, *(draw.integer(1, 3) for _ in range(draw.integer(1, 2)))] if keep else [batch]
    source = model.source([*lead, width])
    weights = _weights(model, [rows, width], rows, 0, not draw.chance(2))
    bias = _bias(model, source, weights, rows)
    result = _output(model, [*lead, rows], source, weights, width)
    model.op(
        "FULLY_CONNECTED",
        [source, weights, *(bias or [-1])],
        [result],
        "FullyConnectedOptions",
        5,
        KeepNumDims=keep,
        FusedActivationFunction=draw.pick(_ACTIVATIONS),
    )
    return model.case("FULLY_CONNECTED", [result])


def transpose_conv(draw: Draw) -> Case:
    model = Model(draw)
    sizes, kernel, stride = ([draw.integer(1, most), draw.integer(1, most)] for most in (5, 4, 3))
    deep, wide = draw.integer(1, 6), draw.integer(1, 6)
    padding = draw.pick([_SAME, _VALID])
    if padding == _SAME:
        output = [size * s for size, s in zip(sizes, stride, strict=True)]
    else:
        output = [(size - 1) * s + k for size, s, k in zip(sizes, stride, kernel, strict=True)]
    source = model.source([1, *sizes, deep])
    weights = _weights(model, [wide, *kernel, deep], wide, 0, not draw.chance(3))
    bias = _bias(model, source, weights, wide)
    result = _output(model, [1, *output, wide], source, weights, math.prod(kernel) * deep)
    shape = model.constant([1, *output, wide])
    options = {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1]}
    model.op("TRANSPOSE_CONV", [shape, weights, source, *bias], [result], "TransposeConvOptions", 3, **options)
    return model.case("TRANSPOSE_CONV", [result])


CASES: dict[str, Callable[[Draw], Case]] = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
}
