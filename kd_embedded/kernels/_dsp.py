"""What the DSP kernels share: their packed weights, the constants of their requantization, how far outputs may follow.

firmware_templates/aot/kernels/dsp.h tells how four MACs take three instructions. Here is shown that it is exact.

**Sums.** A kernel's sum is ``256 * total`` modulo 2**32 where total is the reference's accumulator, so it is exact where
``-2**23 <= total < 2**23``: ``_total_range`` has the least and the largest total of each channel. Weights pack where
``256 * w0 + w1`` fits a halfword: everywhere but for w0 = -128 with w1 < 0.

**Requantization** (``requantize``). The reference (``fixedpoint.multiply_by_quantized_multiplier``) computes
``h = (total * M + 2**30) >> 31`` and then ``(h + 2**(r - 1) - (h < 0)) >> r`` for ``r = -shift``. One SMMLA gives
``t = (256 * total * M >> 32) + 64``, and ``h = t >> 7``: floors nest. With ``h < 0`` just where ``t < 0``, what remains
is ``(t - 128 * (t < 0) + 2**(r + 6)) >> (r + 7)``, which is one SMMLAR by ``2**(25 - r)``; it adds the zero point too.
A constant output needs no weights: any one is the requantization of ``4 * (output - zero point)`` by 2**30 and r = 1.
From r = 24 on, every total below 2**23 gives 0.

Ties of negative values need no care where the output's zero point is -128: with or without, they end in -128.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Overlap

_LIMIT = 1 << 23  # of a total
_GROWTH = 1 / 6  # what part of a layer's weights their padding may be; the layers that need any are small...
_FREE = 32  # ...or how many bytes it may be in any case


@dataclass(frozen=True, eq=False)
class Requantization:
    """int64 [C_OUT] each: ``bias`` in units of a total, with which a kernel begins, ``multiplier`` and ``scale``.

    ``ties`` is 128, or 0 where negative ties end in -128 anyway.
    """

    bias: NDArray[Any]
    multiplier: NDArray[Any]
    scale: NDArray[Any]
    ties: int


def requantize(layer: Layer) -> Requantization | None:
    """The constants of ``layer``; None where its totals or its shifts are out of the range of the DSP kernels."""
    if layer.weights_zero_point != 0:
        return None
    right = -layer.shift.astype(np.int64)
    multiplier = layer.multiplier.astype(np.int64)
    low, high = _total_range(layer)
    constant = (low == high) | (multiplier == 0)
    fits = (low >= -_LIMIT) & (high < _LIMIT) & (right >= 1) & (multiplier >= 1 << 30)
    if not (fits | constant).all():
        return None
    always = multiply_by_quantized_multiplier(wrap32(low), layer.multiplier, layer.shift)
    always = np.clip(always + layer.output_zero_point, -128, 127) - layer.output_zero_point
    sums = _columns(layer).astype(np.int64).sum(axis=1)
    return Requantization(
        bias=np.where(constant, 4 * always, layer.bias.astype(np.int64)) - layer.input_zero_point * sums,
        multiplier=np.where(constant, 1 << 30, np.where(right >= 24, 0, multiplier)) * (multiplier != 0),
        scale=1 << (25 - np.where(constant, 1, np.clip(right, 1, 24))),
        ties=0 if layer.output_zero_point == -128 else 128,
    )


def pack(layer: Layer) -> NDArray[Any] | None:
    """Weights as words: uint32 [C_OUT, words], each channel's depth padded with zeros to a multiple of 4.

    None where some do not pack, and where the padding would add too much.
    """
    weights = _columns(layer)
    padding = -weights.shape[1] % 4
    if len(weights) * padding > max(_FREE, _GROWTH * weights.size):
        return None
    w = np.pad(weights.astype(np.int64), ((0, 0), (0, padding))).reshape(len(weights), -1, 4)
    halves = 256 * w[:, :, 0::2] + w[:, :, 1::2]
    if halves.min() < -(1 << 15):
        return None
    halves &= 0xFFFF
    return (halves[:, :, 0] | halves[:, :, 1] << 16).astype(np.uint32)


def packed_bias(layer: Layer, constants: Requantization) -> NDArray[Any]:
    """int32 [C_OUT]: what the sums of packed weights begin with."""
    odd = _columns(layer)[:, 1::2].astype(np.int64).sum(axis=1)
    return wrap32(256 * constants.bias - 127 * odd).astype(np.int32)


def overlap(layer: Layer, pixels: int) -> Overlap:
    """How the output may lie over the input for a kernel that reads ``pixels`` patches, then writes their outputs.

    Forward or backward, whichever needs less memory for both.
    """
    forward, backward = _distances(layer, pixels)
    inputs, outputs = layer.n * math.prod(layer.input_shape), layer.n * math.prod(layer.output_shape)

    def span(start: int) -> int:  # of both, where the output starts that many bytes behind the input
        return max(inputs, start + outputs) - min(0, start)

    if span(min(-forward, 0)) <= span(max(backward, 0)):
        return Overlap(0, "forward", forward)
    return Overlap(0, "backward", backward + outputs - inputs)


def _distances(layer: Layer, pixels: int) -> tuple[int, int]:
    """The least that the output must start before the input to go forward; behind it to go backward."""
    height, width, channels = layer.input_shape
    outputs, size = layer.output_shape[2], layer.n * height * width * channels
    taps = layer.taps()
    inside = taps < height * width
    images = np.arange(layer.n)[:, None] * height * width
    first = (images + np.where(inside, taps, height * width).min(axis=1)).ravel() * channels
    last = (images + np.where(inside, taps, -1).max(axis=1) + 1).ravel() * channels
    groups = np.arange(pixels, len(first), pixels)  # the pixel after each group but the last
    forward = groups * outputs - np.minimum.accumulate(first[::-1])[::-1][groups]
    backward = np.maximum.accumulate(last)[groups - 1] - groups * outputs
    return int(forward.max(initial=-size)), int(backward.max(initial=-layer.n * math.prod(layer.output_shape)))


def _columns(layer: Layer) -> NDArray[Any]:
    """int8 [C_OUT, depth]: the weights of each channel in the order of its patch."""
    channels = layer.output_shape[2]
    if layer.kind == "depthwise":
        return np.ascontiguousarray(layer.weights.reshape(-1, channels).T)
    return layer.weights.reshape(channels, -1)


def _total_range(layer: Layer) -> tuple[NDArray[Any], NDArray[Any]]:
    """int64 [C_OUT] each: the least and the largest accumulator, whatever the int8 input; padding is within."""
    weights, bias = _columns(layer).astype(np.int64), layer.bias.astype(np.int64)
    positive, negative = weights.clip(min=0).sum(axis=1), weights.clip(max=0).sum(axis=1)
    least, most = -128 - layer.input_zero_point, 127 - layer.input_zero_point
    return bias + positive * least + negative * most, bias + positive * most + negative * least
