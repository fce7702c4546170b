"""Teach: every [[teacher]] trained, fine-tuned or taken as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from kd_embedded import artifacts, data, keras_files, teachers, training
from kd_embedded.config import FitSpec
from kd_embedded.pipeline import Run, Stage


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


def samples(run: Run) -> training.Samples:
    """Training and validation samples of the run."""
    found, parts = run.data, splits(run)
    weights = np.ones(len(found.y), np.float32) if found.weights is None else found.weights
    return training.Samples(
        lambda positions: found.inputs(parts.train[positions]),
        found.y[parts.train],
        weights[parts.train],
        lambda positions: found.inputs(parts.val[positions]),
        found.y[parts.val],
    )


def work(run: Run) -> None:
    """Writes the teachers and teacher_history.json, a list of epochs for each."""
    keras_files.start_tensorflow()
    histories = [teachers.make(_job(run, index)) for index in range(len(run.spec.teacher))]
    artifacts.write_json(run.path(artifacts.TEACHER_HISTORY), histories)


def load_teachers(run: Run) -> teachers.Ensemble:
    """The run's teachers as the teach stage left them, as one."""
    members = [teachers.load(_job(run, index)) for index in range(len(run.spec.teacher))]
    return teachers.Ensemble(members, [spec.weight for spec in run.spec.teacher], run.spec.distill.ensemble)


def _job(run: Run, index: int) -> teachers.Job:
    spec, several = run.spec.teacher[index], len(run.spec.teacher) > 1
    seed = run.spec.project.seed + 1000 * index
    title = f"teacher {index + 1} of {len(run.spec.teacher)}" if several else "teacher"

    def fit(model: Any, settings: FitSpec, phase: int) -> training.History:
        return training.fit(
            model,
            samples(run),
            settings,
            training.Objective(),
            seed=seed,
            checkpoint=run.checkpoint(STAGE, index + len(run.spec.teacher) * phase),
            key=run.key(STAGE),
            title=f"{title}, fine-tuned" if phase else title,
            progress=run.progress,
        )

    path = run.path(files(run)[index])
    return teachers.Job(spec, run.base, path, seed, run.data, splits(run), run.data_fingerprint, fit)


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
