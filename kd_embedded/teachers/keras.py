"""``kind = "keras"``: an architecture of the zoo, your own .keras, .h5 or SavedModel, or a trunk with a new head."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, distill, keras_files, tasks
from kd_embedded.artifacts import locate
from kd_embedded.config import FitSpec, TeacherSpec
from kd_embedded.errors import ModelError
from kd_embedded.precision import Precision, computing
from kd_embedded.teachers import Job, Teacher, _function, _trunk, zoo

KEYS = frozenset(
    {
        *("arch", "width", "file", "mode", "trunk", "weights", "finetune_epochs", "allow_lambda", "outputs"),
        *("input_scale", "input_offset", "precision"),
        *FitSpec.model_fields,
    }
)
FILE = "Your own .keras or .h5 model or SavedModel folder, relative to this file; empty: arch."
OUTPUTS = 'What file gives; "auto" strips a final softmax, refuses other probabilities and takes the rest as logits.'
_OTHERS = {
    **{".onnx": "onnx", ".pt": "torch", ".pt2": "torch", ".pth": "torch"},
    **{".skops": "sklearn", ".npz": "logits", ".py": "python"},
}


@dataclass(frozen=True, eq=False)
class KerasTeacher:
    """A Keras model that gives logits, in inference mode."""

    model: Any
    precision: Precision = "float32"

    @cached_property
    def _forward(self) -> Callable[[NDArray[np.float32]], Any]:
        with computing(self.model, self.precision):
            return distill.forward(self.model)

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, C], see Teacher."""
        found: NDArray[np.float32] = self._forward(inputs).numpy()
        return found


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError where file, mode and trunk do not go together."""
    if spec.mode != "train" and not spec.file:
        raise ValueError(f'mode = "{spec.mode}" needs file, a model to start from')
    if spec.file and "mode" not in spec.model_fields_set:
        raise ValueError('file is set, so say mode: "frozen", "finetune", or "train" for new weights')
    if spec.file and spec.trunk:
        raise ValueError("file and trunk are both set: leave one out")
    if spec.trunk and _trunk.is_file(spec.trunk) == bool(spec.weights):
        raise ValueError("weights go with a trunk of keras.applications, which needs them; a file has its own")
    if not spec.trunk and (spec.weights or spec.finetune_epochs):
        raise ValueError("weights and finetune_epochs go with trunk")
    other = _OTHERS.get(Path(spec.file).suffix)
    if other:
        raise ValueError(f'{spec.file} is no Keras model, so say kind = "{other}"')
    if spec.file and _is_folder(spec) and (spec.mode != "frozen" or not spec.allow_lambda):
        raise ValueError(
            f"{spec.file} is no .keras or .h5 file; a SavedModel is a program of its author's and cannot be trained: "
            'use mode = "frozen", and allow_lambda = true if you trust it'
        )
    if spec.file and _is_folder(spec) and spec.precision != "float32":
        raise ValueError(f"precision goes with .keras and .h5 files; {spec.file}, a SavedModel, has its own")


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The models and weights to start from."""
    return tuple(filter(None, (spec.file, spec.weights, spec.trunk if _trunk.is_file(spec.trunk) else "")))


def suffix(spec: TeacherSpec) -> str:
    """A SavedModel is kept packed."""
    return ".savedmodel.zip" if spec.file and _is_folder(spec) else ".keras"


def make(job: Job) -> list[dict[str, float]]:
    """Trains or checks the teacher, and writes it."""
    spec, data = job.spec, job.data
    if spec.file and _is_folder(spec):
        packed = _packed(locate(job.base, spec.file))
        _saved_model(packed, job)
        artifacts.write_bytes(job.path, packed)
        return []
    model = build(
        spec, data.input_shape, data.outputs, job.seed, job.base, lambda: data.inputs(job.sample()), data.noun
    )
    if spec.file and spec.outputs == "auto" and data.task == tasks.CLASSIFICATION:
        todo = 'set outputs = "probabilities" for this teacher'
        keras_files.check_logits(model, data.inputs(job.splits.train[:64]), spec.file, todo)
    with computing(model, spec.precision):
        history = [] if spec.mode == "frozen" else job.fit(model, spec, 0)
        if spec.finetune_epochs:
            _trunk.unfreeze(model)
            lower = {"epochs": spec.finetune_epochs, "learning_rate": spec.learning_rate / 10}
            history = history + job.fit(model, spec.model_copy(update=lower), 1)
    keras_files.save(model, job.path)
    return history


def load(job: Job) -> Teacher:
    """The model that ``make`` wrote; its Lambda layers, if any, were allowed then."""
    if job.path.suffix == ".zip":
        return _saved_model(job.path.read_bytes(), job)
    return KerasTeacher(keras_files.load(job.path, allow_lambda=job.spec.allow_lambda), job.spec.precision)


def build(
    spec: TeacherSpec,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    base: Path,
    sample: Callable[[], NDArray[np.float32]] | None = None,
    noun: str = "classes",
) -> Any:
    """The teacher before training, giving logits float32 [N, classes] of the *data's* inputs.

    ``sample()`` float32 [N, *input_shape] of training inputs sets what an architecture takes from the data.

    ``input_scale`` and ``input_offset`` are a layer at its front, so that whoever loads the saved teacher feeds it what
    the student sees. ``noun`` is what messages call the outputs. Raises ModelError where the model does not suit the
    data.
    """
    import keras

    if spec.file:
        model = keras_files.load(locate(base, spec.file), allow_lambda=spec.allow_lambda)
        keras_files.check_fits(model, input_shape, classes, spec.file, noun)
        model = keras_files.as_logits(model, spec.outputs)
        if spec.mode == "train":
            model = keras_files.fresh_weights(model, seed)
    elif spec.trunk:
        model = _trunk.build(spec, input_shape, classes, seed, base)
    else:
        model = zoo.build(spec.arch, input_shape, classes, spec.width, seed)
        if sample is not None:
            zoo.adapt(spec.arch, model, lambda: _function.scaled(sample(), spec))
    if (spec.input_scale, spec.input_offset) == ((1.0,), (0.0,)):
        return model
    inputs = keras.Input(input_shape, name="data_input")
    by = (list(each) if len(each) > 1 else each[0] for each in (spec.input_scale, spec.input_offset))
    scaled = keras.layers.Rescaling(*by, name="input_scaling")(inputs)
    return keras.Model(inputs, model(scaled), name="scaled_teacher")


def _is_folder(spec: TeacherSpec) -> bool:
    return not spec.file.endswith((".keras", ".h5"))


def _packed(folder: Path) -> bytes:
    """The files of a SavedModel as one zip, without dates. Raises ModelError where ``folder`` holds none."""
    if not (folder / "saved_model.pb").is_file():
        todo = "name a .keras or .h5 model, or the folder that holds saved_model.pb"
        raise ModelError("is no Keras model", where=str(folder), todo=todo)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return artifacts.zipped({path.relative_to(folder).as_posix(): path.read_bytes() for path in found})


def _saved_model(packed: bytes, job: Job) -> _function.FunctionTeacher:
    """The signature "serving_default" of a packed SavedModel. Raises ModelError unless it has one input and output."""
    import tensorflow as tf

    where = job.spec.file
    folder = tempfile.TemporaryDirectory(prefix="kd-")  # its assets, if any, are read when it runs
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder.name)
    try:
        model = tf.saved_model.load(folder.name)
        signature = model.signatures["serving_default"]
        ((name, wanted),) = signature.structured_input_signature[1].items()
        ((output, _),) = signature.structured_outputs.items()
    except Exception as error:  # TensorFlow's own, or a signature of several tensors
        todo = "export it with model.export(FOLDER), of one input and one output"
        raise ModelError(f"cannot be loaded: {_function.reason(error)}", where=where, todo=todo) from None
    if not wanted.dtype.is_floating:
        todo = "export it with an input of float32, which it casts itself"
        raise ModelError(
            f"has an input of {wanted.dtype.name}, and augmented inputs are not whole", where=where, todo=todo
        )

    def scores(batch: NDArray[np.float32], _: Any = (model, folder)) -> Any:
        return signature(**{name: tf.cast(batch, wanted.dtype)})[output].numpy()

    return _function.as_teacher(job, scores, where)
