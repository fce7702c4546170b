"""fully_connected_dsp: one row by a matrix on the DSP extension, eight channels at a time; the C file has its cost."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import wrap32
from kd_embedded.kernels import _dsp
from kd_embedded.kernels.clamp import clamped
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Target

_CHANNELS = 8
_PLAIN_BITS = 2  # sums of channels behind the groups are requantized times 4


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call for a layer whose every output reads the whole input; None for others."""
    plain = _dsp.requantize(layer, _PLAIN_BITS) if _one_row(layer) else None
    if plain is None:
        return None
    depth, outputs = math.prod(layer.input_shape), layer.output_shape[2]
    packed = _dsp.requantize(layer, _dsp.PACKED_BITS) if depth % 4 == 0 else None
    grouped = outputs // _CHANNELS * _CHANNELS
    args = _grouped(packed, grouped) if packed is not None and grouped else None
    if args is None:
        grouped = 0
        args = {"weights": 0, "parameters": 0, "groups": 0, "multiplier": 0, "scale": 0}
    args |= {
        "depth": depth,
        "output_zero_point": layer.output_zero_point,
        "ties": 0 if plain.ties == 0 else 1 << (_dsp.PACKED_BITS - 1),
        **_rest(plain, grouped),
    }
    call = Call("fully_connected_dsp", op, (layer.input,), (layer.output,), MappingProxyType(args))
    return clamped(layer, call)


def _one_row(layer: Layer) -> bool:
    """Whether the layer is a matrix times the input, as both lie in memory."""
    if layer.kind == "depthwise" or layer.groups != 1 or layer.n != 1 or layer.output_shape[:2] != (1, 1):
        return False
    return layer.kernel == layer.input_shape[:2] and (layer.dilation == (1, 1) or layer.kernel == (1, 1))


def _grouped(constants: _dsp.Requantization, grouped: int) -> dict[str, int | Array] | None:
    """The fields of the first ``grouped`` channels; None where their weights do not pack."""
    words = _dsp.pack(constants)
    if words is None:
        return None
    multiplier, scale = constants.multiplier[:grouped], constants.scale[:grouped]
    one = bool((multiplier == multiplier[0]).all() and (scale == scale[0]).all() and multiplier[0] != 0)
    bias = _dsp.packed_bias(constants)[:grouped]
    columns = [bias] if one else [bias, multiplier, scale]
    return {
        "weights": Array("weights", _groups([words[:grouped]]), "weights"),
        "parameters": Array("parameters", _groups([column[:, None] for column in columns])),
        "groups": grouped // _CHANNELS,
        "multiplier": int(multiplier[0]) if one else 0,
        "scale": int(scale[0]) if one else 0,
    }


def _groups(columns: list[NDArray[Any]]) -> NDArray[Any]:
    """[C_OUT, N] each, flat as [C_OUT / 8][columns][N][8]."""
    return np.asarray(np.stack([c.reshape(-1, _CHANNELS, c.shape[1]).swapaxes(1, 2) for c in columns], axis=1).ravel())


def _rest(constants: _dsp.Requantization, first: int) -> dict[str, int | Array]:
    """The channels from ``first`` on, with weights as they are."""
    weights = constants.weights[first:]
    if not len(weights):
        return {"rest": 0, "rest_weights": 0, "rest_parameters": 0}
    columns = (wrap32(constants.total), constants.multiplier, constants.scale)
    parameters = np.stack([column[first:] for column in columns], axis=1).astype(np.int32)
    return {
        "rest": len(weights),
        "rest_weights": Array("rest_weights", weights.ravel(), "weights"),
        "rest_parameters": Array("rest_parameters", parameters.ravel()),
    }
