"""The portable kernel ``fully_connected``: dense layers, and pointwise convolutions of stride 1 as rows of pixels."""

from __future__ import annotations

from types import MappingProxyType

from kd_embedded.kernels._parts import backward_gap, bias_array, folded_bias, scales, weights_array
from kd_embedded.kernels.clamp import clamped
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Call, Overlap, Target


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call for a dense layer or a pointwise convolution; None for others."""
    height, width, depth = layer.input_shape
    pointwise = layer.kind == "conv" and layer.kernel == layer.stride == (1, 1) and layer.groups == 1
    if layer.kind != "dense" and not pointwise:
        return None
    rows, channels = layer.n * height * width, layer.output_shape[2]
    args = {
        "rows": rows,
        "depth": depth,
        "channels": channels,
        "output_zero_point": layer.output_zero_point,
        "weights_zero_point": layer.weights_zero_point,
        "weights": weights_array(layer),
        "bias": bias_array(folded_bias(layer)),
        **scales(layer),
    }
    overlap = Overlap(0, "backward", backward_gap(rows, depth, channels))
    call = Call("fully_connected", op, (layer.input,), (layer.output,), MappingProxyType(args), overlaps=(overlap,))
    return clamped(layer, call)
