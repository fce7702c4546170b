"""Distil: the student learns the labels and the teachers' soft targets."""

from __future__ import annotations

import json

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
    objective = training.Objective(_soft_targets(run), spec.alpha, spec.temperature)
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


def _soft_targets(run: Run) -> distill.SoftTargets | None:
    """None where alpha is 0; live where inputs are augmented; else logits that are computed once and kept on disk."""
    if run.spec.distill.alpha == 0.0:
        return None
    train = teach.splits(run).train
    if run.spec.distill.augments:
        return distill.live(teach.load_teachers(run), train)
    teachers = "".join(sha256_file(run.path(name)) for name in teach.files(run))
    settings = [spec.model_dump(mode="json") for spec in run.spec.teacher]
    parts = [
        teachers,
        settings,
        run.spec.distill.ensemble,
        run.data_fingerprint,
        sha256_file(run.path(artifacts.SPLITS)),
    ]
    logits = distill.cached_logits(
        run.path(artifacts.TEACHER_LOGITS),
        sha256_bytes(json.dumps(parts).encode()),
        lambda: distill.predict(teach.load_teachers(run).logits, run.data.inputs, train),
    )
    return distill.cached(logits)


STAGE = Stage(
    name="distill",
    sections=("data", "teacher", "student", "distill"),
    reads=lambda run: (artifacts.SPLITS, *teach.files(run)),
    writes=lambda run: (artifacts.STUDENT, artifacts.STUDENT_HISTORY),
    files=lambda run: tuple(filter(None, (run.spec.student.file,))),
    work=work,
    needs_data=True,
)
