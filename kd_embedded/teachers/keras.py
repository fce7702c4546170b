"""``kind = "keras"``: an architecture of the zoo, or the user's own .keras or .h5 model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import distill, keras_files
from kd_embedded.artifacts import locate
from kd_embedded.config import FitSpec, TeacherSpec
from kd_embedded.teachers import Job, zoo

KEYS = frozenset({"arch", "width", "file", "mode", "allow_lambda", "outputs", *FitSpec.model_fields})
FILE = "Your own .keras or .h5 model, relative to this file; empty: arch."
OUTPUTS = 'What file gives; "auto" strips a final softmax and takes anything else as logits.'


@dataclass(frozen=True, eq=False)
class KerasTeacher:
    """A Keras model that gives logits, in inference mode."""

    model: Any
    augments: bool = True

    @cached_property
    def _forward(self) -> Callable[[NDArray[np.float32]], Any]:
        return distill.forward(self.model)

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, C], see Teacher."""
        found: NDArray[np.float32] = self._forward(inputs).numpy()
        return found


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError where mode and file do not go together."""
    if spec.mode != "train" and not spec.file:
        raise ValueError(f'mode = "{spec.mode}" needs file, a model to start from')
    if spec.file and "mode" not in spec.model_fields_set:
        raise ValueError('file is set, so say mode: "frozen", "finetune", or "train" for new weights')


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The model to start from."""
    return (spec.file,) if spec.file else ()


def suffix(spec: TeacherSpec) -> str:
    """One suffix for all."""
    return ".keras"


def make(job: Job) -> list[dict[str, float]]:
    """Trains or checks the teacher, and writes it as .keras."""
    spec, data = job.spec, job.data
    model = build(spec, data.input_shape, data.classes, job.seed, job.base, data.inputs(job.sample()))
    if spec.file and spec.outputs == "auto":
        todo = 'set outputs = "probabilities" for this teacher'
        keras_files.check_logits(model, data.inputs(job.splits.train[:64]), spec.file, todo)
    history = [] if spec.mode == "frozen" else job.fit(model, spec, 0)
    keras_files.save(model, job.path)
    return history


def load(job: Job) -> KerasTeacher:
    """The model that ``make`` wrote; its Lambda layers, if any, were allowed then."""
    return KerasTeacher(keras_files.load(job.path, allow_lambda=job.spec.allow_lambda))


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

    if spec.file:
        model = keras_files.load(locate(base, spec.file), allow_lambda=spec.allow_lambda)
        keras_files.check_fits(model, input_shape, classes, spec.file)
        model = keras_files.as_logits(model, spec.outputs)
        if spec.mode == "train":
            model = keras_files.fresh_weights(model, seed)
    else:
        model = zoo.build(spec.arch, input_shape, classes, spec.width, seed)
        if sample is not None:
            zoo.adapt(spec.arch, model, sample * np.float32(spec.input_scale) + np.float32(spec.input_offset))
    if (spec.input_scale, spec.input_offset) == (1.0, 0.0):
        return model
    inputs = keras.Input(input_shape, name="data_input")
    scaled = keras.layers.Rescaling(spec.input_scale, spec.input_offset, name="input_scaling")(inputs)
    return keras.Model(inputs, model(scaled), name="scaled_teacher")
