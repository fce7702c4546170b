"""ResNet-8 of MLPerf Tiny's image classification: three residual blocks of 16, 32 and 64 channels."""

from typing import Any

from kd_embedded import blocks


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in; 78 000 parameters at width 1 and 32x32x3."""
    import keras

    inputs = blocks.image_input(input_shape, "resnet8")
    x = blocks.conv(inputs, blocks.channels(16, width), 3, "conv")
    for index, (base, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        x = blocks.residual(x, blocks.channels(base, width), f"block{index}", stride=stride)
    return keras.Model(inputs, blocks.head(x, classes), name="resnet8")
