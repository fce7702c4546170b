"""Teach: every [[teacher]] trained, fine-tuned or taken as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from kd_embedded import artifacts, data, keras_files, teachers, training
from kd_embedded.pipeline import Run, Stage

_SAMPLE = 5000  # training inputs that an architecture may look at before it is trained


def files(run: Run) -> tuple[str, ...]:
    """``teacher.keras``, then ``teacher_2.keras``... for an ensemble."""
    count = len(run.spec.teacher)
    return (artifacts.TEACHER, *(f"teacher_{number}.keras" for number in range(2, count + 1)))


def splits(run: Run) -> data.Splits:
    """The splits as the plan stored them."""
    with np.load(run.path(artifacts.SPLITS)) as stored:
        return data.Splits(stored["train"], stored["val"], stored["test"])


def samples(run: Run) -> training.Samples:
    """Training and validation samples of the run."""
    found, parts = run.data, splits(run)
    return training.Samples(
        lambda positions: found.inputs(parts.train[positions]),
        found.y[parts.train],
        lambda positions: found.inputs(parts.val[positions]),
        found.y[parts.val],
    )


def work(run: Run) -> None:
    """Writes the teachers and teacher_history.json, a list of epochs for each."""
    keras_files.start_tensorflow()
    histories = []
    for index, name in enumerate(files(run)):
        histories.append(_teach(run, index, name))
    artifacts.write_json(run.path(artifacts.TEACHER_HISTORY), histories)


def _teach(run: Run, index: int, name: str) -> training.History:
    spec = run.spec.teacher[index]
    seed = run.spec.project.seed + 1000 * index
    train = splits(run).train
    sample = run.data.inputs(train[data.evenly(run.data.y[train], _SAMPLE, seed)])
    model: Any = teachers.build(spec, run.data.input_shape, run.data.classes, seed, run.base, sample)
    title = f"teacher {index + 1} of {len(run.spec.teacher)}" if len(run.spec.teacher) > 1 else "teacher"
    if spec.file and spec.outputs == "auto":
        todo = 'set outputs = "probabilities" for this teacher'
        keras_files.check_logits(model, run.data.inputs(train[:64]), spec.file, todo)
    history: training.History = []
    if spec.mode != "frozen":
        history = training.fit(
            model,
            samples(run),
            spec,
            training.Objective(),
            seed=seed,
            checkpoint=run.checkpoint(STAGE, index),
            key=run.key(STAGE),
            title=title,
            progress=run.progress,
        )
    keras_files.save(model, run.path(name))
    return history


STAGE = Stage(
    name="teach",
    sections=("data", "teacher"),
    reads=lambda run: (artifacts.SPLITS,),
    writes=lambda run: (*files(run), artifacts.TEACHER_HISTORY),
    files=lambda run: tuple(spec.file for spec in run.spec.teacher if spec.file),
    work=work,
    needs_data=True,
)
