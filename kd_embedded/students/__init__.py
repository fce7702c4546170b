"""Students known on microcontrollers, one architecture a file; ``student.arch = "NAME"`` picks ``students/NAME.py``.

A module has one function, and a docstring that names its source::

    build(input_shape: tuple[int, ...], classes: int, width: float) -> keras.Model   # [N, *input_shape] to logits

Layers are named (the names travel into the .tflite and into error messages), and every op they convert to is in the
TFLM builtin set and right there. A new student is one new file here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from kd_embedded import plugins
from kd_embedded.artifacts import locate
from kd_embedded.config import StudentSpec
from kd_embedded.errors import ModelError


def names() -> tuple[str, ...]:
    """The architectures, without importing them."""
    return plugins.names(list(__path__))


def build(
    spec: StudentSpec, input_shape: tuple[int, ...], classes: int, seed: int, base: Path, noun: str = "classes"
) -> Any:
    """The untrained student (or the user's own model as it is), giving logits float32 [N, classes].

    The same seed gives the same weights; ``noun`` is what messages call the outputs. Raises ModelError where the model
    does not suit the data.
    """
    import keras

    from kd_embedded import keras_files

    if spec.file:
        model = keras_files.load(locate(base, spec.file))
        keras_files.check_fits(model, input_shape, classes, spec.file, noun)
        if None in model.inputs[0].shape[1:]:
            raise ModelError(
                "takes inputs of any size", where=spec.file, todo=f"begin it with keras.Input({input_shape})"
            )
        return keras_files.as_logits(model, "auto")
    keras.utils.set_random_seed(seed)
    return importlib.import_module(f"{__name__}.{spec.arch}").build(input_shape, classes, spec.width)
