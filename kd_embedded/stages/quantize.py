"""Quantize: the student to full-int8 TFLite, calibrated on training samples; then fine-tuned with fake quantization.

Of the two int8 models the one that is better on the validation split is exported, and run.json keeps both figures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import (
    artifacts,
    calibrate,
    codegen,
    data,
    golden,
    interpreters,
    keras_files,
    metrics,
    qat,
    tasks,
    training,
)
from kd_embedded import quantize as quantization
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import distill, plan, teach
from kd_embedded.tflite.graph import Graph

_CALIBRATED = "after training"
_FINE_TUNED = "fine-tuned with fake quantization"


def work(run: Run) -> None:
    """Writes student_int8.tflite; the converter's settings and the figures of both ways go to run.json."""
    keras_files.start_tensorflow()
    student, settings = keras_files.load(run.path(artifacts.STUDENT)), plan.settings(run)
    made = models(run, student)
    scores = {name: _score(run, model, settings.softmax) for name, model in made.items()}
    chosen = max(made, key=lambda name: (*training.score(scores[name]), name == "ptq"))
    model = made[chosen]
    graph = codegen.checked_graph(model, artifacts.STUDENT, run.spec.codegen.engine)
    artifacts.write_bytes(run.path(artifacts.STUDENT_INT8), model)
    run.notes = {"converter": settings.document(), **scores, "chosen": chosen}
    _tell(run, scores, chosen)
    run.progress.say(f"  {len(model)} bytes, {len(graph.ops)} ops")


def models(run: Run, student: Any) -> dict[str, bytes]:
    """The int8 models of a trained Keras ``student``: "ptq" of it as it is, "qat" where it is to be fine-tuned."""
    settings, representative = plan.settings(run), _representative(run)
    made = {"ptq": _calibrated(run, student, settings, representative)}
    if run.spec.quantize.qat_epochs:
        made["qat"] = _fine_tuned(run, student, settings, representative)
    return made


def _representative(run: Run) -> NDArray[np.float32]:
    train = teach.splits(run).train
    chosen = data.evenly(run.data.y[train], run.spec.quantize.representative_samples, run.spec.project.seed)
    return run.data.inputs(train[chosen])


def _calibrated(run: Run, student: Any, settings: quantization.Settings, representative: NDArray[np.float32]) -> bytes:
    """The int8 model of ``student`` as it is."""
    engine, method = run.spec.codegen.engine, run.spec.quantize.calibration
    if method == "converter":
        return quantization.quantize(student, representative, settings, artifacts.STUDENT, engine)[0]
    return qat.export(_rounded(run, student, settings, representative, method), settings, artifacts.STUDENT)


def _fine_tuned(run: Run, student: Any, settings: quantization.Settings, representative: NDArray[np.float32]) -> bytes:
    """The int8 model of ``student`` trained further, by the recipe and the teachers of [distill]."""
    spec, method = run.spec.distill, run.spec.quantize.calibration
    rounded = _rounded(run, student, settings, representative, "minmax" if method == "converter" else method)
    settings_of_fit = spec.model_copy(
        update={
            "epochs": run.spec.quantize.qat_epochs,
            "optimizer": "adamw",  # the steps of SGD suit batch norm, which is folded away here
            "learning_rate": run.spec.quantize.qat_learning_rate,
            "warmup_epochs": 0,
            "patience": 0,
        }
    )
    teach.fit(
        run,
        rounded.model,
        lambda standardized: training.fit(
            standardized,
            teach.samples(run),
            settings_of_fit,
            distill.objective(run, student, features=False),
            seed=run.spec.project.seed,
            checkpoint=run.checkpoint(STAGE),
            key=run.key(STAGE),
            title=_FINE_TUNED,
            progress=run.progress,
        ),
        fresh=False,
    )
    return qat.export(rounded, settings, artifacts.STUDENT)


def _rounded(
    run: Run, student: Any, settings: quantization.Settings, representative: NDArray[np.float32], method: str
) -> qat.FakeQuantized:
    graph = qat.trace(student, representative[:8], artifacts.STUDENT)
    ranges = calibrate.ranges(graph, representative, method)
    return qat.fake_quantized(graph, ranges, per_tensor_dense=settings.per_tensor_dense, student=student)


def _score(run: Run, model: bytes, softmax: bool) -> dict[str, float]:
    """Accuracy and cross entropy of an int8 ``model`` on the validation split, as the device computes it.

    Where there are no classes, the mean squared error in the units of training.
    """
    graph = codegen.checked_graph(model, artifacts.STUDENT, run.spec.codegen.engine)
    val = teach.splits(run).val
    outputs = _outputs(model, graph, run.data.inputs(val))
    if run.data.task != tasks.CLASSIFICATION:
        errors = outputs - run.data.numbers(val)
        if run.data.targets is not None:
            errors /= teach.units(run).std
        return {"val_loss": float(np.square(errors).mean()), "bytes": len(model)}
    scores = np.log(np.maximum(outputs, 1e-6)) if softmax else outputs
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    labels = run.data.y[val]
    return {
        "val_accuracy": metrics.accuracy(metrics.predicted_classes(outputs), labels),
        "val_loss": -float(logs[np.arange(len(labels)), labels].mean()),
        "bytes": len(model),
    }


def _outputs(model: bytes, graph: Graph, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Real outputs [N, C] for inputs float32 [N, ...]."""
    assert graph.input.quant and graph.output.quant  # checked_graph has seen to it
    x_q = golden.quantize(x, graph.input.quant)
    try:
        y_q = interpreters.run_int8("reference", model, x_q)  # as the oracle, byte for byte, and faster
    except interpreters.ModelRefusedError:
        y_q = interpreters.run_oracle(model, x_q).outputs
    steps: NDArray[np.float64] = y_q.reshape(len(x), -1).astype(np.float64) - graph.output.quant.zero_point[0]
    return steps * graph.output.quant.scale[0]


def _figure(score: dict[str, float]) -> str:
    if "val_accuracy" in score:
        return f"{100 * score['val_accuracy']:.2f} %"
    return f"MSE {score['val_loss']:.4g}"


def _tell(run: Run, scores: dict[str, dict[str, float]], chosen: str) -> None:
    said = ", ".join(
        f"{_figure(scores[name])} {how}" for name, how in (("ptq", _CALIBRATED), ("qat", _FINE_TUNED)) if name in scores
    )
    which = f"; exported: {_CALIBRATED if chosen == 'ptq' else _FINE_TUNED}" if len(scores) > 1 else ""
    run.progress.say(f"  int8 on validation: {said}{which}")


STAGE = Stage(
    name="quantize",
    sections=("data", "teacher", "distill", "quantize", "codegen"),
    reads=lambda run: (
        artifacts.SPLITS,
        artifacts.STUDENT,
        *(teach.files(run) if run.spec.quantize.qat_epochs else ()),
        *distill.STAGE.reads(run)[1:],
    ),
    writes=lambda run: (artifacts.STUDENT_INT8,),
    work=work,
    needs_data=True,
    needs_boards="chosen",
)
