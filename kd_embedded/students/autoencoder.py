"""The dense auto-encoder of MLPerf Tiny's anomaly detection: four layers of 128, a bottleneck of 8, four of 128.

Its batch normalization is left out: it folds into the dense layers anyway. For any input shape.
"""

from typing import Any

from kd_embedded.blocks import channels


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """Flatten, the layers, and ``classes`` outputs: as many as an input has values, for an auto-encoder.

    About 260 000 parameters at width 1 and 640 inputs.
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="input")
    x = layers.Flatten(name="flatten")(inputs)
    for name, base in (*((f"encoder{i}", 128) for i in (1, 2, 3, 4)), ("bottleneck", 8)):
        x = layers.Dense(channels(base, width), activation="relu", name=name)(x)
    for index in (1, 2, 3, 4):
        x = layers.Dense(channels(128, width), activation="relu", name=f"decoder{index}")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="autoencoder")
