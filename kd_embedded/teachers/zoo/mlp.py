"""A wide multilayer perceptron for features that are no image: three hidden layers of 256 with dropout."""

from typing import Any

from kd_embedded.blocks import channels


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """Any input shape."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="input")
    x = layers.Flatten(name="flatten")(inputs)
    for index in (1, 2, 3):
        x = layers.Dense(channels(256, width), activation="relu", name=f"dense{index}")(x)
        x = layers.Dropout(0.2, name=f"dropout{index}")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="teacher_mlp")
