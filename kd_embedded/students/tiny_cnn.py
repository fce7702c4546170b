"""A tiny CNN: three 3x3 convolutions of 8, 16 and 24 channels, the last two with stride 2."""

from typing import Any

from kd_embedded import blocks


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in; about 5 000 parameters at width 1."""
    import keras

    inputs = blocks.image_input(input_shape, "tiny_cnn")
    x = blocks.conv(inputs, blocks.channels(8, width), 3, "conv1")
    x = blocks.conv(x, blocks.channels(16, width), 3, "conv2", stride=2)
    x = blocks.conv(x, blocks.channels(24, width), 3, "conv3", stride=2)
    return keras.Model(inputs, blocks.head(x, classes), name="tiny_cnn")
