"""A teacher's logits for the loop: run live, computed once, or kept for some epochs of augmented inputs and replayed.

Kept logits are float16, whose 11 significant bits move a softmax of temperature 1 by less than the noise between two
batches; outputs that are no classes, and logits too large for that, are float32. Each epoch is a file of its own,
written whole, so that a kill costs one epoch of the teacher at most.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, cluster, distill, keras_files, tasks, teachers
from kd_embedded.ahead import ahead
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.augment import Augmentation
from kd_embedded.config import RunSpec
from kd_embedded.distill import SoftTargets
from kd_embedded.errors import KdError, ModelError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import teach
from kd_embedded.teachers import Teacher

_SHARD = 16  # batches in a task
_LARGE = 64.0  # logits from which on a step of float16 is no detail of their softmax any more
_FORM = 3  # of what augment.py does, and of the files: logits kept of another form are another cache


def live(teacher: Teacher, train: NDArray[np.int64]) -> SoftTargets:
    """The teacher itself, on the inputs as augmented. ``train`` int64 [n] are the positions in Data.x of the split."""
    return lambda positions, inputs, epoch: finite(teacher.logits(inputs, train[positions]))


def cached(logits: NDArray[np.float32]) -> SoftTargets:
    """Logits computed once, of the inputs as stored: float32 [train, C]."""
    return lambda positions, inputs, epoch: logits[positions]


def replayed(folder: Path, epochs: int) -> SoftTargets:
    """The logits that ``keep`` wrote into ``folder``, mapped into memory; epoch e is that of file e % ``epochs``."""
    kept = [np.load(folder / _file(epoch), mmap_mode="r") for epoch in range(epochs)]
    return lambda positions, inputs, epoch: kept[epoch % epochs][positions].astype(np.float32)


def keep(
    folder: Path,
    load: Callable[[], Teacher],
    augmentation: Augmentation,
    train: NDArray[np.int64],
    epochs: int,
    progress: Progress,
    *,
    dtype: Any = np.float16,
) -> None:
    """Writes the teacher's logits of ``epochs`` epochs of augmented inputs, [n, C] each; those there stay.

    They are ``dtype``, or float32 where some are so large that float16 would be coarse.

    ``load`` gives the teacher, and is called where an epoch is missing; ``train`` int64 [n] are the positions in Data.x
    of the training split. ``folder`` is for these teacher, data and augmentation alone: name it by a hash of them.
    Raises ModelError where the logits are not finite.
    """
    for leftover in folder.glob(".kd-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    missing = _missing(folder, epochs, len(train), dtype)
    if not missing:
        return
    teacher = load()
    with progress.task("teacher's logits", epochs, epochs - len(missing)) as task:
        for epoch in missing:
            _store(folder, epoch, _of_epoch(teacher, augmentation, train, epoch, dtype))
            task.advance()


def _of_epoch(
    teacher: Teacher, augmentation: Augmentation, train: NDArray[np.int64], epoch: int, dtype: Any
) -> NDArray[Any]:
    """The logits of one epoch's augmented inputs, [n, C] of ``dtype``, see ``keep``."""
    shown = ahead(
        lambda batch: (augmentation.inputs(batch, epoch), train[batch]), distill.batches(np.arange(len(train)))
    )
    logits = finite(np.concatenate([teacher.logits(*each) for each in shown]))
    return logits if np.abs(logits).max() > _LARGE else logits.astype(dtype)


def _store(folder: Path, epoch: int, logits: NDArray[Any]) -> None:
    with artifacts.replacing(folder / _file(epoch)) as temporary:
        np.save(temporary, logits)


def clean(run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The ensemble's logits of the training and validation inputs as stored: float32 [n, C] and [m, C].

    Computed once, then read from teacher_logits.npz. Raises ModelError where they are not finite.
    """
    train, val = members(run)
    return mean(run, train), mean(run, val)


def mean(run: Run, found: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ensemble's logits [n, C] where its members have ``found`` [M, n, C]."""
    weights, space = [spec.weight for spec in run.spec.teacher], run.spec.distill.ensemble
    return found[0] if len(found) == 1 else teachers.average(list(found), weights, space)


def members(run: Run, ensemble: teachers.Ensemble | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As ``clean``, of each of the M teachers: float32 [M, n, C] and [M, m, C]; ``ensemble`` where it is loaded."""
    path, key = run.path(artifacts.TEACHER_LOGITS), _key(run, [])
    try:
        with np.load(path) as stored:
            if str(stored["key"]) == key:
                return stored["train"], stored["val"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    train, val = (finite(np.concatenate(part, axis=1)) for part in _shards(run, key, ensemble))
    artifacts.write_npz(path, key=np.array(key), train=train, val=val)
    _forget_tasks(run)
    return train, val


def _shards(
    run: Run, key: str, ensemble: teachers.Ensemble | None
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The members' logits of the training and of the validation split, in parts of some batches: [M, k, C] each."""
    parts = teach.splits(run)
    counts = [len(distill.batches(part)) for part in (parts.train, parts.val)]
    firsts = [range(0, count, _SHARD) for count in counts]
    jobs = [
        {"key": key, "val": val, "first": first, "last": first + _SHARD}
        for val in (False, True)
        for first in firsts[val]
    ]
    found = [each["logits"] for each in _spread(run, shard, jobs, ensemble)]
    return found[: len(firsts[0])], found[len(firsts[0]) :]


def shard(*, key: str, val: bool, first: int, last: int, spec: str, base: str) -> dict[str, NDArray[np.float32]]:
    """A task of ``cluster.run_tasks``: the members' logits of the batches ``first`` to ``last`` of a split as stored.

    ``key`` names teachers, data and splits; ``spec`` is the RunSpec as JSON, ``base`` the folder of kd.toml.
    """
    run, ensemble = _taken_up(key, spec, base)
    parts = teach.splits(run)
    batches = distill.batches(parts.val if val else parts.train)[first:last]
    inputs = [run.data.inputs(batch) for batch in batches]
    found = [
        np.concatenate([member.logits(x, batch) for x, batch in zip(inputs, batches, strict=True)])
        for member in ensemble.members
    ]
    return {"logits": np.stack(found)}


def epoch_shard(*, key: str, epoch: int, spec: str, base: str) -> dict[str, NDArray[Any]]:
    """As ``shard``, the ensemble's logits of all inputs as ``epoch`` shows them."""
    run, ensemble = _taken_up(key, spec, base)
    return {"logits": _of_epoch(ensemble, _augmentation(run), teach.splits(run).train, epoch, _dtype(run))}


_TAKEN_UP: dict[tuple[str, str, str], tuple[Run, teachers.Ensemble]] = {}


def _taken_up(key: str, spec: str, base: str) -> tuple[Run, teachers.Ensemble]:
    """A run and its teachers, made once for all tasks of a process that have the same ``key``."""
    if (key, spec, base) not in _TAKEN_UP:
        keras_files.start_tensorflow()
        run = Run(RunSpec.model_validate_json(spec), Path(base), Progress())
        _TAKEN_UP.clear()
        _TAKEN_UP[key, spec, base] = run, teach.load_teachers(run)
    return _TAKEN_UP[key, spec, base]


def _spread(
    run: Run, function: Callable[..., Any], jobs: list[dict[str, Any]], ensemble: teachers.Ensemble | None = None
) -> Iterator[Any]:
    """The results of ``jobs``, done by the run's workers; what a killed run has is kept until ``_forget_tasks``."""
    spec, base = run.spec.model_dump_json(exclude_unset=True), str(run.base)
    if not (run.workers or run.cluster):
        _TAKEN_UP[jobs[0]["key"], spec, base] = run, ensemble or teach.load_teachers(run)
    try:
        return cluster.run_tasks(
            function,
            jobs,
            folder=_tasks(run),
            places={"spec": spec, "base": base},
            cluster=run.cluster,
            workers=run.workers,
            progress=run.progress,
            title="teacher's logits",
        )
    finally:
        _TAKEN_UP.clear()


def _tasks(run: Run) -> Path:
    return run.path(artifacts.SOFT_TARGETS) / "tasks"


def _forget_tasks(run: Run) -> None:
    """Once their results are stored elsewhere."""
    shutil.rmtree(_tasks(run), ignore_errors=True)
    with suppress(OSError):  # kept epochs stand beside the tasks
        _tasks(run).parent.rmdir()


def of_run(run: Run, epochs: int = 0) -> tuple[SoftTargets, int]:
    """What the student of ``run`` learns from its teachers, and the period of augmentation (see distill.Objective).

    ``epochs`` are those of its training, 0: as [distill] says.
    """
    spec = run.spec.distill
    if not spec.augments:
        return cached(clean(run)[0]), 0
    together = [spec.ensemble, *(each.weight for each in run.spec.teacher)] if len(run.spec.teacher) > 1 else []
    key = _key(run, together)
    if run.workers or run.cluster or _tasks(run).exists():  # a killed run's workers left some
        _spread_epochs(run, key, _kept(run, epochs))
    return for_teacher(run, lambda: teach.load_teachers(run), key, epochs)


def _spread_epochs(run: Run, key: str, epochs: int) -> None:
    """Does what ``for_teacher`` would, an epoch a task."""
    folder = _folder(run, key)
    missing = _missing(folder, epochs, len(teach.splits(run).train), _dtype(run))
    if not missing:
        return
    _check_room(run, len(missing), copies=2)  # the results of tasks stand beside them for a while
    jobs = [{"key": folder.name, "epoch": epoch} for epoch in missing]
    for epoch, found in zip(missing, _spread(run, epoch_shard, jobs), strict=True):
        _store(folder, epoch, found["logits"])
    _forget_tasks(run)


def for_teacher(run: Run, load: Callable[[], Teacher], key: str, epochs: int = 0) -> tuple[SoftTargets, int]:
    """As ``of_run``, for any teacher whose identity is ``key``; ``load`` gives it, and is called where it is asked."""
    train, kept = teach.splits(run).train, _kept(run, epochs)
    if not run.spec.distill.augments:
        return cached(finite(distill.predict(load().logits, run.data.inputs, train))), 0
    if not kept:
        return live(load(), train), 0
    folder = _folder(run, key)
    _check_room(run, len(_missing(folder, kept, len(train), _dtype(run))))
    keep(folder, load, _augmentation(run), train, kept, run.progress, dtype=_dtype(run))
    return replayed(folder, kept), kept


def _check_room(run: Run, epochs: int, copies: int = 1) -> None:
    """Raises KdError where the disk has no room for the logits of so many ``epochs``."""
    needed = copies * epochs * len(teach.splits(run).train) * run.data.outputs * np.dtype(_dtype(run)).itemsize
    free = shutil.disk_usage(run.folder).free
    if needed > free:
        what = f"the teacher's logits of {epochs} epochs need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free"
        raise KdError(what, where=str(run.folder), todo="lower distill.cache_epochs, or free some space")


def _kept(run: Run, epochs: int) -> int:
    """How many epochs of augmented inputs have their logits kept, see ``of_run``."""
    return min(run.spec.distill.cache_epochs, epochs or run.spec.distill.epochs)


def _augmentation(run: Run) -> Augmentation:
    samples = teach.samples(run)
    return Augmentation(samples.train_inputs, samples.train_y >= 0, run.spec.distill)


def _dtype(run: Run) -> Any:
    """Of kept outputs: those that are no classes have units of their own, and need not be near zero."""
    return np.float16 if run.data.task == tasks.CLASSIFICATION else np.float32


def _folder(run: Run, key: str) -> Path:
    """Where the logits of the teacher ``key`` are kept for the run's augmentation."""
    settings = {
        name: value for name, value in run.spec.distill.model_dump(mode="json").items() if name in _AUGMENTATION
    }
    parts = [key, settings, _FORM]
    return run.path(artifacts.SOFT_TARGETS) / sha256_bytes(json.dumps(parts).encode())[:16]


_AUGMENTATION = ("augment_flip", "augment_shift", "augment_noise", "mixup", "augment_seed")


def _key(run: Run, more: Sequence[object]) -> str:
    """Hash of the teachers and of what they are asked about."""
    files = [sha256_file(run.path(name)) for name in teach.files(run)]
    settings = [spec.model_dump(mode="json", exclude={"weight"}) for spec in run.spec.teacher]
    mirror = ["mirror", run.spec.distill.ensemble] if run.spec.distill.teacher_mirror else []
    return sha256_bytes(json.dumps([files, settings, teach.data_key(run), mirror, more]).encode())


def _file(epoch: int) -> str:
    return f"epoch_{epoch:04}.npy"


def _missing(folder: Path, epochs: int, samples: int, dtype: Any) -> list[int]:
    return [epoch for epoch in range(epochs) if not _is_kept(folder / _file(epoch), samples, dtype)]


def _is_kept(path: Path, samples: int, dtype: Any) -> bool:
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return found.dtype in (dtype, np.float32) and len(found) == samples


def finite(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """``logits`` [N, C] as they are. Raises ModelError where they hold NaN or infinity."""
    if not np.isfinite(logits).all():
        raise ModelError("gives NaN or infinity", where="the teacher", todo="train it again, or use another")
    return logits
