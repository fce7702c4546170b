"""fully_connected_dsp: one row by a matrix on the DSP extension, eight channels at a time; the C file has its cost."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.kernels import _dsp
from kd_embedded.kernels._parts import folded_bias
from kd_embedded.kernels.clamp import clamped
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Target

_CHANNELS = 8


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call for a layer whose every output reads the whole input; None for others."""
    if not _one_row(layer) or layer.weights_zero_point != 0:
        return None
    depth, outputs = math.prod(layer.input_shape), layer.output_shape[2]
    constants, words = _dsp.requantize(layer), _dsp.pack(layer) if depth % 4 == 0 else None
    grouped = outputs // _CHANNELS * _CHANNELS
    args: dict[str, int | Array]
    if constants is None or words is None or not grouped:
        grouped = 0
        args = {"weights": 0, "parameters": 0, "groups": 0, "depth": depth, "multiplier": 0, "scale": 0}
    else:
        pairs = set(zip(constants.multiplier[:grouped].tolist(), constants.scale[:grouped].tolist(), strict=True))
        one = len(pairs) == 1 and constants.multiplier[0] != 0
        columns = (_dsp.packed_bias(layer, constants), constants.multiplier, constants.scale)
        args = {
            "weights": Array("weights", _groups([words[:grouped]]), "weights"),
            "parameters": Array(
                "parameters", _groups([c[:grouped, None].astype(np.int32) for c in columns[: 1 if one else 3]])
            ),
            "groups": grouped // _CHANNELS,
            "depth": depth,
            "multiplier": int(constants.multiplier[0]) if one else 0,
            "scale": int(constants.scale[0]) if one else 0,
        }
    args |= {
        "output_zero_point": layer.output_zero_point,
        "ties": 0 if layer.output_zero_point == -128 else 128,
        **_rest(layer, grouped),
    }
    call = Call("fully_connected_dsp", op, (layer.input,), (layer.output,), MappingProxyType(args))
    return clamped(layer, call)


def _one_row(layer: Layer) -> bool:
    """Whether the layer is a matrix times the input, as both lie in memory."""
    if layer.kind == "depthwise" or layer.groups != 1 or layer.n != 1 or layer.output_shape[:2] != (1, 1):
        return False
    return layer.kernel == layer.input_shape[:2] and (layer.dilation == (1, 1) or layer.kernel == (1, 1))


def _groups(columns: list[NDArray[Any]]) -> NDArray[Any]:
    """[C_OUT, N] each, flat as [C_OUT / 8][columns][N][8]."""
    return np.stack([c.reshape(-1, _CHANNELS, c.shape[1]).swapaxes(1, 2) for c in columns], axis=1).ravel()


def _rest(layer: Layer, first: int) -> dict[str, int | Array]:
    """The channels from ``first`` on, with weights as they are."""
    rest = layer.output_shape[2] - first
    fields = ("rest_weights", "rest_bias", "rest_multipliers", "rest_shifts")
    if not rest:
        return {"rest": 0, **dict.fromkeys(fields, 0)}
    weights = np.ascontiguousarray(layer.weights[first:]).reshape(-1)
    return {
        "rest": rest,
        "rest_weights": Array("rest_weights", weights, "weights"),
        "rest_bias": Array("rest_bias", folded_bias(layer)[first:]),
        "rest_multipliers": Array("rest_multipliers", layer.multiplier[first:].astype(np.int32)),
        "rest_shifts": Array("rest_shifts", layer.shift[first:].astype(np.int32)),
    }
