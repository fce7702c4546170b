"""What the kernels that multiply have in common: constant arrays, folded zero points, and how outputs may overlap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import wrap32
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array


def folded_bias(layer: Layer) -> NDArray[Any]:
    """int32 [C_OUT]: the bias with the input's zero point folded in, for kernels that sum over whole windows.

    ``sum((w - zw)(x - zx)) = sum(w x) - zw sum(x) - zx sum(w - zw)``; this is the last term and the bias, modulo 2**32.
    """
    weights = layer.weights.astype(np.int64) - layer.weights_zero_point
    sums = weights.sum(axis=(0, 1)) if layer.kind == "depthwise" else weights.sum(axis=(1, 2, 3))
    return wrap32(layer.bias.astype(np.int64) - layer.input_zero_point * sums).astype(np.int32)


def weights_array(layer: Layer) -> Array:
    """The weights as they are, one-dimensional."""
    return Array("weights", np.ascontiguousarray(layer.weights).reshape(-1), "weights")


def bias_array(bias: NDArray[Any]) -> Array:
    return Array("bias", bias.astype(np.int32), "weights")


def scales(layer: Layer) -> dict[str, int | Array]:
    """The fields ``multipliers``, ``shifts`` and ``per_channel`` of a layer."""
    return scale_arrays(layer.multiplier, layer.shift)


def scale_arrays(multiplier: NDArray[Any], shift: NDArray[Any]) -> dict[str, int | Array]:
    """The fields ``multipliers``, ``shifts``, ``per_channel``; one value of each where all channels have the same."""
    pairs = np.stack([multiplier, shift])
    per_channel = bool((pairs != pairs[:, :1]).any())
    count = len(multiplier) if per_channel else 1
    return {
        "multipliers": Array("multipliers", multiplier[:count].astype(np.int32)),
        "shifts": Array("shifts", shift[:count].astype(np.int8)),
        "per_channel": int(per_channel),
    }


def forward_gap(layer: Layer, *, copied: bool) -> int:
    """The gap of an ``Overlap`` "forward" for a kernel that computes pixels in raster order; see ``program.Overlap``.

    ``copied``: a pixel's outputs go only over what its own window no longer needs: the kernel copies the window before
    it writes, or is depthwise and channel by channel. Otherwise they stay below all that the window reads.
    """
    reads = first_reads(layer)
    reads, end = reads[:-1], reads[-1]
    written = (np.arange(len(reads)) + (0 if copied else 1)) * layer.output_shape[2]
    return int((written - reads)[reads < end].max(initial=0))


def first_reads(layer: Layer) -> NDArray[Any]:
    """int64 [n * OUT_H * OUT_W + 1]: the lowest byte of the input that each pixel of the output or a later one reads.

    What a pixel reads starts at the first of its taps inside the image. The last entry, behind the last pixel, and
    those from which on nothing is read, are the end of the input.
    """
    height, width, channels = layer.input_shape
    taps = layer.taps()  # [pixels, taps]
    image = np.where(taps < height * width, taps, math.inf).min(axis=1) * channels
    starts = (np.arange(layer.n)[:, None] * height * width * channels + image).ravel()
    end = layer.n * height * width * channels
    reads = np.minimum(np.append(starts, math.inf), end)
    return np.minimum.accumulate(reads[::-1])[::-1].astype(np.int64)


def backward_gap(rows: int, depth: int, channels: int) -> int:
    """The gap of an ``Overlap`` "backward" for a kernel that maps rows of ``depth`` to ``channels`` values, last first.

    A row's outputs stay above all that it reads.
    """
    return max(k * channels - (k - 1) * depth for k in (1, rows))
