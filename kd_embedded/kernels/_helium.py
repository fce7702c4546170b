"""What the Helium kernels share: which layers they take, their constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.kernels._parts import folded_bias
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array


def takes(layer: Layer) -> bool:
    """Whether a layer has what all the kernels ask for: weights around 0, no shift to the left."""
    return layer.weights_zero_point == 0 and bool((layer.shift <= 0).all())


def per_channel(layer: Layer, order: NDArray[Any]) -> dict[str, Array]:
    """Bias, multipliers and shifts of the channels in ``order``, where C_OUT and above stand for none."""

    def arrange(role: str, values: NDArray[Any], dtype: Any) -> Array:
        padded = np.zeros(int(order.max()) + 1, dtype)
        padded[: len(values)] = values
        return Array(role, padded[order], "weights" if role == "bias" else "constants")

    return {
        "bias": arrange("bias", folded_bias(layer), np.int32),
        "multipliers": arrange("multipliers", layer.multiplier, np.int32),
        "shifts": arrange("shifts", layer.shift, np.int8),
    }


def whole(count: int, block: int) -> NDArray[Any]:
    """The channels in their order, to a multiple of ``block``."""
    return np.arange(-(-count // block) * block)


def images(layer: Layer) -> dict[str, int]:
    """The fields of a window's geometry."""
    return {
        "kernel_height": layer.kernel[0],
        "kernel_width": layer.kernel[1],
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "dilation_y": layer.dilation[0],
        "dilation_x": layer.dilation[1],
        "padding_y": layer.padding[0],
        "padding_x": layer.padding[1],
    }
