"""conv_dsp: CONV_2D of one group on the DSP extension, four pixels by two channels at a time; see the C file."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.kernels import _dsp
from kd_embedded.kernels.clamp import clamped
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Target

_PIXELS = 4


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call; None for grouped layers, columns that are dilated, and what ``_dsp`` cannot pack or requantize."""
    if layer.kind == "depthwise" or layer.groups != 1 or (layer.dilation[1] != 1 and layer.kernel[1] != 1):
        return None
    layer = _by_words(layer)
    constants = _dsp.requantize(layer, _dsp.PACKED_BITS)
    words = None if constants is None else _dsp.pack(constants)
    if constants is None or words is None:
        return None
    overlap = _dsp.overlap(layer, _PIXELS)
    parameters = np.stack((_dsp.packed_bias(constants), constants.multiplier, constants.scale), axis=1)
    args: dict[str, int | Array] = {
        "weights": Array("weights", _pairs(words), "weights"),
        "parameters": Array("parameters", _pairs(parameters)),
        **_geometry(layer, words.shape[1]),
        "backward": int(overlap.kind == "backward"),
        "input_zero_point": layer.input_zero_point,
        "output_zero_point": layer.output_zero_point,
        "ties": constants.ties,
    }
    scratch = 4 * (2 * _PIXELS + 1 - int(_is_pointwise(layer))) * words.shape[1]
    call = Call("conv_dsp", op, (layer.input,), (layer.output,), MappingProxyType(args), scratch, (overlap,))
    return clamped(layer, call)


def _pairs(rows: NDArray[Any]) -> NDArray[Any]:
    """[C_OUT, N] flat, two channels interleaved: [C_OUT / 2][N][2], then the N of an odd last channel."""
    even = len(rows) // 2 * 2
    pairs = rows[:even].reshape(even // 2, 2, rows.shape[1]).swapaxes(1, 2)
    return np.concatenate((pairs.ravel(), rows[even:].ravel()))


def _by_words(layer: Layer) -> Layer:
    """``layer`` with zeros behind each row of a one-channel kernel, where that makes words of rows and no more of them.

    Rows of words are read where they lie.
    """
    rows, columns = layer.kernel
    wide = -(-columns // 4) * 4
    if layer.input_shape[2] != 1 or rows * wide // 4 != -(-rows * columns // 4):
        return layer
    if not _dsp.may_grow(layer.weights.size, layer.output_shape[2] * rows * (wide - columns)):
        return layer
    weights = np.pad(layer.weights, ((0, 0), (0, 0), (0, wide - columns), (0, 0)))
    return replace(layer, kernel=(rows, wide), weights=weights)


def _is_pointwise(layer: Layer) -> bool:
    """Whether the patches are the pixels of the input, word by word."""
    same = layer.kernel == (1, 1) and layer.stride == (1, 1) and layer.input_shape[:2] == layer.output_shape[:2]
    return same and layer.input_shape[2] % 4 == 0


def _geometry(layer: Layer, words: int) -> dict[str, int]:
    """The fields of shapes and steps."""
    height, width, channels = layer.input_shape
    out_height, out_width, outputs = layer.output_shape
    return {
        "pixels": layer.n * out_height * out_width,
        "outputs": outputs,
        "channels": channels,
        "words": words,
        "pointwise": int(_is_pointwise(layer)),
        "input_height": height,
        "input_width": width,
        "image_bytes": height * width * channels,
        "output_height": out_height,
        "output_width": out_width,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "padding_y": layer.padding[0],
        "padding_x": layer.padding[1],
        "dilation_y": layer.dilation[0],
        "row_step": layer.dilation[0] * width * channels,
        "row_bytes": layer.kernel[1] * channels,
        "kernel_height": layer.kernel[0],
        "kernel_width": layer.kernel[1],
    }
