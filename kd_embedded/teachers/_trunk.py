"""Transfer learning: a trained trunk with a new head. The weights are local files; nothing is downloaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded import keras_files
from kd_embedded.artifacts import locate
from kd_embedded.config import TeacherSpec, nearest
from kd_embedded.errors import ConfigError, ModelError, first_line

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as EfficientNet's own layers have them


def is_file(trunk: str) -> bool:
    """Whether ``trunk`` is a file of the user's rather than a name in keras.applications."""
    return trunk.endswith((".keras", ".h5"))


def build(spec: TeacherSpec, input_shape: tuple[int, ...], classes: int, seed: int, base: Path) -> Any:
    """The trunk, frozen, and a new head with weights from ``seed``: [N, *input_shape] to logits [N, classes].

    Raises ModelError where the
    trunk or its weights do not suit the data, ConfigError where there is no such trunk.
    """
    import keras

    inputs = keras.Input(input_shape, name="input")
    if is_file(spec.trunk):
        trunk, x = keras_files.load(locate(base, spec.trunk), allow_lambda=spec.allow_lambda), inputs
        keras_files.check_input(trunk, input_shape, spec.trunk)
    else:
        trunk, preprocess = _application(spec, input_shape, base)
        x = preprocess(inputs)
    trunk.trainable = False
    keras.utils.set_random_seed(seed)
    features = trunk(x)
    if len(getattr(features, "shape", ())) not in (2, 4):
        what = f"gives {getattr(features, 'shape', 'several outputs')}"
        raise ModelError(what, where=spec.trunk, todo="end it in features [N, D] or [N, H, W, C]")
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    features = keras.layers.Dropout(0.2, name="head_dropout")(features)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(features), name="teacher_transfer")


def unfreeze(model: Any) -> None:
    """Makes all layers of ``model`` trainable, however deep, but batch normalization: it keeps the trunk's."""
    import keras

    model.trainable = not isinstance(model, keras.layers.BatchNormalization)
    for layer in getattr(model, "layers", ()):
        unfreeze(layer)


def _application(spec: TeacherSpec, input_shape: tuple[int, ...], base: Path) -> tuple[Any, Any]:
    """The network of keras.applications without its head, and the function that prepares inputs of 0 to 255 for it."""
    make = _network(spec.trunk)
    keys: dict[str, Any] = {"alpha": spec.width} if "alpha" in inspect.signature(make).parameters else {}
    if not keys and spec.width != 1.0:
        raise ConfigError(f"{spec.trunk} comes in one width", where="teacher.width", todo="leave it out")
    weights = locate(base, spec.weights)
    try:
        trunk = make(include_top=False, weights=None, input_shape=input_shape, name="trunk", **keys)
    except Exception as error:  # Keras' words on shapes
        raise ModelError(
            first_line(error)[:160], where=spec.trunk, todo="use another trunk, or data.image_size"
        ) from None
    try:
        trunk.load_weights(weights)
    except Exception as error:  # h5py's and Keras' own, one for each way of being wrong
        todo = f"use the weights of {spec.trunk} without its top, of this width"
        raise ModelError(f"cannot be loaded: {first_line(error)[:160]}", where=spec.weights, todo=todo) from None
    return trunk, preparation(spec.trunk, trunk)


def preparation(name: str, trunk: Any) -> Callable[[Any], Any]:
    """The function that prepares inputs of 0 to 255 for ``trunk``, the network ``name`` of keras.applications."""
    import keras

    means = [layer.mean for layer in trunk.layers if isinstance(layer, keras.layers.Normalization)]
    if name.startswith("EfficientNetB") and means and np.allclose(means[0], _IMAGENET_MEAN, atol=1e-3):
        # Such weights know a second division by the deviation's root, a layer that Keras adds for "imagenet" alone.
        roots = [deviation**0.5 for deviation in _IMAGENET_STD]
        offset = [255 * mean * (1 - 1 / root) for mean, root in zip(_IMAGENET_MEAN, roots, strict=True)]
        rescale: Callable[[Any], Any] = keras.layers.Rescaling([1 / root for root in roots], offset, name="imagenet")
        return rescale
    module: Any = inspect.getmodule(_network(name))
    prepare: Callable[[Any], Any] = module.preprocess_input
    return prepare


def _network(name: str) -> Any:
    """The function of keras.applications that makes the network ``name``."""
    import keras

    networks = tuple(key for key in dir(keras.applications) if key[:1].isupper())
    if name not in networks:
        todo = nearest(name, networks)
        raise ConfigError(f"keras.applications has no {name!r}", where="teacher.trunk", todo=todo)
    return getattr(keras.applications, name)
