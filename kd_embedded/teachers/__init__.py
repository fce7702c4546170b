"""Teachers, one architecture a file; ``teacher.arch = "NAME"`` picks ``teachers/NAME.py``.

A module has one function, perhaps a second, and a docstring that names its source::

    build(input_shape: tuple[int, ...], classes: int, width: float) -> keras.Model   # [N, *input_shape] to logits
    adapt(model: keras.Model, inputs: NDArray[np.float32]) -> None   # weights that follow from the training inputs

A new teacher is one new file here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import plugins
from kd_embedded.artifacts import locate
from kd_embedded.config import TeacherSpec


def names() -> tuple[str, ...]:
    """The architectures, without importing them."""
    return plugins.names(list(__path__))


def build(
    spec: TeacherSpec,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    base: Path,
    sample: NDArray[np.float32] | None = None,
) -> Any:
    """The teacher before training, giving logits float32 [N, classes] of the *data's* inputs.

    ``sample`` float32 [N, *input_shape] of training inputs sets what an architecture takes from the data.

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
        module = importlib.import_module(f"{__name__}.{spec.arch}")
        model = module.build(input_shape, classes, spec.width)
        if sample is not None and hasattr(module, "adapt"):
            module.adapt(model, sample * np.float32(spec.input_scale) + np.float32(spec.input_offset))
    if (spec.input_scale, spec.input_offset) == (1.0, 0.0):
        return model
    inputs = keras.Input(input_shape, name="data_input")
    scaled = keras.layers.Rescaling(spec.input_scale, spec.input_offset, name="input_scaling")(inputs)
    return keras.Model(inputs, model(scaled), name="scaled_teacher")
