"""Teachers: whatever gives logits for a batch. ``[[teacher]] kind = "NAME"`` picks ``teachers/NAME.py``, a kind a file.

Where the task has no classes, logits are the outputs as they are.

A kind's module has::

    KEYS: frozenset[str]                              # keys of [[teacher]] that it reads, beside what all kinds read
    FILE, OUTPUTS: str                                # what it says of the keys file and outputs, where it reads them
    def check_spec(spec: TeacherSpec) -> None         # raises ValueError where keys do not go together
    def files(spec: TeacherSpec) -> tuple[str, ...]   # the user's files that it reads, as kd.toml names them
    def suffix(spec: TeacherSpec) -> str              # of its file in the run folder
    def make(job: Job) -> History                     # trains or checks it, writes job.path; [] where it has no epochs
    def load(job: Job) -> Teacher                     # what make wrote

and, where it knows the inputs as stored alone, ``AUGMENTS = False``. A new kind is one new file here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kd_embedded import data as data_sets
from kd_embedded import plugins, tasks
from kd_embedded.config import FitSpec, TeacherSpec
from kd_embedded.errors import ConfigError

_SAMPLE = 5000  # training inputs that a teacher may look at before it is trained


class Teacher(Protocol):
    """``model`` is the Keras model, where it is one."""

    @property
    def model(self) -> Any | None: ...

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [N, C] of ``inputs`` float32 [N, ...], as the student sees them.

        ``indices`` int64 [N] are their positions in ``Data.x``.
        """
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """One [[teacher]] of a run. ``base`` is the folder of kd.toml, ``path`` the teacher's file in the run folder.

    ``fit(model, settings, phase)`` trains a Keras model on the labels; a teacher with two fits numbers them 0 and 1.
    """

    spec: TeacherSpec
    base: Path
    path: Path
    seed: int
    data: data_sets.Data
    splits: data_sets.Splits
    data_sha256: str
    fit: Callable[[Any, FitSpec, int], list[dict[str, float]]]

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Positions in ``Data.x`` of the training samples that have a label."""
        train = self.splits.train
        return train[self.data.y[train] >= 0]

    def sample(self, count: int = _SAMPLE) -> NDArray[np.int64]:
        """Positions in ``Data.x`` of at most ``count`` training samples, in turn from each class."""
        train = self.labelled
        return train[data_sets.evenly(self.data.y[train], count, self.seed)]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Teachers whose soft targets are averaged; a Teacher too. ``weights`` are positive, one a member.

    With "probabilities" the logits are ``log(sum of w * softmax(l))``, with "logits" ``sum of w * l``, weights divided
    by their sum. One member's are its own.
    """

    members: Sequence[Teacher]
    weights: Sequence[float]
    space: Literal["probabilities", "logits"] = "probabilities"

    @property
    def model(self) -> Any | None:
        return self.members[0].model if len(self.members) == 1 else None

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, C], see Teacher."""
        found = [member.logits(inputs, indices) for member in self.members]
        return found[0] if len(found) == 1 else average(found, self.weights, self.space)


@dataclass(frozen=True, eq=False)
class Mirrored:
    """A Teacher of images that answers with the mean over an image and its mirror image, left to right.

    The mean is taken in ``space`` as that of an Ensemble (Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds on a single
    GPU", asks its network so).
    """

    teacher: Teacher
    space: Literal["probabilities", "logits"] = "probabilities"

    @property
    def model(self) -> Any | None:
        return self.teacher.model

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, C] of ``inputs`` float32 [N, H, W, channels]."""
        both = [self.teacher.logits(shown, indices) for shown in (inputs, inputs[:, :, ::-1])]
        return average(both, [1.0, 1.0], self.space)


@dataclass(frozen=True, eq=False)
class Standardized:
    """A Teacher of a regression, its outputs in ``units``."""

    teacher: Teacher
    units: tasks.Units

    @property
    def model(self) -> Any | None:
        return self.teacher.model

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, D]."""
        return self.units.standardized(self.teacher.logits(inputs, indices))


def average(
    logits: Sequence[NDArray[np.float32]], weights: Sequence[float], space: Literal["probabilities", "logits"]
) -> NDArray[np.float32]:
    """The logits float32 [N, C] of an ensemble whose members have ``logits``, each [N, C]; see Ensemble."""
    stacked = np.stack(logits).astype(np.float64)
    shares = (np.array(weights, np.float64) / sum(weights))[:, None, None]
    if space == "logits":
        found: NDArray[np.float64] = (shares * stacked).sum(0)
    else:
        found = _log_sum_exp(stacked - _log_sum_exp(stacked, -1) + np.log(shares), 0)[0]
    return found.astype(np.float32)


def _log_sum_exp(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Stable; keeps ``axis`` with length 1."""
    highest = values.max(axis, keepdims=True)
    found: NDArray[np.float64] = highest + np.log(np.exp(values - highest).sum(axis, keepdims=True))
    return found


def kinds() -> tuple[str, ...]:
    """The kinds of teachers, without importing them."""
    return tuple(name for name in plugins.names(list(__path__)) if name != "zoo")


def kind(name: str) -> Any:
    """The module of a kind."""
    return importlib.import_module(f"{__name__}.{name}")


def augments(name: str) -> bool:
    """Whether teachers of a kind answer to inputs other than those stored."""
    return getattr(kind(name), "AUGMENTS", True)


def check_scale(spec: TeacherSpec, channels: int) -> None:
    """Raises ConfigError where the scales of ``spec`` are neither one number nor one for each of the ``channels``."""
    for key in ("input_scale", "input_offset"):
        given = len(getattr(spec, key))
        if given not in (1, channels):
            todo = "give one number, or one for each channel"
            raise ConfigError(f"has {given} numbers, the data {channels} channels", where=f"teacher.{key}", todo=todo)


def make(job: Job) -> list[dict[str, float]]:
    """Trains or checks the teacher of ``job``, and writes its file; its history, a record an epoch.

    Raises ModelError where it cannot be loaded, or does not suit the data.
    """
    history: list[dict[str, float]] = kind(job.spec.kind).make(job)
    return history


def load(job: Job) -> Teacher:
    """The teacher that ``make`` wrote. Raises ModelError where its file is absent or damaged."""
    found: Teacher = kind(job.spec.kind).load(job)
    return found
