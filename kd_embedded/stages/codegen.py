"""Codegen: a PlatformIO project for every board, with golden vectors from the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded import artifacts, codegen, data, golden, tasks
from kd_embedded.codegen.arena import Arena
from kd_embedded.codegen.folder import MARKER
from kd_embedded.config import SECTIONS, config_sha256
from kd_embedded.errors import ModelError
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import teach
from kd_embedded.tflite.graph import Graph
from kd_embedded.validate import departure


def work(run: Run) -> None:
    """Writes firmware/<board>/ for every board, all decided before any is written.

    Raises ModelError where the validation found that the engine computes other bytes than the reference.
    """
    validation, spec = artifacts.read_json(run.path(artifacts.VALIDATION)), run.spec.codegen
    if wrong := departure(validation):
        raise ModelError(f"no firmware is made: {wrong}", where=artifacts.STUDENT_INT8)
    model = run.path(artifacts.STUDENT_INT8).read_bytes()
    graph = codegen.checked_graph(model, artifacts.STUDENT_INT8, spec.engine)
    vectors = _vectors(run, model, graph)
    plans = [
        codegen.plan(
            model,
            board,
            run.path(artifacts.FIRMWARE) / board.name,
            where=artifacts.STUDENT_INT8,
            name=run.spec.project.name,
            labels=run.data.class_names,
            golden=vectors,
            provenance=_provenance(run, validation),
            arena=Arena(**validation["arena"]),
            engine=spec.engine,
            optimize=spec.optimize,
            task=run.data.task,
        )
        for board in run.boards
    ]
    kept = {board.name for board in run.boards}
    for other in sorted(run.path(artifacts.FIRMWARE).glob(f"*/{MARKER}")):
        if other.parent.name not in kept:
            run.progress.say(f"  {other.parent}: is of an earlier run, for a board that is not asked for any more")
    for plan in plans:
        project = plan.write()
        run.progress.say(
            f"  {plan.out.name}: {project.flash_bytes / 1024:.0f} KiB flash, {project.ram_bytes / 1024:.0f} KiB RAM, "
            f"arena {project.arena_bytes} bytes"
        )


def _vectors(run: Run, model: bytes, graph: Graph) -> golden.Golden:
    assert graph.input.quant is not None  # checked_graph has seen to it
    test = teach.splits(run).test
    chosen = test[data.evenly(run.data.y[test], run.spec.codegen.golden_vectors, run.spec.project.seed)]
    x_q = golden.quantize(run.data.inputs(chosen), graph.input.quant)
    labels = run.data.y[chosen] if run.data.task == tasks.CLASSIFICATION else None
    on_tflm = run.spec.codegen.engine == "tflm"
    return golden.from_inputs(model, x_q, source="test split", labels=labels, on_tflm=on_tflm)


def _provenance(run: Run, validation: Mapping[str, Any]) -> dict[str, str]:
    accuracy, errors = validation["accuracy"]["student_int8"], validation.get("errors")
    return {
        "config_sha256": config_sha256(run.spec),
        "data": run.spec.data.source,
        "input_values": f"stored value * {run.data.scale:.9g} + {run.data.offset:.9g}",
        **({"test": tasks.told(errors["student_int8"])} if errors else {"test_accuracy": f"{100 * accuracy:.2f} %"}),
    }


STAGE = Stage(
    name="codegen",
    sections=tuple(SECTIONS),
    reads=lambda run: (artifacts.SPLITS, artifacts.STUDENT_INT8, artifacts.VALIDATION),
    writes=lambda run: tuple(f"{artifacts.FIRMWARE}/{board.name}" for board in run.boards),
    work=work,
    needs_data=True,
    needs_boards="chosen",
    needs_interpreters=True,
    needs_tool=True,
)
