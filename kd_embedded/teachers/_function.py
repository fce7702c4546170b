"""What the kinds share that are a function of arrays: inputs scaled, outputs checked and made logits."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, tasks
from kd_embedded.artifacts import locate
from kd_embedded.config import TeacherSpec
from kd_embedded.errors import ModelError, ToolError
from kd_embedded.teachers import Job

OUTPUTS = (
    'What it gives; "auto": probabilities where they sum to 1 on training data, else logits; from 0 to 1 and neither: '
    "refused."
)
_PROBE = 64
_ROUNDING = 1e-6  # of the largest answer: a range that small is none
_NOISE = 0.05  # of the range of the answers: beyond it, they do not follow from the input alone

Scores = Callable[[NDArray[np.float32]], Any]


@dataclass(frozen=True, eq=False)
class FunctionTeacher:
    """A Teacher of ``scores``: float32 [N, ...] to an array [N, classes], logits or ``probabilities``.

    ``where`` is what it is called in messages, ``noun`` its outputs.
    """

    scores: Scores
    spec: TeacherSpec
    classes: int
    where: str
    probabilities: bool = False
    model: None = None
    noun: str = "classes"

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, C], see Teacher. Raises ModelError where the function fails or gives something else."""
        found = self.outputs(inputs)
        return as_logits(found) if self.probabilities else found

    def outputs(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it gives, as it is: float32 [N, C]."""
        seen = scaled(inputs, self.spec)
        try:
            found = self.scores(seen)
        except ModelError:
            raise
        except Exception as error:  # whatever foreign code raises
            raise ModelError(f"fails on inputs {list(seen.shape)}: {reason(error)}", where=self.where) from None
        if (
            not isinstance(found, np.ndarray)
            or found.shape != (len(inputs), self.classes)
            or found.dtype.kind not in "fiu"
        ):
            raise ModelError(
                f"gives {_shape(found)} for {len(inputs)} inputs, the data has {self.classes} {self.noun}",
                where=self.where,
                todo=f"give one array [N, {self.noun}]",
            )
        return found.astype(np.float32)


def scaled(inputs: NDArray[np.float32], spec: TeacherSpec) -> NDArray[np.float32]:
    """What the teacher of ``spec`` sees of ``inputs``."""
    return inputs * np.array(spec.input_scale, np.float32) + np.array(spec.input_offset, np.float32)


def as_logits(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logarithms of ``probabilities``, none below that of 1e-7."""
    found: NDArray[np.float32] = np.log(np.clip(probabilities, 1e-7, 1.0))
    return found


def as_teacher(job: Job, scores: Scores, where: str) -> FunctionTeacher:
    """The Teacher of ``scores``, tried on training inputs, which decide what outputs = "auto" means.

    Raises ModelError where it does not give finite [N, classes] for them, other answers for some of them alone, or no
    probabilities where they were promised.
    """
    teacher = FunctionTeacher(scores, job.spec, job.data.outputs, where, noun=job.data.noun)
    found, inputs = answers(teacher, job), job.data.inputs(job.sample(_PROBE))
    if not np.isfinite(found).all():
        raise ModelError("gives NaN or infinity", where=where, todo="check input_scale, and what it was trained on")
    some = slice(len(inputs) // 3, None)
    range_ = float(np.ptp(found))
    if np.abs(teacher.outputs(inputs[some]) - found[some]).max() > _NOISE * range_ > _ROUNDING * np.abs(found).max():
        todo = "give the same for the same input: of PyTorch, save it after model.eval()"
        raise ModelError("its answers depend on chance, or on what else is in the batch", where=where, todo=todo)
    return replace(teacher, probabilities=are_probabilities(found, job, where))


def answers(teacher: FunctionTeacher, job: Job) -> NDArray[np.float32]:
    """What ``teacher`` gives, as it is, for some training inputs: float32 [n, C]."""
    return teacher.outputs(job.data.inputs(job.sample(_PROBE)))


def are_probabilities(outputs: NDArray[np.float32], job: Job, where: str) -> bool:
    """Whether ``outputs`` [N, C] are probabilities, by ``spec.outputs`` or, with "auto", by their look.

    Raises ModelError where they are none though promised, or may be either.
    """
    wanted = job.spec.outputs if job.data.task == tasks.CLASSIFICATION else "logits"
    positive = bool((outputs >= 0).all() and (outputs <= 1.001).all())
    if wanted == "probabilities" and not positive:
        raise ModelError("gives values outside 0 to 1", where=where, todo='set outputs = "logits" for this teacher')
    if wanted != "auto" or not positive:
        return wanted == "probabilities"
    sums = outputs.sum(-1)
    if not np.allclose(sums, 1.0, atol=1e-3):
        what = f"gives values from 0 to 1 that sum to {sums.min():.3g} to {sums.max():.3g}, not to 1"
        raise ModelError(what, where=where, todo='set outputs = "probabilities" or "logits" for this teacher')
    return True


def read(job: Job, name: str) -> bytes:
    """The user's file that kd.toml calls ``name``. Raises ModelError where it cannot be read."""
    path = locate(job.base, name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from None


def keep(job: Job, scores: Callable[[bytes, TeacherSpec], Scores]) -> None:
    """Tries the user's file, of which ``scores`` makes a function, and copies it."""
    whole = read(job, job.spec.file)
    as_teacher(job, scores(whole, job.spec), job.spec.file)
    artifacts.write_bytes(job.path, whole)


def kept(job: Job, scores: Callable[[bytes, TeacherSpec], Scores]) -> FunctionTeacher:
    """The Teacher of the file that ``keep`` copied."""
    return as_teacher(job, scores(job.path.read_bytes(), job.spec), job.spec.file)


def channels(inputs: NDArray[np.float32], layout: str) -> NDArray[np.float32]:
    """``inputs`` [N, ..., C] in the ``layout`` of a teacher: "nchw" has the channels first, [N, C, ...]."""
    return np.ascontiguousarray(np.moveaxis(inputs, -1, 1)) if layout == "nchw" else inputs


def extra(module: str, package: str, name: str) -> ModuleType:
    """The optional ``module`` of ``package``. Raises ToolError with the extra ``name`` that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        todo = f"pip install 'kd-embedded[{name}]'"
        raise ToolError(f"needs {package}, which is not installed", where=f'kind = "{name}"', todo=todo) from None


def reason(error: Exception) -> str:
    """The first words of a foreign exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def _shape(found: Any) -> str:
    return f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
