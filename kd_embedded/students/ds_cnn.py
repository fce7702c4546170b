"""The depthwise-separable CNN of MLPerf Tiny's keyword spotting (Zhang et al. 2017, "Hello Edge"), generalised.

A convolution of 64 channels and four depthwise-separable blocks of 64. Inputs of 20 pixels and more are halved at
once, as there; smaller ones in the second block.
"""

from typing import Any

from kd_embedded import blocks


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in; about 22 000 parameters at width 1."""
    import keras

    inputs = blocks.image_input(input_shape, "ds_cnn")
    filters = blocks.channels(64, width)
    large = min(input_shape[:2]) >= 20
    x = blocks.conv(inputs, filters, 3, "conv", stride=2 if large else 1)
    for index in (1, 2, 3, 4):
        x = blocks.depthwise(x, 3, f"dw{index}", stride=2 if index == 2 else 1)
        x = blocks.conv(x, filters, 1, f"pw{index}")
    return keras.Model(inputs, blocks.head(x, classes), name="ds_cnn")
