"""The C kernels that multiply: one file each says when it applies, how it lays out weights, and what it asks for.

Each module has ``lower(layer, op, target) -> tuple[Call, ...] | None`` for a ``layers.Layer``; None where the kernel
does not do that layer. The first of a family's list that does is taken; the last, portable one does every layer.
"""

from __future__ import annotations

import importlib

from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Call, Family, Target

# Kernels of a family in order of preference; the portable ones close each list.
_PORTABLE = ("fully_connected", "depthwise", "conv")
_FAMILIES: dict[Family, tuple[str, ...]] = {
    "c": _PORTABLE,
    "dsp": ("fully_connected_dsp", "depthwise_dsp", "conv_dsp", *_PORTABLE),
    "helium": ("fully_connected_helium", "depthwise_helium", "conv_helium", *_PORTABLE),
}


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...]:
    """The calls that compute ``layer``, by the first kernel of the target's family that takes it."""
    names = _PORTABLE if target.optimize == "size" else _FAMILIES[target.family]
    for name in names:
        calls = importlib.import_module(f"{__name__}.{name}").lower(layer, op, target)
        if calls is not None:
            return tuple(calls)
    raise AssertionError("the portable convolution takes every layer")
