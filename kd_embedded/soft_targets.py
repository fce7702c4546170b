"""A teacher's logits for the loop: run live, computed once, or kept for some epochs of augmented inputs and replayed.

Kept logits are float16, whose 11 significant bits move a softmax of temperature 1 by less than the noise between two
batches; each epoch is a file of its own, written whole, so that a kill costs one epoch of the teacher at most.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, distill, teachers
from kd_embedded.ahead import ahead
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.augment import Augmentation, Inputs
from kd_embedded.config import FitSpec
from kd_embedded.distill import SoftTargets
from kd_embedded.errors import ConfigError, ModelError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import teach
from kd_embedded.teachers import Teacher

_BATCH = 256
_LARGEST = 65504.0  # of float16


def live(teacher: Teacher, train: NDArray[np.int64]) -> SoftTargets:
    """The teacher itself, on the inputs as augmented. ``train`` int64 [n] are the positions in Data.x of the split."""
    return lambda positions, inputs, epoch: teacher.logits(inputs, train[positions])


def cached(logits: NDArray[np.float32]) -> SoftTargets:
    """Logits computed once, of the inputs as stored: float32 [train, C]."""
    return lambda positions, inputs, epoch: logits[positions]


def replayed(folder: Path, epochs: int) -> SoftTargets:
    """The logits that ``keep`` wrote into ``folder``, mapped into memory; epoch e is that of file e % ``epochs``."""
    kept = [np.load(folder / _file(epoch), mmap_mode="r") for epoch in range(epochs)]
    return lambda positions, inputs, epoch: kept[epoch % epochs][positions].astype(np.float32)


def keep(
    folder: Path,
    teacher: Teacher,
    inputs: Inputs,
    train: NDArray[np.int64],
    spec: FitSpec,
    epochs: int,
    progress: Progress,
) -> None:
    """Writes the teacher's logits of ``epochs`` epochs of augmented inputs, float16 [n, C] each; those there stay.

    ``inputs(positions)`` float32 [B, ...] are those of the training split, ``train`` int64 [n] its positions in Data.x.
    ``folder`` is for these teacher, data and augmentation alone: name it by a hash of them. Raises ModelError where the
    logits are not finite.
    """
    for leftover in folder.glob(".kd-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    missing = [epoch for epoch in range(epochs) if not _is_kept(folder / _file(epoch), len(train))]
    augmentation = Augmentation(inputs, len(train), spec)
    batches = np.array_split(np.arange(len(train)), max(1, -(-len(train) // _BATCH)))
    with progress.task("teacher's logits", epochs, epochs - len(missing)) as task:
        for epoch in missing:
            shown = ahead(lambda batch, epoch=epoch: (augmentation.inputs(batch, epoch), train[batch]), batches)  # type: ignore[misc]
            logits = _finite(np.concatenate([teacher.logits(*each) for each in shown]))
            with artifacts.replacing(folder / _file(epoch)) as temporary:
                np.save(temporary, np.clip(logits, -_LARGEST, _LARGEST).astype(np.float16))
            task.advance()


def clean(run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The ensemble's logits of the training and validation inputs as stored: float32 [n, C] and [m, C].

    Computed once, then read from teacher_logits.npz. Raises ModelError where they are not finite.
    """
    weights, space = [spec.weight for spec in run.spec.teacher], run.spec.distill.ensemble
    train, val = (
        found[0] if len(found) == 1 else teachers.average(list(found), weights, space) for found in members(run)
    )
    return train, val


def members(run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As ``clean``, of each of the M teachers: float32 [M, n, C] and [M, m, C]."""
    path, key = run.path(artifacts.TEACHER_LOGITS), _key(run, [])
    try:
        with np.load(path) as stored:
            if str(stored["key"]) == key:
                return stored["train"], stored["val"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    parts, found = teach.splits(run), teach.load_teachers(run).members
    train, val = (
        _finite(np.stack([distill.predict(each.logits, run.data.inputs, part) for each in found]))
        for part in (parts.train, parts.val)
    )
    artifacts.write_npz(path, key=np.array(key), train=train, val=val)
    return train, val


def of_run(run: Run) -> tuple[SoftTargets, int]:
    """What the student of ``run`` learns from its teachers, and the period of augmentation (see distill.Objective)."""
    spec = run.spec.distill
    if not spec.augments:
        return cached(clean(run)[0]), 0
    teacher = teach.load_teachers(run)
    if not teacher.augments:
        if spec.mixup:
            raise ConfigError("a teacher does not see mixed inputs", where="distill.mixup", todo="set it to 0")
        run.progress.say("  the teacher does not see augmented inputs: its logits are those of the inputs as stored")
        return cached(clean(run)[0]), 0
    return for_teacher(run, teacher, _key(run, [spec.ensemble, *(each.weight for each in run.spec.teacher)]))


def for_teacher(run: Run, teacher: Teacher, key: str) -> tuple[SoftTargets, int]:
    """As ``of_run``, for any teacher whose identity is ``key``."""
    spec, train = run.spec.distill, teach.splits(run).train
    if not spec.augments:
        return cached(_finite(distill.predict(teacher.logits, run.data.inputs, train))), 0
    epochs = min(spec.cache_epochs, spec.epochs)
    if not epochs:
        return live(teacher, train), 0
    settings = {name: value for name, value in spec.model_dump(mode="json").items() if name in _AUGMENTATION}
    folder = run.path(artifacts.SOFT_TARGETS) / sha256_bytes(json.dumps([key, settings]).encode())[:16]
    keep(folder, teacher, teach.samples(run).train_inputs, train, spec, epochs, run.progress)
    return replayed(folder, epochs), epochs


_AUGMENTATION = ("augment_flip", "augment_shift", "augment_noise", "mixup", "augment_seed")


def _key(run: Run, more: list[object]) -> str:
    """Hash of the teachers, of the data and of its splits."""
    files = [sha256_file(run.path(name)) for name in teach.files(run)]
    settings = [spec.model_dump(mode="json", exclude={"weight"}) for spec in run.spec.teacher]
    parts = [files, settings, run.data_fingerprint, sha256_file(run.path(artifacts.SPLITS)), *more]
    return sha256_bytes(json.dumps(parts).encode())


def _file(epoch: int) -> str:
    return f"epoch_{epoch:04}.npy"


def _is_kept(path: Path, samples: int) -> bool:
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return found.dtype == np.float16 and len(found) == samples


def _finite(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(logits).all():
        raise ModelError("gives NaN or infinity", where="the teacher", todo="train it again, or use another")
    return logits
