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
    recipes,
    tasks,
    training,
)
from kd_embedded import quantize as quantization
from kd_embedded.errors import ModelError
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
    run.notes |= {"converter": settings.document(), **scores, "chosen": chosen}
    _tell(run, scores, chosen)
    run.progress.say(f"  {len(model)} bytes, {len(graph.ops)} ops")


def models(run: Run, student: Any) -> dict[str, bytes]:
    """The int8 models of the trained Keras ``student``: "ptq" of it as it is, "qat" where it is to be fine-tuned.

    The notes of the run get the calibration of each and the number of samples, which is less than asked for where there
    are not so many.
    """
    settings, representative, spec = plan.settings(run), _representative(run), run.spec.quantize
    made: dict[str, bytes] = {}
    calibrations: dict[str, str] = {}
    run.notes |= {"calibration": calibrations, "calibrated_on": len(representative)}
    graph = _traced(run, student, representative)
    if graph is None or spec.calibration == "converter":
        engine = run.spec.codegen.engine
        made["ptq"] = quantization.quantize(student, representative, settings, artifacts.STUDENT, engine)[0]
        calibrations["ptq"] = "converter"
    if graph is None:
        return made
    method = spec.calibration if spec.calibration in calibrate.METHODS else "minmax"
    if made:
        run.progress.say(f"  fine-tuning takes ranges of {method}: the converter's own are for the other model")
    ranges = calibrate.ranges(graph, representative, method)
    rounded = qat.fake_quantized(graph, ranges, per_tensor_dense=settings.per_tensor_dense, student=student)
    if not made:
        made["ptq"], calibrations["ptq"] = qat.export(rounded, settings, artifacts.STUDENT), method
    if spec.qat_epochs:
        _fine_tune(run, rounded)
        made["qat"], calibrations["qat"] = qat.export(rounded, settings, artifacts.STUDENT), method
    return made


def _traced(run: Run, student: Any, representative: NDArray[np.float32]) -> Graph | None:
    """The float graph for fake quantization; None where nobody asks for it, or by default where it lacks a layer."""
    spec = run.spec.quantize
    if spec.calibration == "converter" and not spec.qat_epochs:
        return None
    try:
        return qat.trace(student, representative[:8], artifacts.STUDENT, trained=spec.qat_epochs != 0)
    except ModelError as error:
        if spec.insists:
            raise
        run.progress.say(f"  {error.what}: the converter's own calibration, and no fine-tuning")
        return None


def _representative(run: Run) -> NDArray[np.float32]:
    train = teach.splits(run).train
    chosen = data.evenly(run.data.y[train], run.spec.quantize.representative_samples, run.spec.project.seed)
    return run.data.inputs(train[chosen])


def _fine_tune(run: Run, rounded: qat.FakeQuantized) -> None:
    """Trains ``rounded``, made of the student, under the same teachers by the recipe that the student learnt by."""
    spec, epochs = run.spec.distill, run.spec.quantize.qat_epochs
    epochs = epochs if epochs > 0 else max(1, spec.epochs // 10)
    settings = spec.model_copy(
        update={
            "epochs": epochs,
            "optimizer": "adamw",  # the steps of SGD suit batch norm, which is folded away here
            "learning_rate": run.spec.quantize.qat_learning_rate,
            "warmup_epochs": 0,
            "patience": 0,
        }
    )
    recipe = run.state[distill.STAGE.name].get("recipe", "kd")
    if recipes.get(recipe).FEATURES:
        run.progress.say(f"  fine-tuning by kd: {recipe} learns by feature maps, which the rounded student lacks")
    teach.fit(
        run,
        rounded.model,
        settings,
        distill.objective(run, recipe, fine_tuned=epochs),
        fresh=False,
        seed=run.spec.project.seed,
        checkpoint=run.checkpoint(STAGE),
        key=run.key(STAGE),
        title=_FINE_TUNED,
        best_from=epochs - 1 if settings.schedule == "cosine" else 0,  # the last: before it, rates are still high
    )


def _score(run: Run, model: bytes, softmax: bool) -> dict[str, float]:
    """Accuracy and cross entropy of an int8 ``model`` on the validation split, as the device computes it.

    Where there are no classes, the mean squared error in the units of training.
    """
    val = teach.splits(run).val
    outputs = real_outputs(run, model, val)
    if run.data.task != tasks.CLASSIFICATION:
        errors = outputs - run.data.numbers(val)
        if run.data.targets is not None:
            errors /= teach.units(run).std
        return {"val_loss": float(np.square(errors).mean()), "bytes": len(model)}
    scores = np.log(np.maximum(outputs, 1e-6)) if softmax else outputs
    labels = run.data.y[val]
    return {
        "val_accuracy": metrics.accuracy(metrics.predicted_classes(outputs), labels),
        "val_loss": metrics.cross_entropy(scores, labels),
        "bytes": len(model),
    }


def real_outputs(run: Run, model: bytes, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Real outputs [N, C] of an int8 ``model`` for the samples at ``indices`` [N], as the device computes them."""
    graph = codegen.checked_graph(model, artifacts.STUDENT, run.spec.codegen.engine)
    assert graph.input.quant and graph.output.quant  # checked_graph has seen to it
    x_q = golden.quantize(run.data.inputs(indices), graph.input.quant)
    try:
        y_q = interpreters.run_int8("reference", model, x_q)  # as the oracle, byte for byte, and faster
    except interpreters.ModelRefusedError:
        y_q = interpreters.run_oracle(model, x_q).outputs
    return golden.dequantize(y_q.reshape(len(x_q), -1), graph.output.quant)


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
    sections=("data", "teacher", "distill", "quantize"),
    reads=lambda run: (
        artifacts.SPLITS,
        artifacts.STUDENT,
        *(distill.STAGE.reads(run)[1:] if run.spec.quantize.qat_epochs else ()),
    ),
    writes=lambda run: (artifacts.STUDENT_INT8,),
    work=work,
    needs_data=True,
    settings=lambda run: [run.spec.codegen.engine, plan.settings(run).document()],
)
