"""A multilayer perceptron: two hidden layers of 32. For any input shape; the smallest in RAM."""

from typing import Any

from kd_embedded.blocks import channels


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """Flatten, Dense 32, Dense 32, logits."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="input")
    x = layers.Flatten(name="flatten")(inputs)
    for index in (1, 2):
        x = layers.Dense(channels(32, width), activation="relu", name=f"dense{index}")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="mlp")
