"""The quantize stage: int8 after training and fine-tuned, the better of the two exported, and said so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kills import KilledError

from kd_embedded import artifacts, calibrate, data, golden, keras_files, qat, quantize, reference, training
from kd_embedded.config import parse_config
from kd_embedded.errors import ModelError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import distill, plan, teach
from kd_embedded.stages import quantize as stage
from kd_embedded.tflite.read import parse_model

_TEACHER = """
import numpy as np
CENTERS = np.random.default_rng(1).normal(size=(4, 16))
def logits(x):
    return -((x.reshape(len(x), 1, 16) - CENTERS) ** 2).sum(-1) / 2.0
"""


class _Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def _write(folder: Path) -> None:
    generator, centers = np.random.default_rng(3), np.random.default_rng(1).normal(size=(4, 16))
    arrays: dict[str, Any] = {}
    for name, count in (("train", 320), ("val", 120), ("test", 40)):
        y = np.arange(count) % 4
        points = centers[y] + 1.0 * generator.normal(size=(count, 16))
        arrays |= {f"x_{name}": points.reshape(-1, 4, 4, 1).astype(np.float32), f"y_{name}": y}
    np.savez(folder / "data.npz", **arrays)
    (folder / "own.py").write_text(_TEACHER)


def _run(folder: Path, out: str = "out", **quantize_keys: Any) -> Run:
    document = {
        "project": {"out": out, "boards": ["esp32"]},
        "data": {"source": "npz:data.npz"},
        "teacher": {"kind": "python", "function": "own:logits"},
        "student": {"arch": "mlp", "width": 0.25},
        "distill": {"epochs": 6, "batch_size": 32},
        "quantize": {"representative_samples": 40, "qat_epochs": 3, **quantize_keys},
    }
    run = Run(parse_config(document, "kd.toml"), folder, _Told())
    run.open_folder(fresh=False)
    return run


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilled")
    _write(folder)
    run = _run(folder)
    parts = data.split(run.data, run.spec.data, 1)
    artifacts.write_npz(run.path(artifacts.SPLITS), train=parts.train, val=parts.val, test=parts.test)
    run.execute(teach.STAGE)
    run.execute(distill.STAGE)
    return folder


def _model(run: Run) -> bytes:
    run.execute(stage.STAGE)
    return run.path(artifacts.STUDENT_INT8).read_bytes()


def _accuracy(run: Run, model: bytes) -> float:
    val, graph = teach.splits(run).val, parse_model(model, "student")
    assert graph.input.quant
    outputs = reference.run(graph, golden.quantize(run.data.inputs(val), graph.input.quant))
    return float(np.mean(outputs.argmax(1) == run.data.y[val]))


def test_the_better_model_is_exported_and_both_figures_are_kept(distilled: Path) -> None:
    run = _run(distilled)
    model = _model(run)
    notes = run.state["quantize"]
    best = max(notes["ptq"]["val_accuracy"], notes["qat"]["val_accuracy"])
    assert notes[notes["chosen"]]["val_accuracy"] == best == pytest.approx(_accuracy(run, model))
    assert notes[notes["chosen"]]["bytes"] == len(model)
    assert isinstance(run.progress, _Told)
    (line,) = (line for line in run.progress.lines if "int8 on validation" in line)
    assert f"{100 * notes['ptq']['val_accuracy']:.2f} % after training" in line and "; exported: " in line
    assert not run.checkpoint(stage.STAGE).exists()


@pytest.mark.parametrize(
    ("better", "keys", "said"),
    [
        ("ptq", {"qat_learning_rate": 10.0}, "after training"),
        (
            "qat",  # two samples calibrate badly, which fine-tuning makes good
            {"representative_samples": 2, "qat_learning_rate": 0.003},
            "fine-tuned with fake quantization",
        ),
    ],
)
def test_the_better_of_the_two_is_exported_whichever_it_is(
    distilled: Path, better: str, keys: dict[str, Any], said: str
) -> None:
    ptq = _model(_run(distilled, **keys, qat_epochs=0))
    run = _run(distilled, **keys)
    model, notes = _model(run), run.state["quantize"]
    worse = {"ptq": "qat", "qat": "ptq"}[better]
    assert notes["chosen"] == better and (model == ptq) == (better == "ptq")
    assert notes[better]["val_accuracy"] > notes[worse]["val_accuracy"] + 0.02
    assert notes[better]["val_accuracy"] == pytest.approx(_accuracy(run, model))
    assert isinstance(run.progress, _Told) and run.progress.lines[-2].endswith(f"; exported: {said}")


@pytest.mark.parametrize(("qat_loss", "chosen"), [(0.9, "qat"), (1.0, "ptq"), (1.1, "ptq")])
def test_of_equal_accuracy_the_loss_decides_and_of_equal_loss_what_is_not_fine_tuned(
    distilled: Path, monkeypatch: pytest.MonkeyPatch, qat_loss: float, chosen: str
) -> None:
    model = _model(_run(distilled, qat_epochs=0))
    losses = {"qat": qat_loss, "ptq": 1.0}
    scores = iter([{"val_accuracy": 0.5, "val_loss": loss, "bytes": len(model)} for loss in losses.values()])
    monkeypatch.setattr(stage, "models", lambda *_: dict.fromkeys(losses, model))
    monkeypatch.setattr(stage, "_score", lambda *_: next(scores))
    run = _run(distilled)
    stage.work(run)
    assert run.notes["chosen"] == chosen


def test_what_changes_no_weight_does_not_fine_tune_again(distilled: Path) -> None:
    key = _run(distilled).key(stage.STAGE)

    def changed(**tables: Any) -> str:
        run = _run(distilled)
        run.spec = parse_config({**run.spec.model_dump(exclude_unset=True), **tables}, "kd.toml")
        return run.key(stage.STAGE)

    assert (
        changed(codegen={"golden_vectors": 16})
        == changed(project={"out": "out", "boards": ["esp32", "esp32s3"]})
        == key
    )
    assert changed(codegen={"engine": "aot"}) != key
    assert changed(codegen={"engine": "aot", "optimize": "ram"}) == changed(codegen={"engine": "aot"})
    per_tensor = changed(project={"out": "out", "boards": ["esp32", "nano33ble"]})
    assert per_tensor != key  # the library of one has no scales per channel of Dense


@pytest.mark.parametrize(("schedule", "best_from"), [("cosine", 4), ("constant", 0)])
def test_a_rate_that_falls_to_zero_leaves_the_last_epoch(
    distilled: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, best_from: int
) -> None:
    """Among epochs of a high rate the best on validation is luck."""
    seen: list[int] = []
    fit = training.fit
    monkeypatch.setattr(
        training, "fit", lambda *given, **keys: (seen.append(keys["best_from"]), fit(*given, **keys))[1]
    )
    run = _run(distilled, qat_epochs=5)
    run.spec = run.spec.model_copy(update={"distill": run.spec.distill.model_copy(update={"schedule": schedule})})
    _model(run)
    assert seen == [best_from]


def test_fine_tuning_moves_the_weights_and_keeps_the_ranges(distilled: Path) -> None:
    run = _run(distilled)
    made = stage.models(run, keras_files.load(run.path(artifacts.STUDENT)))
    ptq, qat = (parse_model(made[name], name) for name in ("ptq", "qat"))
    assert [tensor.quant for tensor in ptq.tensors if tensor.data is None] == [
        tensor.quant for tensor in qat.tensors if tensor.data is None
    ]
    weights, tuned = (graph.tensors[graph.ops[-1].inputs[1]].data for graph in (ptq, qat))
    assert weights is not None and tuned is not None and not np.array_equal(weights, tuned)


def test_a_run_that_was_killed_ends_in_the_same_bytes(distilled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(distilled)
    student = keras_files.load(run.path(artifacts.STUDENT))
    whole = stage.models(run, student)["qat"]
    run.checkpoint(stage.STAGE).unlink()
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    epoch = training._Loop.run_epoch

    def dies(loop: Any) -> dict[str, float]:
        if loop.epoch == 2:
            raise KilledError
        return epoch(loop)

    monkeypatch.setattr(training._Loop, "run_epoch", dies)
    with pytest.raises(KilledError):
        stage.models(run, student)
    monkeypatch.setattr(training._Loop, "run_epoch", epoch)
    assert run.checkpoint(stage.STAGE).exists()
    assert stage.models(run, student)["qat"] == whole
    run.checkpoint(stage.STAGE).unlink()


def test_fine_tuning_is_by_the_recipe_that_the_student_learnt_by(
    distilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by what auto would pick for a student that was pruned meanwhile."""
    run, asked = _run(distilled), list[str]()
    run.state["distill"]["recipe"] = "kd_ls"
    objective = distill.objective

    def spy(run: Run, name: str, **keys: Any) -> training.Objective:
        asked.append(name)
        return objective(run, name, **keys)

    monkeypatch.setattr(distill, "objective", spy)
    stage.models(run, keras_files.load(run.path(artifacts.STUDENT)))
    assert asked == ["kd_ls"]


def test_the_converters_own_calibration_is_its_own_model(distilled: Path) -> None:
    run = _run(distilled, qat_epochs=0, calibration="converter")
    model = _model(run)
    student = keras_files.load(run.path(artifacts.STUDENT))
    train = teach.splits(run).train
    chosen = data.evenly(run.data.y[train], 40, run.spec.project.seed)
    inputs = run.data.inputs(train[chosen])
    assert model == quantize.quantize(student, inputs, plan.settings(run), "student")[0]
    assert "qat" not in run.state["quantize"] and run.state["quantize"]["chosen"] == "ptq"


def test_every_calibration_gives_the_ranges_that_it_is_named_after(
    distilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(distilled, qat_epochs=0)
    student = keras_files.load(run.path(artifacts.STUDENT))
    inputs = np.random.default_rng(0).normal(size=(3000, 4, 4, 1)).astype(np.float32)
    inputs[0] *= 6.0  # rare large values, of which no two methods think alike
    traced = qat.trace(student, inputs[:8], "student")
    monkeypatch.setattr(stage, "_representative", lambda _: inputs)
    distinct = set[tuple[float, ...]]()
    for asked in ("auto", *calibrate.METHODS):
        settings = run.spec.quantize.model_copy(update={"calibration": asked})
        run.spec = run.spec.model_copy(update={"quantize": settings})
        exported = parse_model(stage.models(run, student)["ptq"], asked)
        wanted = calibrate.ranges(traced, inputs, "minmax" if asked == "auto" else asked)
        assert exported.input.quant == wanted[traced.inputs[0]]
        for op, source in zip(exported.ops, traced.ops, strict=True):
            assert exported.tensors[op.outputs[0]].quant == wanted[source.outputs[0]], (asked, op.name)
        distinct.add(tuple(params.scale[0] for params in wanted.values()))
    assert len(distinct) == len(calibrate.METHODS)


def _grown(folder: Path) -> Any:
    """A student, stored as grown.keras, with a layer that fake quantization does not have."""
    import keras
    from keras import layers

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2DTranspose(4, 3, name="grow")(inputs)
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    keras_files.save(model, folder / "grown.keras")
    return model


def test_a_student_that_cannot_be_fine_tuned_is_refused_before_anything_is_trained(distilled: Path) -> None:
    _grown(distilled)
    run = _run(distilled, out="other")
    spec = run.spec.model_copy(update={"student": run.spec.student.model_copy(update={"file": "grown.keras"})})
    with pytest.raises(ModelError, match=r"TRANSPOSE_CONV in layer 'grow' .* leave qat_epochs"):
        plan.work(Run(spec, distilled, Progress()))


def test_by_default_such_a_student_is_calibrated_by_the_converter_which_is_said(distilled: Path) -> None:
    student = _grown(distilled)
    own = stage.models(_run(distilled, qat_epochs=0, calibration="converter"), student)
    run = _run(distilled, qat_epochs=-1, calibration="auto")
    assert stage.models(run, student) == own
    assert isinstance(run.progress, _Told) and "TRANSPOSE_CONV in layer 'grow'" in run.progress.lines[-1]
