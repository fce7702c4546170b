"""Teach: every [[teacher]] trained, fine-tuned or taken as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded import artifacts, data, keras_files, tasks, teachers, training
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.config import FitSpec
from kd_embedded.errors import ConfigError
from kd_embedded.pipeline import Run, Stage, hash_path


def files(run: Run) -> tuple[str, ...]:
    """``teacher.keras``, then ``teacher_2.skops``... for an ensemble; the suffix is the kind's."""
    stem = artifacts.TEACHER
    return tuple(
        f"{stem if number == 1 else f'{stem}_{number}'}{teachers.kind(spec.kind).suffix(spec)}"
        for number, spec in enumerate(run.spec.teacher, 1)
    )


def splits(run: Run) -> data.Splits:
    """The splits as the plan stored them."""
    with np.load(run.path(artifacts.SPLITS)) as stored:
        return data.Splits(stored["train"], stored["val"], stored["test"])


def data_key(run: Run) -> list[Any]:
    """What the data are as models see them, and their splits: JSON, for hashes of what follows from them."""
    return [run.spec.data.model_dump(mode="json"), run.data_fingerprint, sha256_file(run.path(artifacts.SPLITS))]


def samples(run: Run) -> training.Samples:
    """Training and validation samples of the run."""
    found, parts = run.data, splits(run)
    weights = np.ones(len(found.y), np.float32) if found.weights is None else found.weights
    targets = None if found.targets is None else units(run).standardized(found.targets)
    return training.Samples(
        lambda positions: found.inputs(parts.train[positions]),
        found.y[parts.train],
        weights[parts.train],
        lambda positions: found.inputs(parts.val[positions]),
        found.y[parts.val],
        found.task,
        None if targets is None else targets[parts.train],
        None if targets is None else targets[parts.val],
    )


def units(run: Run) -> tasks.Units:
    """What a regression's outputs are measured in while training, by the training targets."""
    assert run.data.targets is not None
    train = splits(run).train
    return tasks.Units.of(run.data.targets[train[run.data.y[train] >= 0]])


def fit(
    run: Run,
    model: Any,
    settings: FitSpec,
    objective: training.Objective,
    *,
    fresh: bool,
    seed: int,
    checkpoint: Path,
    key: str,
    title: str,
    after_step: training.AfterStep | None = None,
    best_from: int = 0,
) -> training.History:
    """``training.fit`` on the samples of ``run``; of a regression in standardised outputs, see tasks.fit."""

    def train(standardized: Any) -> training.History:
        return training.fit(
            standardized,
            samples(run),
            settings,
            objective,
            seed=seed,
            checkpoint=checkpoint,
            key=key,
            title=title,
            progress=run.progress,
            after_step=after_step,
            best_from=best_from,
        )

    return tasks.fit(model, None if run.data.targets is None else units(run), train, fresh=fresh)


def work(run: Run) -> None:
    """Writes the teachers and teacher_history.json, a list of epochs for each; one that is there already stays.

    Raises ConfigError before any is trained where the data do not suit what is asked of them.
    """
    keras_files.start_tensorflow()
    _check_images(run)
    for spec in run.spec.teacher:
        teachers.check_scale(spec, run.data.input_shape[-1])
    count, known = len(run.spec.teacher), _known(run)
    keys = [_own_key(run, index) for index in range(count)]
    histories = [known[key] if key in known else teachers.make(_job(run, index)) for index, key in enumerate(keys)]
    artifacts.write_json(run.path(artifacts.TEACHER_HISTORY), histories)
    run.notes = {"teachers": list(zip(files(run), keys, strict=True))}


def _own_key(run: Run, index: int) -> str:
    """Hash of what one teacher follows from: not its weight in an ensemble, nor the other teachers."""
    spec = run.spec.teacher[index]
    sources = [hash_path(artifacts.locate(run.base, name)) for name in teachers.kind(spec.kind).files(spec)]
    settings = [spec.model_dump(mode="json", exclude={"weight"}), run.spec.project.seed, files(run)[index]]
    return sha256_bytes(json.dumps([settings, sources, data_key(run)]).encode())


def _known(run: Run) -> dict[str, training.History]:
    """The histories of the teachers that the run folder has, by their keys, where files and history are as written."""
    entry = run.state.get(STAGE.name, {})
    wrote, teachers_then = entry.get("wrote", {}), entry.get("teachers", [])
    whole = {name for name, sha in wrote.items() if run.path(name).exists() and hash_path(run.path(name)) == sha}
    if artifacts.TEACHER_HISTORY not in whole:
        return {}
    histories = artifacts.read_json(run.path(artifacts.TEACHER_HISTORY))
    return {key: found for (name, key), found in zip(teachers_then, histories, strict=False) if name in whole}


def load_teachers(run: Run) -> teachers.Ensemble:
    """The run's teachers as the teach stage left them, as one; those of a regression with standardised outputs.

    Raises ConfigError where the data are no images and images are asked for.
    """
    members: list[teachers.Teacher] = [teachers.load(_job(run, index)) for index in range(len(run.spec.teacher))]
    if run.data.targets is not None:
        members = [teachers.Standardized(member, units(run)) for member in members]
    space = run.spec.distill.ensemble
    _check_images(run)
    if run.spec.distill.teacher_mirror:
        members = [teachers.Mirrored(member, space) for member in members]
    return teachers.Ensemble(members, [spec.weight for spec in run.spec.teacher], space)


def _check_images(run: Run) -> None:
    """Raises ConfigError where what is no image is mirrored or shifted in distilling."""
    if len(run.data.input_shape) == 3:
        return
    for key in ("teacher_mirror", "augment_flip", "augment_shift"):
        if getattr(run.spec.distill, key):
            raise ConfigError("is for images, and the data is none", where=f"distill.{key}", todo="leave it out")


def _job(run: Run, index: int) -> teachers.Job:
    spec, several = run.spec.teacher[index], len(run.spec.teacher) > 1
    if run.data.task != tasks.CLASSIFICATION:
        spec = spec.model_copy(update={"outputs": "logits"})  # outputs as they are
    seed = run.spec.project.seed + 1000 * index
    title = f"teacher {index + 1} of {len(run.spec.teacher)}" if several else "teacher"

    def train(model: Any, settings: FitSpec, phase: int) -> training.History:
        return fit(
            run,
            model,
            settings,
            training.Objective(),
            fresh=phase == 0 and spec.mode == "train",
            seed=seed,
            checkpoint=run.checkpoint(STAGE, 2 * index + phase),
            key=_own_key(run, index),
            title=f"{title}, fine-tuned" if phase else title,
        )

    path = run.path(files(run)[index])
    return teachers.Job(spec, run.base, path, seed, run.data, splits(run), inputs_sha256(run), train)


def inputs_sha256(run: Run) -> str:
    """Of the data as models see them: what a file of precomputed logits says that it was made for."""
    spec, data = run.spec.data, run.data
    seen = [run.data_fingerprint, data.task, data.scale, data.offset, spec.image_size, spec.color]
    return sha256_bytes(json.dumps(seen).encode())


def _sources(run: Run) -> tuple[str, ...]:
    return tuple(name for spec in run.spec.teacher for name in teachers.kind(spec.kind).files(spec))


STAGE = Stage(
    name="teach",
    sections=("data", "teacher"),
    reads=lambda run: (artifacts.SPLITS,),
    writes=lambda run: (*files(run), artifacts.TEACHER_HISTORY),
    files=_sources,
    work=work,
    needs_data=True,
)
