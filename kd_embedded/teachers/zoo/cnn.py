"""A plain CNN in the manner of VGG: pairs of 3x3 convolutions of 32, 64 and 128 channels, halved between pairs."""

from typing import Any

from kd_embedded import blocks


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in; about 290 000 parameters at width 1."""
    import keras
    from keras import layers

    x = inputs = blocks.image_input(input_shape, "cnn")
    for index, base in enumerate((32, 64, 128), start=1):
        for half in "ab":
            x = blocks.conv(x, blocks.channels(base, width), 3, f"conv{index}{half}")
        if index < 3 and min(x.shape[1:3]) >= 4:
            x = layers.MaxPooling2D(name=f"pool{index}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="teacher_cnn")
