"""Quantize: the student to full-int8 TFLite, calibrated on training samples."""

from __future__ import annotations

from kd_embedded import artifacts, data, keras_files
from kd_embedded import quantize as quantization
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import plan, teach


def work(run: Run) -> None:
    """Writes student_int8.tflite; the converter's settings go to run.json."""
    keras_files.start_tensorflow()
    student = keras_files.load(run.path(artifacts.STUDENT))
    settings = plan.settings(run)
    train = teach.splits(run).train
    chosen = data.evenly(run.data.y[train], settings.representative_samples, run.spec.project.seed)
    representative, engine = run.data.inputs(train[chosen]), run.spec.codegen.engine
    model, graph = quantization.quantize(student, representative, settings, artifacts.STUDENT, engine)
    artifacts.write_bytes(run.path(artifacts.STUDENT_INT8), model)
    run.notes = {"converter": settings.document()}
    run.progress.say(f"  {len(model)} bytes, {len(graph.ops)} ops")


STAGE = Stage(
    name="quantize",
    sections=("data", "quantize", "codegen"),
    reads=lambda run: (artifacts.SPLITS, artifacts.STUDENT),
    writes=lambda run: (artifacts.STUDENT_INT8,),
    work=work,
    needs_data=True,
    needs_boards="chosen",
)
