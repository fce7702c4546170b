"""Writes the small int8 models of tests/data, committed so that tests need no TensorFlow and compare the same bytes.

    python scripts/make_test_model.py [FOLDER]

``tiny.tflite`` (8x8x1 to 3 classes) has the ops of a small CNN and Dense per tensor, which every board's library has;
``residual.tflite`` (8x8x1 to 10) has a shortcut, the mean over the image, and Dense per channel.
The weights are seeded, not trained: they classify nothing, but each output depends on all of the input.
TensorFlow 2.20 wrote the committed files; another version gives the same weights in another file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SHAPE = (8, 8, 1)
SEED = 7


def tiny() -> keras.Model:
    """Convolution, depthwise convolution, pooling, dense, softmax."""
    layers = keras.layers
    x = image = keras.Input(SHAPE, batch_size=1)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(3)(layers.Flatten()(x))
    return keras.Model(image, layers.Softmax()(x))


def residual() -> keras.Model:
    """One block of a ResNet between a convolution and two dense layers; logits."""
    layers = keras.layers
    x = image = keras.Input(SHAPE, batch_size=1)
    x = shortcut = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.ReLU()(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(32, activation="relu")(x)
    return keras.Model(image, layers.Dense(10)(x))


def seeded(model: keras.Model) -> keras.Model:
    """The same weights everywhere: NumPy's generator, not the framework's initializers."""
    generator = np.random.default_rng(SEED)
    model.set_weights([generator.normal(0, 1.5 if w.ndim > 1 else 0.3, w.shape) for w in model.get_weights()])
    return model


def representative() -> Iterator[list[np.ndarray]]:
    generator = np.random.default_rng(SEED + 1)
    for _ in range(64):
        yield [generator.uniform(0, 1, (1, *SHAPE)).astype(np.float32)]


def convert(model: keras.Model, *, per_tensor_dense: bool) -> bytes:
    """Full int8, int8 in and out."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = per_tensor_dense
    return converter.convert()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.tflite").write_bytes(convert(seeded(tiny()), per_tensor_dense=True))
    (folder / "residual.tflite").write_bytes(convert(seeded(residual()), per_tensor_dense=False))


if __name__ == "__main__":
    main()
