"""The Keras blocks that teachers and students are made of. All convert to TFLM builtins, activations fused.

Weights have no bias where batch normalization follows: the converter folds it into the convolution before.
"""

from __future__ import annotations

from typing import Any

from kd_embedded.errors import ModelError


def channels(base: int, width: float) -> int:
    """``base * width`` rounded to a multiple of 4 (word-wide int8 kernels), at least 4."""
    return max(4, int(base * width / 4 + 0.5) * 4)


def image_input(input_shape: tuple[int, ...], arch: str) -> Any:
    """An input of [H, W, C]. Raises ModelError where the data is no image."""
    import keras

    if len(input_shape) != 3:
        raise ModelError(
            f"{arch} needs inputs of [height, width, channels], the data has {list(input_shape)}",
            where="student.arch or teacher.arch",
            todo='use "mlp"',
        )
    return keras.Input(input_shape, name="input")


def conv(x: Any, filters: int, kernel: int, name: str, *, stride: int = 1, relu: bool = True) -> Any:
    """Convolution, batch normalization, ReLU."""
    from keras import layers

    x = layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    return _normalize(x, name, relu)


def depthwise(x: Any, kernel: int, name: str, *, stride: int = 1) -> Any:
    """Depthwise convolution, batch normalization, ReLU."""
    from keras import layers

    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=name)(x)
    return _normalize(x, name, True)


def residual(x: Any, filters: int, name: str, *, stride: int = 1) -> Any:
    """A basic block of ResNet (He et al. 2015, 3x3 and 3x3), its shortcut projected where the shape changes."""
    from keras import layers

    y = conv(x, filters, 3, f"{name}_a", stride=stride)
    y = conv(y, filters, 3, f"{name}_b", relu=False)
    if stride != 1 or x.shape[-1] != filters:
        x = conv(x, filters, 1, f"{name}_shortcut", stride=stride, relu=False)
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_out")(y)


def head(x: Any, classes: int) -> Any:
    """Global average pooling and the logits."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(classes, name="logits")(x)


def _normalize(x: Any, name: str, relu: bool) -> Any:
    from keras import layers

    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x
