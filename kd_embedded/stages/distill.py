"""Distil: the student learns the labels and the teachers' soft targets."""

from __future__ import annotations

from typing import Any

from kd_embedded import artifacts, distill, keras_files, students, training
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import teach


def work(run: Run) -> None:
    """Writes student.keras and student_history.json."""
    keras_files.start_tensorflow()
    spec, seed = run.spec.distill, run.spec.project.seed
    samples = teach.samples(run)
    student = students.build(run.spec.student, run.data.input_shape, run.data.classes, seed, run.base)
    objective = training.Objective(_soft_targets(run, samples), spec.alpha, spec.temperature)
    history = training.fit(
        student,
        samples,
        spec,
        objective,
        seed=seed,
        checkpoint=run.checkpoint(STAGE),
        key=run.key(STAGE),
        title="student",
        progress=run.progress,
    )
    keras_files.save(student, run.path(artifacts.STUDENT))
    artifacts.write_json(run.path(artifacts.STUDENT_HISTORY), history)


def load_teachers(run: Run) -> list[Any]:
    """The run's own teachers; their Lambda layers, if any, were allowed when they were made."""
    return [
        keras_files.load(run.path(name), allow_lambda=spec.allow_lambda)
        for name, spec in zip(teach.files(run), run.spec.teacher, strict=True)
    ]


def _soft_targets(run: Run, samples: training.Samples) -> distill.SoftTargets | None:
    """None where alpha is 0; live where inputs are augmented; else logits that are computed once and kept on disk."""
    if run.spec.distill.alpha == 0.0:
        return None
    if run.spec.distill.augments:
        return distill.live(load_teachers(run))
    teachers = "".join(sha256_file(run.path(name)) for name in teach.files(run))
    key = sha256_bytes(f"{teachers} {run.data_fingerprint} {sha256_file(run.path(artifacts.SPLITS))}".encode())
    count = len(samples.train_y)
    logits = distill.cached_logits(
        run.path(artifacts.TEACHER_LOGITS),
        key,
        lambda: distill.predict(load_teachers(run), samples.train_inputs, count),
    )
    return distill.cached(logits)


STAGE = Stage(
    name="distill",
    sections=("data", "student", "distill"),
    reads=lambda run: (artifacts.SPLITS, *teach.files(run)),
    writes=lambda run: (artifacts.STUDENT, artifacts.STUDENT_HISTORY),
    files=lambda run: tuple(filter(None, (run.spec.student.file,))),
    work=work,
    needs_data=True,
)
