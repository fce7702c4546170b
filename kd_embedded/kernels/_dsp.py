"""What the DSP kernels share: their packed weights, the constants of their requantization, how far outputs may follow.

firmware_templates/aot/kernels/dsp.h tells how four MACs take three instructions. Here is shown that it is exact.

**Sums.** A kernel's sum is ``total << bits`` modulo 2**32, where total is the reference's accumulator, so it is exact
where total fits ``32 - bits`` bits: ``_total_range`` has the least and the largest total of each channel. ``bits`` is 8
for packed weights, which are halfwords ``256 * w0 + w1``: they fit everywhere but for w0 = -128 with w1 < 0.

**Requantization.** The reference (``fixedpoint.multiply_by_quantized_multiplier``) computes
``h = (total * M + 2**30) >> 31``, then ``(h + 2**(r - 1) - (h < 0)) >> r``, where ``r = -shift``. One SMMLA gives
``t = (sum * M >> 32) + half`` with ``half = 2**(bits - 2)``, and ``h = t >> (bits - 1)``, for floors nest. ``h < 0``
just where ``t < 0``, so what remains is ``(t - 2 * half * (t < 0) + 2**(r + bits - 2)) >> (r + bits - 1)``: one SMMLAR
by ``scale = 2**(33 - bits - r)``, which adds the zero point too. From r = 32 - bits on, every total gives 0. Ties of
negative values need no care where the output's zero point is -128: with or without, they end in -128.

A channel whose output is the same for all inputs needs no weights: it is what 2**30 and r = 1 make of ``4 * (output -
zero point)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import INT32_MAX, INT32_MIN, multiply_by_quantized_multiplier, wrap32
from kd_embedded.kernels._parts import first_reads
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Overlap

PACKED_BITS = 8
_GROWTH = 1 / 6  # what part of a layer's weights their padding may be; the layers that need any are small...
_FREE = 32  # ...or how many bytes it may be in any case


@dataclass(frozen=True, eq=False)
class Requantization:
    """What a kernel of ``bits`` computes with. Each array is [C_OUT].

    ``weights`` int8 [C_OUT, depth], those of a channel in the order of its patch; zeros where the output is constant.
    ``total`` int64: what the sum of weights * inputs needs beside it to be the reference's accumulator.
    ``multiplier`` and ``scale`` int32. ``ties``: 2 * half, or 0 where ties of negative values end in -128 anyway.
    """

    weights: NDArray[Any]
    total: NDArray[Any]
    multiplier: NDArray[Any]
    scale: NDArray[Any]
    ties: int


def requantize(layer: Layer, bits: int) -> Requantization | None:
    """The constants of ``layer``; None where its totals or its shifts are out of the range of the DSP kernels."""
    if layer.weights_zero_point != 0:
        return None
    right, multiplier = -layer.shift.astype(np.int64), layer.multiplier.astype(np.int64)
    low, high = _total_range(layer)
    first, last = _outputs(layer, low), _outputs(layer, high)
    monotonic = (right >= 0) & (low >= INT32_MIN) & (high <= INT32_MAX)
    constant = (low == high) | (monotonic & (first == last))
    limit = 1 << (31 - bits)
    fits = (low >= -limit) & (high < limit) & (right >= 1) & (multiplier >= 1 << 30)
    if not (fits | constant).all():
        return None
    weights = _columns(layer) * ~constant[:, None]
    total = np.where(constant, 4 * (first - layer.output_zero_point), layer.bias)
    right, multiplier = np.where(constant, 1, right), np.where(constant, 1 << 30, multiplier)
    return Requantization(
        weights=weights,
        total=total - layer.input_zero_point * weights.sum(axis=1, dtype=np.int64),
        multiplier=np.where(right < 32 - bits, multiplier, 0).astype(np.int32),
        scale=(1 << (33 - bits - right.clip(max=32 - bits))).astype(np.int32),
        ties=0 if layer.output_zero_point == -128 else 1 << (bits - 1),
    )


def may_grow(size: int, by: int) -> bool:
    """Whether ``by`` bytes of padding are worth it for weights of ``size`` bytes."""
    return by <= max(_FREE, _GROWTH * size)


def pack(constants: Requantization) -> NDArray[Any] | None:
    """Weights as words: uint32 [C_OUT, words], each channel's depth padded with zeros to a multiple of 4.

    None where some do not pack, and where the padding would add too much.
    """
    weights = constants.weights
    padding = -weights.shape[1] % 4
    if not may_grow(weights.size, len(weights) * padding):
        return None
    w = np.pad(weights.astype(np.int64), ((0, 0), (0, padding))).reshape(len(weights), -1, 4)
    halves = 256 * w[:, :, 0::2] + w[:, :, 1::2]
    if halves.min() < -(1 << 15):
        return None
    words = (halves[:, :, 0] & 0xFFFF) | (halves[:, :, 1] & 0xFFFF) << 16
    return np.asarray(words.astype(np.uint32))


def packed_bias(constants: Requantization) -> NDArray[Any]:
    """int32 [C_OUT]: what the sums of packed weights begin with."""
    odd = constants.weights[:, 1::2].sum(axis=1, dtype=np.int64)
    return np.asarray(wrap32((constants.total << PACKED_BITS) - 127 * odd).astype(np.int32))


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
    last = (images + np.where(inside, taps, -1).max(axis=1) + 1).ravel() * channels
    groups = np.arange(pixels, len(last), pixels)  # the pixel after each group but the last
    forward = groups * outputs - first_reads(layer)[groups]
    backward = np.maximum.accumulate(last)[groups - 1] - groups * outputs
    return int(forward.max(initial=-size)), int(backward.max(initial=-layer.n * math.prod(layer.output_shape)))


def _columns(layer: Layer) -> NDArray[Any]:
    """int8 [C_OUT, depth]: the weights of each channel in the order of its patch."""
    channels = layer.output_shape[2]
    if layer.kind == "depthwise":
        return np.ascontiguousarray(layer.weights.reshape(-1, channels).T)
    return layer.weights.reshape(channels, -1)


def _outputs(layer: Layer, totals: NDArray[Any]) -> NDArray[Any]:
    """int64 [C_OUT]: the output of one accumulator of each channel."""
    scaled = multiply_by_quantized_multiplier(wrap32(totals), layer.multiplier, layer.shift)
    return np.asarray(np.clip(wrap32(scaled + layer.output_zero_point), -128, 127))


def _total_range(layer: Layer) -> tuple[NDArray[Any], NDArray[Any]]:
    """int64 [C_OUT] each: the least and the largest accumulator, whatever the int8 input; padding is within."""
    weights, bias = _columns(layer).astype(np.int64), layer.bias.astype(np.int64)
    positive, negative = weights.clip(min=0).sum(axis=1), weights.clip(max=0).sum(axis=1)
    least, most = -128 - layer.input_zero_point, 127 - layer.input_zero_point
    return bias + positive * least + negative * most, bias + positive * most + negative * least
