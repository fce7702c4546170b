"""conv_helium: CONV_2D of one group on Helium, two pixels by two channels at a time; see the C file for its cost."""

from __future__ import annotations

import math

import numpy as np

from kd_embedded.kernels import _helium
from kd_embedded.kernels._parts import first_reads, weights_array
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Overlap, Target


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call; None for grouped layers, left shifts, and weights with a zero point."""
    if layer.kind != "conv" or layer.groups != 1 or not _helium.takes(layer):
        return None
    height, width, channels = layer.input_shape
    out_height, out_width, outputs = layer.output_shape
    depth = math.prod(layer.kernel) * channels
    gathers = not _reads_in_place(layer)
    args: dict[str, int | Array] = {
        "weights": weights_array(layer),
        **_helium.per_channel(layer, _helium.whole(outputs, 4)),
        "batches": layer.n,
        "input_height": height,
        "input_width": width,
        "channels": channels,
        "output_height": out_height,
        "output_width": out_width,
        "outputs": outputs,
        **_helium.images(layer),
        "depth": depth,
        "gathers": int(gathers),
        "input_zero_point": layer.input_zero_point,
        "output_zero_point": layer.output_zero_point,
        "low": layer.low,
        "high": layer.high,
    }
    overlap = Overlap(0, "forward", _gap(layer, gathers))
    scratch = 2 * depth if gathers else 0
    return (Call("conv_helium", op, (layer.input,), (layer.output,), args, scratch, (overlap,)),)


def _reads_in_place(layer: Layer) -> bool:
    """Whether each patch is one pixel of the input."""
    height, width = layer.input_shape[:2]
    return layer.kernel == (1, 1) and bool((layer.taps() < height * width).all())


def _gap(layer: Layer, gathers: bool) -> int:
    """Each pair of pixels, written, must end before what is still to be read: by later pairs, and by itself."""
    reads = first_reads(layer)
    first = np.arange(0, len(reads) - 1, 2)
    end = np.minimum(first + 2, len(reads) - 1)
    return int((end * layer.output_shape[2] - reads[end if gathers else first]).max())
