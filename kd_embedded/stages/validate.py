"""Validate: teacher, float student and int8 student on the test split, and the interpreters side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from numpy.typing import NDArray

from kd_embedded import artifacts, codegen, distill, keras_files, soft_targets, tasks
from kd_embedded import validate as validation
from kd_embedded.codegen.arena import Arena
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import teach
from kd_embedded.teachers.keras import KerasTeacher


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
    classes = run.data.task == tasks.CLASSIFICATION
    teacher_logits = soft_targets.finite(distill.predict(teach.load_teachers(run).logits, run.data.inputs, test))
    if run.data.targets is not None:
        teacher_logits = teach.units(run).real(teacher_logits)
    student = KerasTeacher(keras_files.load(run.path(artifacts.STUDENT)))
    document = validation.validate(
        run.path(artifacts.STUDENT_INT8),
        x,
        run.data.y[test] if classes else None,
        class_names=run.data.class_names,
        teacher_logits=teacher_logits,
        student_logits=distill.predict(student.logits, run.data.inputs, test),
        budgets=run.spec.budgets,
        sizes={name: (found.flash_bytes, found.ram_bytes) for name, found in fits.items()},
        engine=spec.engine,
        errors=None if classes else lambda outputs: _errors(run, outputs),
        progress=run.progress,
    )
    exact = Arena(max(found.arena_bytes for found in fits.values()), probed=True)
    artifacts.write_json(run.path(artifacts.VALIDATION), {**document, "arena": asdict(arena or exact)})


def _errors(run: Run, outputs: NDArray[Any]) -> dict[str, Any]:
    """Figures of ``outputs`` [N, D] for the test split."""
    found, test = run.data, teach.splits(run).test
    return tasks.figures(found.task, outputs, found.numbers(test), found.output_names, found.y[test])


STAGE = Stage(
    name="validate",
    sections=("project", "data", "teacher", "distill", "budgets", "codegen"),
    reads=lambda run: (artifacts.SPLITS, *teach.files(run), artifacts.STUDENT, artifacts.STUDENT_INT8),
    writes=lambda run: (artifacts.VALIDATION,),
    work=work,
    needs_data=True,
    needs_boards="chosen",
    needs_interpreters=True,
)
