"""Distil: the student learns the labels and, by a recipe, what the teachers say of them."""

from __future__ import annotations

import json
from typing import Any

from kd_embedded import artifacts, distill, keras_files, pruning, recipes, soft_targets, tasks, training
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.config import StudentSpec
from kd_embedded.pipeline import Run, Stage
from kd_embedded.recipes._auto import choose
from kd_embedded.stages import plan, teach
from kd_embedded.teachers.keras import KerasTeacher


def work(run: Run) -> None:
    """Writes student.keras and student_history.json; with a teacher assistant, assistant.keras before."""
    keras_files.start_tensorflow()
    student, name = plan.build(run, run.spec.student), "kd"
    if run.spec.distill.alpha > 0.0:
        name, why = method(run, student)
        run.notes = {"recipe": name, "why": why}
        if why:
            run.progress.say(f"  {name}: {why}")
        if recipes.has_assistant(name):
            _teach_assistant(run)
    prune, epochs = run.spec.student.prune, run.spec.distill.epochs
    after_step, best_from = (
        (pruning.after_step(student, epochs, prune), pruning.settled(epochs)) if prune else (None, 0)
    )
    fresh = not run.spec.student.file  # one that is trained already gives real units
    history = _fit(run, student, objective(run, name), "student", 0, after_step, best_from, fresh=fresh)
    if prune:
        before, student = student.count_params(), pruning.removed(student)
        run.notes["unpruned_parameters"] = before
        run.progress.say(f"  pruned: {student.count_params():,} parameters of {before:,}")
    keras_files.save(student, run.path(artifacts.STUDENT))
    artifacts.write_json(run.path(artifacts.STUDENT_HISTORY), history)


def method(run: Run, student: Any) -> tuple[str, str]:
    """The recipe that the Keras model ``student`` learns by, and why where it is not simply the one asked for."""
    name, why = run.spec.distill.method, ""
    if run.data.task != tasks.CLASSIFICATION:
        return tasks.RECIPE, f"picked by method = auto: {tasks.WHY}" if name == "auto" else ""
    if name == "auto":
        examination = artifacts.read_json(run.path(artifacts.EXAMINATION))
        name, why = choose(examination, run.data.classes, student.count_params())
        why = f"picked by method = auto: {why}"
    used, fallback = recipes.effective(name, run.data.classes)
    return used, fallback or why


def objective(run: Run, name: str, *, fine_tuned: int = 0) -> training.Objective:
    """What a student learns in this run by the recipe ``name``, the assistant's part included once there is one.

    One that is ``fine_tuned`` for some epochs has no feature maps any more: plain distillation replaces such a recipe.
    """
    spec, maps = run.spec.distill, None
    if spec.alpha == 0.0:
        return training.Objective()
    if recipes.get(name).FEATURES:
        if fine_tuned:
            name = "kd"
        else:
            maps = distill.Features(teach.load_teachers(run).model, spec.student_layers, spec.teacher_layers)
    soft, period = (None, 0) if maps else _soft_targets(run, name, fine_tuned)
    return training.Objective(
        soft,
        spec.alpha,
        spec.temperature,
        recipe=name,
        parameters={} if name != spec.method else spec.parameters,
        features=maps,
        period=period,
    )


def _soft_targets(run: Run, name: str, epochs: int) -> tuple[distill.SoftTargets, int]:
    if not recipes.has_assistant(name):
        return soft_targets.of_run(run, epochs)
    path = run.path(artifacts.ASSISTANT)
    key = sha256_bytes(json.dumps([sha256_file(path), teach.data_key(run)]).encode())
    return soft_targets.for_teacher(run, lambda: KerasTeacher(keras_files.load(path)), key, epochs)


def _teach_assistant(run: Run) -> None:
    """Writes assistant.keras. Until the stage is done its checkpoint keeps what was trained."""
    spec, own = run.spec.distill, run.spec.student
    wide = StudentSpec.model_construct(
        arch=spec.assistant_arch or own.arch,
        width=spec.assistant_width * (1.0 if spec.assistant_arch else own.width),
    )
    assistant = plan.build(run, wide)
    soft, period = soft_targets.of_run(run)
    goal = training.Objective(soft, spec.alpha, spec.temperature, period=period)
    _fit(run, assistant, goal, "assistant", 1, fresh=True)
    keras_files.save(assistant, run.path(artifacts.ASSISTANT))


def _fit(
    run: Run,
    model: Any,
    goal: training.Objective,
    title: str,
    number: int,
    after_step: training.AfterStep | None = None,
    best_from: int = 0,
    *,
    fresh: bool,
) -> training.History:
    return teach.fit(
        run,
        model,
        run.spec.distill,
        goal,
        fresh=fresh,
        seed=run.spec.project.seed,
        checkpoint=run.checkpoint(STAGE, number),
        key=f"{run.key(STAGE)} {title}",
        title=title,
        after_step=after_step,
        best_from=best_from,
    )


def _writes(run: Run) -> tuple[str, ...]:
    assisted = recipes.has_assistant(run.notes.get("recipe", "kd"))
    return (artifacts.STUDENT, artifacts.STUDENT_HISTORY, *((artifacts.ASSISTANT,) if assisted else ()))


STAGE = Stage(
    name="distill",
    sections=("data", "teacher", "student", "distill"),
    reads=lambda run: (
        *(artifacts.SPLITS, *teach.files(run)),
        *((artifacts.EXAMINATION,) if run.spec.distill.method == "auto" else ()),
    ),
    writes=_writes,
    files=plan.own_files,
    work=work,
    needs_data=True,
)
