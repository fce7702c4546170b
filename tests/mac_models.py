"""Random one-op models that multiply, for hypothesis: every option, extreme scales and zero points, odd sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.tflite_builder import O, T, build

SAME, VALID = 0, 1
_ACTIVATIONS = (0, 0, 1, 2, 3)  # NONE twice, RELU, RELU_N1_TO_1, RELU6
_zero_points = st.one_of(st.sampled_from([-128, -127, 0, 127]), st.integers(-128, 127))


class Case:
    """A model of a RESHAPE and the op, and inputs for it, int8 [N, *shape]. ``name`` shows in hypothesis' reports."""

    def __init__(self, model: bytes, inputs: NDArray[Any], told: str) -> None:
        self.model, self.inputs, self.name = model, inputs, told

    def __repr__(self) -> str:
        return self.name


class _Batch(list[Case]):
    def __repr__(self) -> str:
        return f"{len(self)} cases"


def batches(cases: st.SearchStrategy[Case], size: int = 40) -> st.SearchStrategy[list[Case]]:
    """``size`` cases for one child process, whose start takes longer than they do."""
    return st.lists(cases, min_size=size, max_size=size).map(_Batch)


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """CONV_2D, grouped ones among them."""
    groups, per_group = draw(st.sampled_from([1, 1, 1, 2, 3])), draw(st.integers(1, 9))
    channels = groups * draw(st.integers(1, 5))
    kernel, stride, dilation, padding, height, width = _geometry(draw)
    attributes = _window_attributes(stride, dilation, padding) | {"FusedActivationFunction": draw(_activation)}
    filters = (channels, *kernel, per_group)
    output = (
        _size(height, kernel[0], stride[0], dilation[0], padding),
        _size(width, kernel[1], stride[1], dilation[1], padding),
    )
    shapes = (draw(st.sampled_from([1, 1, 2])), height, width, groups * per_group), filters, (*output, channels)
    return _case(draw, "CONV_2D", "Conv2DOptions", attributes, shapes, channels, 0)


@st.composite
def depthwise_convolutions(draw: st.DrawFn) -> Case:
    """DEPTHWISE_CONV_2D with multipliers up to 9."""
    channels_in, factor = draw(st.integers(1, 9)), draw(st.sampled_from([1, 1, 2, 3, 4, 8, 9]))
    kernel, stride, dilation, padding, height, width = _geometry(draw)
    attributes = _window_attributes(stride, dilation, padding) | {"FusedActivationFunction": draw(_activation)}
    attributes["DepthMultiplier"] = factor
    channels = channels_in * factor
    output = (
        _size(height, kernel[0], stride[0], dilation[0], padding),
        _size(width, kernel[1], stride[1], dilation[1], padding),
    )
    shapes = (draw(st.sampled_from([1, 1, 2])), height, width, channels_in), (1, *kernel, channels), (*output, channels)
    return _case(draw, "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", attributes, shapes, channels, 3)


@st.composite
def dense_layers(draw: st.DrawFn) -> Case:
    """FULLY_CONNECTED: of any rank; axes kept or not; per channel, or per tensor with a zero point of the weights."""
    axes, depth, channels = draw(st.integers(1, 3)), draw(st.integers(1, 70)), draw(st.integers(1, 9))
    lead = tuple(draw(st.sampled_from([1, 1, 2, 6])) for _ in range(axes))
    keep = draw(st.booleans())
    attributes = {"FusedActivationFunction": draw(_activation), "KeepNumDims": keep}
    made = (*lead, channels) if keep else (math.prod(lead), channels)
    shapes = (*lead, depth), (channels, depth), made
    return _case(draw, "FULLY_CONNECTED", "FullyConnectedOptions", attributes, shapes, channels, 0)


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> Case:
    """TRANSPOSE_CONV; its output shape is a constant that need not be the one the input would give."""
    depth, channels = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    kernel, stride, _, padding, height, width = _geometry(draw)
    attributes = {"StrideH": stride[0], "StrideW": stride[1], "Padding": padding}
    usual = [(n if padding == SAME else n - 1) * s for n, s in zip((height, width), stride, strict=True)]
    usual = [each + (0 if padding == SAME else k) for each, k in zip(usual, kernel, strict=True)]
    output = tuple(draw(st.sampled_from([each, each, each, max(1, each - 1), each + 1, 1, 9])) for each in usual)
    shapes = (1, height, width, depth), (channels, *kernel, depth), (*output, channels)
    return _case(draw, "TRANSPOSE_CONV", "TransposeConvOptions", attributes, shapes, channels, 0)


_activation = st.sampled_from(_ACTIVATIONS)


def _geometry(draw: st.DrawFn) -> Any:
    kernel = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    dilation = draw(st.sampled_from([1, 1, 1, 2, 3])), draw(st.sampled_from([1, 1, 1, 2, 3]))
    padding = draw(st.sampled_from([SAME, VALID]))
    least = [(k - 1) * d + 1 if padding == VALID else 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = (each + draw(st.integers(0, 7)) for each in least)
    return kernel, stride, dilation, padding, height, width


def _size(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    return -(-size // stride) if padding == SAME else (size - (kernel - 1) * dilation - 1) // stride + 1


def _window_attributes(stride: Any, dilation: Any, padding: int) -> dict[str, Any]:
    return {
        "StrideH": stride[0],
        "StrideW": stride[1],
        "DilationHFactor": dilation[0],
        "DilationWFactor": dilation[1],
        "Padding": padding,
    }


def _case(
    draw: st.DrawFn,
    name: str,
    options: str,
    attributes: dict[str, Any],
    shapes: Any,
    channels: int,
    axis: int,
) -> Case:
    source, weights, out = shapes
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    per_channel = draw(st.booleans())
    scales = _scales(draw, rng, int(np.prod(weights)) // channels, channels if per_channel else 1)
    source_scale, weight_scales, output_scale = scales
    free = name != "CONV_2D" and not (per_channel and channels > 1)
    weights_zero_point = draw(st.sampled_from([0, 0, 5, -128, 127])) if free else 0
    values = _bytes(draw, rng, weights)
    bias = rng.integers(*draw(st.sampled_from([(-1000, 1000), (-(2**31), 2**31)])), channels)
    output = out if name == "FULLY_CONNECTED" else (source[0], *out)
    constants = [
        T(weights, "int8", weight_scales, [weights_zero_point] * len(weight_scales), axis, data=values),
        T([channels], "int32", [source_scale * s for s in weight_scales], [0] * len(weight_scales), data=bias),
    ]
    tensors = [
        T(source, "int8", source_scale, draw(_zero_points)),
        *constants,
        T(output, "int8", output_scale, draw(_zero_points)),
    ]
    inputs = [0, 1, 2]
    version = 5 if name == "FULLY_CONNECTED" else 3
    if name == "TRANSPOSE_CONV":
        tensors.append(T([4], "int32", None, data=np.array(output)))
        inputs = draw(st.sampled_from([[4, 1, 0, 2], [4, 1, 0, 2], [4, 1, 0]]))
    elif name != "CONV_2D":  # where the reference wants its bias
        inputs = draw(
            st.sampled_from([[0, 1, 2], [0, 1, 2], [0, 1], [0, 1, -1] if name == "FULLY_CONNECTED" else [0, 1]])
        )
    op = O(name, inputs, [3], options, attributes, version=version)
    samples = np.stack([_bytes(draw, rng, source).reshape(-1) for _ in range(3)])
    flat = T([1, samples.shape[1]], "int8", source_scale, tensors[0].zero_point)
    shape = T([len(source)], "int32", None, data=np.array(source))
    reshape = O("RESHAPE", [len(tensors), len(tensors) + 1], [0])  # so that the layer may have a batch of its own
    model = build([*tensors, flat, shape], [reshape, op], [len(tensors)])
    told = f"{name} {source} {weights} -> {output} {attributes} {tensors[0].zero_point=} {scales=} {inputs=}"
    return Case(model, samples, told)


def _bytes(draw: st.DrawFn, rng: np.random.Generator, shape: Any) -> NDArray[Any]:
    """Any values, or a constant extreme that drives sums to their bounds."""
    extreme = draw(st.sampled_from([None, None, None, -128, 127]))
    return rng.integers(-128, 128, shape, np.int8) if extreme is None else np.full(shape, extreme, np.int8)


def _scales(draw: st.DrawFn, rng: np.random.Generator, depth: int, count: int) -> tuple[float, list[float], float]:
    """Scales that spread the outputs over int8, or others: multipliers from far below 2**-31 to over 2**20."""
    source = float(np.float32(2.0 ** draw(st.floats(-20, 10))))
    weights = [float(np.float32(s)) for s in 2.0 ** rng.uniform(-14, 0, count)]
    typical = source * weights[0] * 70 * 70 * depth**0.5 / 60
    factor = draw(st.sampled_from([1.0, 1.0, 1.0, 0.01, 100.0, 2.0**-24, 2.0**30]))
    return source, weights, float(np.float32(typical * factor))
