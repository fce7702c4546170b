"""depthwise_helium: DEPTHWISE_CONV_2D on Helium, 16 channels at a time; see the C file for its cost."""

from __future__ import annotations

import math

import numpy as np

from kd_embedded.kernels import _helium
from kd_embedded.kernels._parts import first_reads, weights_array
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Overlap, Target

_LANES = np.array([0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15])  # as the kernel's four sums hold 16 channels


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call; None for left shifts, and where two products of adjacent taps can exceed 16 bits."""
    if layer.kind != "depthwise" or not _helium.takes(layer) or not _pairs_fit(layer):
        return None
    height, width, channels = layer.input_shape
    taps = math.prod(layer.kernel)
    together = 16 // channels if 16 % channels == 0 and layer.stride[1] == 1 else 1
    order = (_helium.whole(channels, 16).reshape(-1, 16)[:, _LANES]).ravel()
    args: dict[str, int | Array] = {
        "weights": weights_array(layer),
        **_helium.per_channel(layer, order if together == 1 else order % channels),
        "batches": layer.n,
        "input_height": height,
        "input_width": width,
        "channels": channels,
        "output_height": layer.output_shape[0],
        "output_width": layer.output_shape[1],
        **_helium.images(layer),
        "together": together,
        "input_zero_point": layer.input_zero_point,
        "output_zero_point": layer.output_zero_point,
        "low": layer.low,
        "high": layer.high,
    }
    overlap = Overlap(0, "forward", _gap(layer))
    scratch = 4 * (-(-taps // 4) * 4) + channels + (16 * taps if together > 1 else 0)
    return (Call("depthwise_helium", op, (layer.input,), (layer.output,), args, scratch, (overlap,)),)


def _pairs_fit(layer: Layer) -> bool:
    """Whether taps 0 and 1, 2 and 3, ... have magnitudes of at most 255 together: 255 * 128 is below 2**15."""
    taps = np.abs(layer.weights.reshape(-1, layer.output_shape[2]).astype(np.int64))
    pairs = taps[: len(taps) // 2 * 2].reshape(-1, 2, layer.output_shape[2]).sum(axis=1)
    return bool((pairs <= 255).all())


def _gap(layer: Layer) -> int:
    """Channel c of a pixel is written behind channel c of all that this pixel or a later one reads."""
    reads = first_reads(layer)[:-1]
    return int((np.arange(len(reads)) * layer.output_shape[2] - reads).max())
