"""The portable kernel ``depthwise``: every depthwise convolution, two channels at a time."""

from __future__ import annotations

from types import MappingProxyType

from kd_embedded.kernels._parts import bias_array, forward_gap, scales, weights_array
from kd_embedded.kernels.clamp import clamped
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Call, Overlap, Target


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call for a depthwise convolution; None for a layer that is not one."""
    if layer.kind != "depthwise":
        return None
    args = {
        "images": layer.n,
        "height": layer.input_shape[0],
        "width": layer.input_shape[1],
        "channels": layer.input_shape[2],
        "output_height": layer.output_shape[0],
        "output_width": layer.output_shape[1],
        "kernel_height": layer.kernel[0],
        "kernel_width": layer.kernel[1],
        "stride_height": layer.stride[0],
        "stride_width": layer.stride[1],
        "dilation_height": layer.dilation[0],
        "dilation_width": layer.dilation[1],
        "pad_top": layer.padding[0],
        "pad_left": layer.padding[1],
        "input_offset": -layer.input_zero_point,
        "output_zero_point": layer.output_zero_point,
        "weights": weights_array(layer),
        "bias": bias_array(layer.bias),
        **scales(layer),
    }
    overlap = Overlap(0, "forward", forward_gap(layer, copied=True))
    call = Call("depthwise", op, (layer.input,), (layer.output,), MappingProxyType(args), overlaps=(overlap,))
    return clamped(layer, call)
