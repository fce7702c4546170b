"""Validate: teacher, float student and int8 student on the test split, and the interpreters side by side."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, codegen, distill, keras_files
from kd_embedded import validate as validation
from kd_embedded.codegen.arena import Arena
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import teach
from kd_embedded.stages.distill import load_teachers


def work(run: Run) -> None:
    """Writes validation.json, the arena in it. What falls short stands there: `validation.failures` tells it."""
    keras_files.start_tensorflow()
    test = teach.splits(run).test
    x = run.data.inputs(test)
    model = run.path(artifacts.STUDENT_INT8).read_bytes()
    spec = run.spec.codegen
    graph = codegen.checked_graph(model, artifacts.STUDENT_INT8, spec.engine)
    arena = codegen.ENGINES[spec.engine].arena(model, graph)
    fits = {board.name: codegen.fit(model, graph, board, spec, arena) for board in run.boards}
    document = validation.validate(
        run.path(artifacts.STUDENT_INT8),
        x,
        run.data.y[test],
        class_names=run.data.class_names,
        teacher_logits=_teacher_scores(run, x),
        student_logits=distill.predict([keras_files.load(run.path(artifacts.STUDENT))], lambda i: x[i], len(x))[:, 0],
        budgets=run.spec.budgets,
        sizes={name: (found.flash_bytes, found.ram_bytes) for name, found in fits.items()},
        engine=spec.engine,
        progress=run.progress,
    )
    exact = Arena(max(found.arena_bytes for found in fits.values()), probed=True)
    artifacts.write_json(run.path(artifacts.VALIDATION), {**document, "arena": asdict(arena or exact)})


def _teacher_scores(run: Run, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The soft targets at temperature 1, averaged over an ensemble: float32 [N, C]."""
    logits = distill.predict(load_teachers(run), lambda i: x[i], len(x))
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    averaged: NDArray[np.float32] = (exponentials / exponentials.sum(-1, keepdims=True)).mean(1)
    return averaged


STAGE = Stage(
    name="validate",
    sections=("project", "data", "teacher", "budgets", "codegen"),
    reads=lambda run: (artifacts.SPLITS, *teach.files(run), artifacts.STUDENT, artifacts.STUDENT_INT8),
    writes=lambda run: (artifacts.VALIDATION,),
    work=work,
    needs_data=True,
    needs_boards="chosen",
    needs_interpreters=True,
)
