"""The range of a fused activation, for kernels that saturate to int8 only: one more call, in place."""

from __future__ import annotations

from types import MappingProxyType

from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Call, Overlap


def clamp(tensor: int, op: int, low: int, high: int, count: int) -> Call:
    """Holds the ``count`` values of ``tensor`` in [``low``, ``high``], in place (firmware kernel ``clip``)."""
    args = MappingProxyType({"low": low, "high": high, "count": count})
    return Call("clip", op, (tensor,), (tensor,), args, overlaps=(Overlap(0, "same"),))


def clamped(layer: Layer, call: Call) -> tuple[Call, ...]:
    """``call``, and behind it what holds the layer's output in its range where that is less than int8's."""
    if not layer.clamps:
        return (call,)
    height, width, channels = layer.output_shape
    return call, clamp(layer.output, call.op, layer.low, layer.high, layer.n * height * width * channels)
