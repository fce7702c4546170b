"""Teachers, one architecture a file; ``teacher.arch = "NAME"`` picks ``teachers/NAME.py``.

A module has one function, and a docstring that names its source::

    build(input_shape: tuple[int, ...], classes: int, width: float) -> keras.Model   # [N, *input_shape] to logits

A new teacher is one new file here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from kd_embedded import plugins
from kd_embedded.artifacts import locate
from kd_embedded.config import TeacherSpec


def names() -> tuple[str, ...]:
    """The architectures, without importing them."""
    return plugins.names(list(__path__))


def build(spec: TeacherSpec, input_shape: tuple[int, ...], classes: int, seed: int, base: Path) -> Any:
    """The teacher before training, giving logits float32 [N, classes] of the *data's* inputs.

    ``input_scale`` and ``input_offset`` are a layer at its front, so that whoever loads the saved teacher feeds it what
    the student sees. Raises ModelError where the model does not suit the data.
    """
    import keras

    from kd_embedded import keras_files

    if spec.file:
        path = locate(base, spec.file)
        model = keras_files.load(path, allow_lambda=spec.allow_lambda)
        keras_files.check_fits(model, input_shape, classes, spec.file)
        model = keras_files.as_logits(model, spec.outputs)
        if spec.mode == "train":
            model = keras_files.fresh_weights(model, seed)
    else:
        keras.utils.set_random_seed(seed)
        model = importlib.import_module(f"{__name__}.{spec.arch}").build(input_shape, classes, spec.width)
    if (spec.input_scale, spec.input_offset) == (1.0, 0.0):
        return model
    inputs = keras.Input(input_shape, name="data_input")
    scaled = keras.layers.Rescaling(spec.input_scale, spec.input_offset, name="input_scaling")(inputs)
    return keras.Model(inputs, model(scaled), name="scaled_teacher")
