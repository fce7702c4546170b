"""The network of "94 % on CIFAR-10 in 3.29 seconds on a single GPU" (Jordan 2024), in stock Keras layers.

A 2x2 convolution that whitens the training images' patches (section 3.2 there), three blocks of two 3x3 convolutions,
of 64, 256 and 256 channels, that begin as the identity on as many channels as they can (3.3), and a scaled head. It
learns CIFAR-10 in a dozen epochs, so it is the teacher to train where there is no accelerator.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import blocks

_EPSILON = 5e-4


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in; 2 000 000 parameters at width 1 and 32x32x3."""
    import keras
    from keras import layers

    inputs = blocks.image_input(input_shape, "airbench")
    x = layers.Conv2D(2 * 4 * input_shape[-1], 2, name="whiten")(inputs)
    x = layers.Activation("gelu", name="whiten_gelu")(x)
    for index, base in enumerate((64, 256, 256), start=1):
        filters = blocks.channels(base, width)
        x = _conv(x, filters, f"conv{index}a")
        if min(x.shape[1:3]) >= 2:
            x = layers.MaxPooling2D(name=f"pool{index}")(x)
        x = _normalize(x, f"conv{index}a")
        x = _normalize(_conv(x, filters, f"conv{index}b"), f"conv{index}b")
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    x = layers.Dense(classes, use_bias=False, name="head")(x)
    model = keras.Model(inputs, layers.Rescaling(1 / 9, name="logits")(x), name="teacher_airbench")
    for layer in model.layers:
        if layer.name.startswith("conv") and isinstance(layer, layers.Conv2D):
            _start_as_identity(layer)
    return model


def adapt(model: Any, inputs: NDArray[np.float32]) -> None:
    """Sets and freezes the first convolution: the eigenvectors of the 2x2 patches of ``inputs`` [N, H, W, C], over the
    root of their eigenvalues, and the same negated. Its bias is zero.
    """
    height, width, depth = inputs.shape[1:]
    products, count = np.zeros((4 * depth, 4 * depth)), 0
    for image in inputs:
        views = [image[i : height - 1 + i, j : width - 1 + j] for i in (0, 1) for j in (0, 1)]
        patches = np.stack(views, axis=2).reshape(-1, 4 * depth).astype(np.float64)
        products, count = products + patches.T @ patches, count + len(patches)
    values, vectors = np.linalg.eigh(products / count)
    whitening = (vectors / np.sqrt(values + _EPSILON)).reshape(2, 2, depth, -1)
    layer = model.get_layer("whiten")
    kernel = np.concatenate([whitening, -whitening], axis=-1)
    layer.set_weights([kernel.astype(np.float32), np.zeros(kernel.shape[-1], np.float32)])
    layer.trainable = False


def _conv(x: Any, filters: int, name: str) -> Any:
    from keras import layers

    return layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_uniform", name=name)(x)


def _normalize(x: Any, name: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(momentum=0.6, scale=False, epsilon=1e-12, name=f"{name}_bn")(x)
    return layers.Activation("gelu", name=f"{name}_gelu")(x)


def _start_as_identity(layer: Any) -> None:
    """The first filters pass their own channel on."""
    kernel = layer.get_weights()[0]
    many = min(kernel.shape[2:])
    kernel[..., :many] = 0.0
    kernel[1, 1, np.arange(many), np.arange(many)] = 1.0
    layer.set_weights([kernel])
