"""Validate: teacher, float student and int8 student on the test split, and the interpreters side by side."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, codegen, distill, keras_files
from kd_embedded import validate as validation
from kd_embedded.codegen.arena import Arena, size_arena
from kd_embedded.fit import fit
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import teach
from kd_embedded.stages.distill import load_teachers
from kd_embedded.tflite.graph import Graph


def work(run: Run) -> None:
    """Writes validation.json, the arena in it. What falls short stands there: `validation.failures` tells it."""
    keras_files.start_tensorflow()
    test = teach.splits(run).test
    x = run.data.inputs(test)
    model = run.path(artifacts.STUDENT_INT8).read_bytes()
    graph = codegen.checked_graph(model, artifacts.STUDENT_INT8)
    arena = size_arena(model, graph)
    document = validation.validate(
        run.path(artifacts.STUDENT_INT8),
        x,
        run.data.y[test],
        class_names=run.data.class_names,
        teacher_logits=_teacher_scores(run, x),
        student_logits=distill.predict([keras_files.load(run.path(artifacts.STUDENT))], lambda i: x[i], len(x))[:, 0],
        budgets=run.spec.budgets,
        sizes=_sizes(run, graph, arena),
        progress=run.progress,
    )
    artifacts.write_json(run.path(artifacts.VALIDATION), {**document, "arena": asdict(arena)})


def _teacher_scores(run: Run, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The soft targets at temperature 1, averaged over an ensemble: float32 [N, C]."""
    logits = distill.predict(load_teachers(run), lambda i: x[i], len(x))
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    averaged: NDArray[np.float32] = (exponentials / exponentials.sum(-1, keepdims=True)).mean(1)
    return averaged


def _sizes(run: Run, graph: Graph, arena: Arena) -> dict[str, tuple[int, int]]:
    """Flash and RAM of the whole firmware on each board, in bytes."""
    vectors = run.spec.codegen.golden_vectors
    found = {board.name: fit(board, graph, arena.bytes, golden_vectors=vectors) for board in run.boards}
    return {name: (sizes.flash_bytes, sizes.ram_bytes) for name, sizes in found.items()}


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
