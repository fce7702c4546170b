"""Plan: the splits, and whether the student fits the boards, known before anything is trained.

The untrained student is quantized for real, so its sizes are those of the trained one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_embedded import artifacts, codegen, keras_files, pruning, qat, students, tasks
from kd_embedded import quantize as quantization
from kd_embedded.boards import Board
from kd_embedded.config import StudentSpec
from kd_embedded.errors import BudgetError, KdError, ModelError
from kd_embedded.fit import Fit
from kd_embedded.pipeline import Run, Stage
from kd_embedded.tflite.analyze import analyze
from kd_embedded.tflite.check import tflm_departures


def work(run: Run) -> None:
    """Writes splits.npz and plan.json. Raises KdError where the student cannot fit, with the width that does."""
    keras_files.start_tensorflow()
    _ = run.splits  # what is wrong with the data comes first
    document, misfits = measure(run, run.spec.student)
    if misfits:
        raise _refusal(run, misfits)
    run.store()  # from here on the folder holds something, so it says whose it is
    splits = run.splits
    artifacts.write_npz(run.path(artifacts.SPLITS), train=splits.train, val=splits.val, test=splits.test)
    artifacts.write_json(run.path(artifacts.PLAN), document)
    _tell(run, document)


def build(run: Run, spec: StudentSpec) -> Any:
    """The untrained student of ``spec`` for the data of ``run``, see students.build."""
    data = run.data
    return students.build(spec, data.input_shape, data.outputs, run.spec.project.seed, run.base, data.noun)


def settings(run: Run) -> quantization.Settings:
    """The converter settings of the config, Dense per tensor where a chosen board's library needs it."""
    spec = run.spec.quantize
    needs = spec.dense == "auto" and run.spec.codegen.engine == "tflm"
    needs = needs and not all(board.library.per_channel_dense for board in run.boards)
    return quantization.Settings(
        spec.output == "softmax", needs or spec.dense == "per-tensor", spec.representative_samples
    )


def measure(run: Run, spec: StudentSpec) -> tuple[dict[str, Any], Mapping[str, KdError]]:
    """The sizes of ``spec``'s student for the data of ``run``, as plan.json has them, and what keeps it off each board.

    Raises KdError where no width of it can run.
    """
    student = build(run, spec)
    sample = run.data.inputs(run.splits.train[:64])
    where = spec.file or f"student {spec.arch}"
    if spec.file and run.data.task == tasks.CLASSIFICATION:
        keras_files.check_logits(student, sample, where, "end it in logits, or in a single softmax")
    if spec.prune:
        student = pruning.narrowed(student, spec.prune)
    _part_weights(student)
    engine, chosen = codegen.ENGINES[run.spec.codegen.engine], run.spec.codegen
    model, graph = quantization.quantize(student, sample, settings(run), where, chosen.engine)
    if run.spec.quantize.insists:
        qat.trace(student, sample[:8], where, trained=run.spec.quantize.qat_epochs != 0)
    for departure in tflm_departures(graph) if chosen.engine == "tflm" else ():
        raise KdError(
            f"op {departure.op_index} ({departure.op_name}) is not the same in TensorFlow Lite Micro: {departure.why}",
            where=where,
            todo="replace that layer",
        )
    arena = engine.arena(model, graph)
    fits = {board.name: codegen.fit(model, graph, board, chosen, arena) for board in run.boards}
    cost = analyze(graph)
    document = {
        "student": spec.file or spec.arch,
        "width": spec.width,
        "parameters": student.count_params(),
        "macs": cost.macs,
        "model_bytes": len(model),
        "arena_bytes": arena.bytes if arena else max(found.arena_bytes for found in fits.values()),
        "arena_probed": arena is None or arena.probed,
        "boards": {name: _sizes(board, found) for board, (name, found) in zip(run.boards, fits.items(), strict=True)},
    }
    where = f"{spec.file} on" if spec.file else f"student {spec.arch} at width {spec.width:g} on"
    for name, found in fits.items():
        if not found.suits:
            todo = "" if "quantize with" in found.reason else "replace that layer, or take another board"
            raise KdError(found.reason, where=f"{where} {name}", todo=todo)
    problems = {name: _problem(run, found, f"{where} {name}") for name, found in fits.items()}
    return document, {name: problem for name, problem in problems.items() if problem}


def _part_weights(student: Any) -> None:
    """Makes weights that begin alike differ: the converter stores equal tensors once, and training parts them."""
    generator = np.random.default_rng(0)
    for weight in student.variables:
        values = weight.numpy()
        if values.dtype.kind == "f":
            noise = generator.normal(0.0, 0.01, values.shape)
            weight.assign(values * (1.0 + noise) if np.any(values) else noise)


def _problem(run: Run, found: Fit, where: str) -> KdError | None:
    """What keeps the firmware off a board, or out of a budget of the config."""
    if not found.fits:
        return KdError(found.reason, where=where)
    budgets = run.spec.budgets
    for name, limit, measured in (
        ("max_flash_kib", budgets.max_flash_kib, found.flash_bytes / 1024),
        ("max_ram_kib", budgets.max_ram_kib, found.ram_bytes / 1024),
    ):
        if 0 < limit < measured:
            return BudgetError(f"needs {measured:.1f} KiB, and the budget {name} is {limit:g}", where=where)
    return None


def _sizes(board: Board, found: Fit) -> dict[str, Any]:
    return {
        "flash_bytes": found.flash_bytes,
        "flash_limit": board.flash_bytes,
        "ram_bytes": found.ram_bytes,
        "ram_limit": board.ram_bytes,
    }


def _refusal(run: Run, misfits: Mapping[str, KdError]) -> KdError:
    problem = next(iter(misfits.values()))
    spec = run.spec.student
    if spec.file:
        todo = "change the student, or take another board"
    else:
        run.progress.say(f"  {spec.arch} at width {spec.width:g} does not fit; looking for the largest width that does")
        best = _largest_width(run)
        todo = f"the largest width that fits is {best:g}" if best else f"no width of {spec.arch} fits; take another"
    return type(problem)(problem.what, where=problem.where, todo=todo)


def _largest_width(run: Run) -> float:
    """Bisects widths in steps of 1/20 below the one asked for; 0 where none fits, or pruning takes nothing off it."""
    low, high, taken = 0, int(run.spec.student.width * 20 + 0.999), 0.0
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _, misfits = measure(run, run.spec.student.model_copy(update={"width": middle / 20}))
        except ModelError as error:
            if error.where != "student.prune":
                raise
            low = middle  # too narrow to be pruned
            continue
        low, high, taken = (low, middle, taken) if misfits else (middle, high, middle / 20)
    return taken


def own_files(run: Run) -> tuple[str, ...]:
    """The user's file of the student, where it is one."""
    return tuple(filter(None, (run.spec.student.file,)))


def _tell(run: Run, document: Mapping[str, Any]) -> None:
    run.progress.say(
        f"  {document['student']}: {document['parameters']} parameters, {document['macs']} MACs, "
        f"{document['model_bytes']} bytes as int8, arena {document['arena_bytes']}"
    )
    for name, sizes in document["boards"].items():
        run.progress.say(
            f"  {name}: flash {sizes['flash_bytes'] // 1024} of {sizes['flash_limit'] // 1024} KiB, "
            f"RAM {sizes['ram_bytes'] // 1024} of {sizes['ram_limit'] // 1024} KiB"
        )


STAGE = Stage(
    name="plan",
    sections=("project", "data", "student", "quantize", "codegen", "budgets"),
    writes=lambda run: (artifacts.SPLITS, artifacts.PLAN),
    files=own_files,
    work=work,
    needs_data=True,
    needs_boards="chosen",
    needs_interpreters=True,
)
