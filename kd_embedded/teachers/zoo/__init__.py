"""Teachers that we train, one architecture a file; ``teacher.arch = "NAME"`` picks ``teachers/zoo/NAME.py``.

A module has one function, perhaps a second, and a docstring that names its source::

    build(input_shape: tuple[int, ...], classes: int, width: float) -> keras.Model   # [N, *input_shape] to logits
    adapt(model: keras.Model, inputs: NDArray[np.float32]) -> None   # weights that follow from the training inputs

A new architecture is one new file here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import plugins


def names() -> tuple[str, ...]:
    """The architectures, without importing them."""
    return plugins.names(list(__path__))


def build(arch: str, input_shape: tuple[int, ...], classes: int, width: float, seed: int) -> Any:
    """The untrained Keras model, giving logits float32 [N, classes]; the same seed gives the same weights."""
    import keras

    keras.utils.set_random_seed(seed)
    return importlib.import_module(f"{__name__}.{arch}").build(input_shape, classes, width)


def adapt(arch: str, model: Any, inputs: Callable[[], NDArray[np.float32]]) -> None:
    """Sets the weights that follow from training ``inputs()`` float32 [N, *input_shape], where ``arch`` has such."""
    module = importlib.import_module(f"{__name__}.{arch}")
    if hasattr(module, "adapt"):
        module.adapt(model, inputs())
