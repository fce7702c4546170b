"""Regression and auto-encoders: data, losses, figures and units, against closed forms; what does not go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import npz_data
import numpy as np
import pytest
from kills import KillAfter, KilledError

from kd_embedded import data, distill, keras_files, metrics, tasks, teachers, training
from kd_embedded.config import DataSpec, FitSpec, TeacherSpec, parse_config
from kd_embedded.errors import ConfigError, KdError, ModelError
from kd_embedded.progress import Progress

_X = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
_Y = (_X @ np.array([[3.0, -1.0], [0.5, 2.0], [0.0, 1.0], [1.0, 0.0]]) * [50.0, 0.1] + [200.0, -3.0]).astype(np.float32)
_UNITS = tasks.Units.of(_Y)


def test_the_figures_of_a_regression() -> None:
    targets = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    outputs = np.array([[1.0, 5.0], [2.0, 7.0], [2.0, 5.0]])
    found = tasks.figures(tasks.REGRESSION, outputs, targets, ("a", "b"))
    first, second = found["outputs"]
    assert first == {"name": "a", "mse": pytest.approx(5 / 3), "mae": 1.0, "r2": pytest.approx(1 - 5 / 8)}
    assert second == {"name": "b", "mse": pytest.approx(4 / 3), "mae": pytest.approx(2 / 3), "r2": None}
    assert found["mse"] == pytest.approx(1.5) and found["mae"] == pytest.approx(5 / 6) and found["r2"] == first["r2"]
    assert tasks.told(found) == "MSE 1.5, MAE 0.8333, R2 0.375"


def test_the_figures_of_an_auto_encoder() -> None:
    targets, outputs = np.zeros((4, 2)), np.array([[1.0, 1.0], [0.0, 2.0], [3.0, 1.0], [1.0, 1.0]])
    found = tasks.figures(tasks.AUTOENCODER, outputs, targets, anomalies=np.array([0, 1, 1, 0]))
    assert found == {"mse": 1.0, "mse_anomalies": 3.5, "auc": 1.0}
    found = tasks.figures(tasks.AUTOENCODER, outputs, targets, anomalies=np.array([0, 0, 0, 0]))
    assert found == {"mse": 2.25, "mse_anomalies": None, "auc": None}


def test_the_auc_is_scikit_learns_with_ties() -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(3)
    scores, positive = generator.integers(0, 6, 200), generator.random(200) < 0.3
    assert metrics.auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def _linear(activation: str = "linear", nested: bool = False) -> Any:
    import keras

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation=activation)(hidden))
    outer = keras.Input((4,))
    return keras.Model(outer, model(outer)) if nested else model


def test_both_losses_are_mean_squared_errors_and_nan_is_no_target() -> None:
    import tensorflow as tf

    model = _linear()
    soft, alpha = _Y[:6] + np.float32(1.5), 0.25
    targets = _Y[:6].copy()
    targets[2] = np.nan
    goal = training.Objective(lambda positions, inputs, epoch: soft, alpha, recipe="mse")
    network = distill.Network(model, goal, seed=1, classes=False)
    with tf.GradientTape() as tape:
        outputs, losses = network(_X[:6], tf.constant(targets), tf.constant(soft), 0.0, 1.0)
        total = tf.reduce_sum(losses)
    hard = np.square(outputs.numpy() - _Y[:6]).mean(axis=1)
    hard[2] = 0.0
    expected = (1 - alpha) * hard + alpha * np.square(outputs.numpy() - soft).mean(axis=1)
    assert np.allclose(losses.numpy(), expected, rtol=1e-5)
    assert all(np.isfinite(gradient.numpy()).all() for gradient in tape.gradient(total, model.trainable_variables))


@pytest.mark.parametrize("nested", [False, True])
def test_units_are_folded_into_the_last_layer(nested: bool) -> None:
    model = _linear(nested=nested)
    before = model(_X).numpy()
    seen: list[Any] = []
    tasks.fit(model, _UNITS, lambda inner: seen.append(inner(_X).numpy()) or [], fresh=True)
    assert np.array_equal(seen[0], before)  # new weights are taken as standardised
    assert np.allclose(model(_X).numpy(), _UNITS.real(before), rtol=1e-4)
    real = model(_X).numpy()
    tasks.fit(model, _UNITS, lambda inner: seen.append(inner(_X).numpy()) or [], fresh=False)
    assert np.allclose(seen[1], before, rtol=1e-4, atol=1e-5)
    assert np.allclose(model(_X).numpy(), real, rtol=1e-5)


def test_a_model_that_ends_otherwise_is_trained_through_a_layer_behind_it() -> None:
    model = _linear("relu")
    before = model(_X).numpy()
    seen: list[Any] = []
    tasks.fit(model, _UNITS, lambda inner: seen.append(inner(_X).numpy()) or [], fresh=False)
    assert np.allclose(seen[0], _UNITS.standardized(before), rtol=1e-4, atol=1e-5)
    assert np.array_equal(model(_X).numpy(), before)


def _samples(task: str) -> training.Samples:
    y, ones = np.zeros(60, np.int64), np.ones(60, np.float32)
    targets = _UNITS.standardized(_Y) if task == tasks.REGRESSION else None
    return training.Samples(
        lambda i: _X[:60][i],
        y,
        ones,
        lambda i: _X[60:][i],
        np.zeros(20, np.int64),
        task,
        None if targets is None else targets[:60],
        None if targets is None else targets[60:],
    )


@pytest.mark.parametrize("task", [tasks.REGRESSION, tasks.AUTOENCODER])
def test_a_killed_fit_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    import keras

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    spec = FitSpec(epochs=5, batch_size=16, augment_noise=0.1, mixup=0.2, learning_rate=0.01)
    units = _UNITS if task == tasks.REGRESSION else None

    def made() -> Any:
        inner = _linear()
        if task == tasks.REGRESSION:
            return inner
        return keras.Model(inner.inputs, keras.layers.Dense(4)(inner.outputs[0]))

    def fit(model: Any, place: str, progress: Progress) -> training.History:
        def train(inner: Any) -> training.History:
            return training.fit(
                inner,
                _samples(task),
                spec,
                training.Objective(),
                seed=5,
                checkpoint=tmp_path / place,
                key="k",
                title="t",
                progress=progress,
            )

        return tasks.fit(model, units, train, fresh=True)

    whole = made()
    history = fit(whole, "whole", Progress())
    assert set(history[0]) == {"loss", "val_loss"}
    assert min(record["val_loss"] for record in history) < history[0]["val_loss"]
    with pytest.raises(KilledError):
        fit(made(), "killed", KillAfter(2))
    resumed = made()
    assert fit(resumed, "killed", Progress()) == history
    for first, second in zip(whole.variables, resumed.variables, strict=True):
        assert np.array_equal(first.numpy(), second.numpy()), first.path
    if task == tasks.REGRESSION:  # the best epoch is kept, in real units
        error = np.square(_UNITS.standardized(whole(_X[60:]).numpy()) - _UNITS.standardized(_Y[60:])).mean()
        assert error == pytest.approx(min(record["val_loss"] for record in history), rel=1e-3)


def test_an_auto_encoder_learns_its_inputs_as_shown(tmp_path: Path) -> None:
    """Not as stored: one that gives its inputs back has no loss, whatever the augmentation."""
    import keras

    keras_files.start_tensorflow()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(4, kernel_initializer="identity")(inputs))
    spec = FitSpec(epochs=1, augment_noise=0.5, mixup=0.3, learning_rate=1e-9, weight_decay=0.0)
    (record,) = training.fit(
        model,
        _samples(tasks.AUTOENCODER),
        spec,
        training.Objective(),
        seed=1,
        checkpoint=tmp_path / "c",
        key="k",
        title="t",
        progress=Progress(),
    )
    assert record["loss"] < 1e-12 and record["val_loss"] < 1e-12


def test_numbers_of_an_npz(tmp_path: Path) -> None:
    arrays = {"x_train": _X[:60], "y_train": _Y[:60], "x_test": _X[60:], "y_test": _Y[60:]}
    np.savez(tmp_path / "more.npz", x=_X[:7])
    found, splits = npz_data.load(tmp_path, arrays, task="regression", unlabelled="npz:more.npz")
    assert found.outputs == 2 and found.output_names == ("y0", "y1") and found.classes == 0
    assert np.array_equal(found.numbers(splits.test), _Y[60:])
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [51 + 7, 9, 20]
    assert np.isnan(found.numbers(found.unlabelled)).all() and (found.y[splits.train[-7:]] == -1).all()
    found, _ = npz_data.load(
        tmp_path, {"x_train": _X, "y_train": np.arange(80), "output_names": ["age"]}, task="regression"
    )
    assert found.outputs == 1 and found.output_names == ("age",)
    assert found.targets is not None and found.targets.dtype == np.float32


def test_anomalies_stand_in_the_test_split_alone(tmp_path: Path) -> None:
    arrays = {"x_train": _X[:60].reshape(60, 2, 2), "x_test": _X[60:].reshape(20, 2, 2), "y_test": np.arange(20) % 2}
    found, splits = npz_data.load(tmp_path, arrays, task="autoencoder")
    assert found.outputs == 4 and found.y[splits.test].sum() == 10 and not found.y[splits.train].any()
    assert np.array_equal(found.numbers(splits.test), _X[60:])
    spec = DataSpec(task="autoencoder", anomalies=("9", "3"))
    found = data.load(spec, tmp_path)
    splits = data.split(found, spec, seed=1)
    digits = data.load(DataSpec(), tmp_path)
    assert not {3, 9} & set(digits.y[np.concatenate([splits.train, splits.val])].tolist())
    assert np.array_equal(np.isin(digits.y[splits.test], (3, 9)), found.y[splits.test] == 1)
    assert sum(map(len, (splits.train, splits.val, splits.test))) == 1797


_REGRESSION = {"x_train": _X, "y_train": _Y}
_NAN = np.where(np.arange(80)[:, None] == 7, np.nan, _Y)


@pytest.mark.parametrize(
    ("arrays", "keys", "says"),
    [
        (_REGRESSION | {"y_train": _NAN}, {}, "NaN or infinity in y_train[7]"),
        (_REGRESSION | {"y_train": _Y.astype(str)}, {}, "y_train has dtype <U"),
        (_REGRESSION | {"y_train": _Y[:, :, None]}, {}, "they should be [N, ...] and [N] or [N, D]"),
        (_REGRESSION | {"x_test": _X, "y_test": _Y[:, 0]}, {}, "the parts have 1, 2 targets a sample"),
        (_REGRESSION | {"output_names": ["a"]}, {}, "1 output_names for 2 targets"),
        (_REGRESSION | {"output_names": ["a", "a"]}, {}, "are named 'a'"),
        ({"x_train": _X}, {}, "has no array y_train"),
        (_REGRESSION, {"task": "classification"}, "they should be [N, ...] and [N]"),
        (_REGRESSION, {"source": "sklearn:digits"}, 'it gives a classification, and data.task is "regression"'),
        ({}, {"source": "sklearn:diabetes", "task": "classification"}, "it gives a regression, and data.task is"),
        ({}, {"source": "sklearn:diabetes", "task": "autoencoder"}, "it gives a regression, and data.task is"),
        ({}, {"source": "sklearn:iris"}, 'use "sklearn:digits" or "sklearn:diabetes"'),
        ({"x_train": _X, "x_test": _X, "y_test": np.arange(80)}, {"task": "autoencoder"}, "y_test is 0 for what is"),
        ({"x_train": _X}, {"task": "autoencoder", "anomalies": ("a",)}, "mark them by 1 in y_test"),
        ({}, {"source": "sklearn:digits", "task": "autoencoder", "anomalies": ("x",)}, "no such class: 'x'"),
    ],
)
def test_data_that_does_not_go_with_the_task_is_one_line(
    tmp_path: Path, arrays: npz_data.Arrays, keys: dict[str, Any], says: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    spec = DataSpec(**{"source": "npz:data.npz", "task": "regression", **keys})
    with pytest.raises(KdError) as caught:
        data.load(spec, tmp_path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"distill": {"method": "kd"}}, 'distill.method = "kd" is about classes, and the task is "regression"'),
        ({"distill": {"ensemble": "probabilities"}}, 'use "logits", which averages outputs'),
        ({"distill": {"label_smoothing": 0.1}}, "distill.label_smoothing is about classes"),
        ({"teacher": [{"class_weights": "balanced"}]}, "teacher.class_weights is about classes"),
        ({"teacher": [{"outputs": "probabilities"}]}, 'teacher.outputs = "probabilities" is about classes'),
        ({"distill": {"teacher_mirror": True}}, "distill.teacher_mirror is about classes"),
        ({"quantize": {"output": "softmax"}}, 'quantize.output = "softmax" is about classes'),
        ({"budgets": {"min_accuracy": 0.5}}, "budgets.min_accuracy is about classes"),
        ({"budgets": {"max_accuracy_drop": 0.5}}, "budgets.max_accuracy_drop is about classes"),
        ({"budgets": {"min_auc": 0.5}}, 'budgets.min_auc goes with task = "autoencoder"'),
        ({"data": {"task": "regression", "max_per_class": 5}}, "data.max_per_class is about classes"),
        ({"data": {"task": "regression", "anomalies": ["9"]}}, 'data.anomalies go with task = "autoencoder"'),
        ({"data": {"task": "autoencoder", "unlabelled": "npz:a.npz"}}, "an auto-encoder needs no labels"),
        ({"data": {}, "budgets": {"max_mse": 0.5}}, 'budgets.max_mse goes with task = "regression"'),
        ({"data": {"task": "detection"}}, "data.task"),
    ],
)
def test_settings_that_do_not_go_with_the_task_are_one_line(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": {"task": "regression"}, **settings}, "kd.toml")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_the_recipe_follows_from_the_task() -> None:
    spec = parse_config({"data": {"task": "regression"}, "distill": {"epochs": 3}}, "kd.toml").distill
    assert (spec.method, spec.ensemble, spec.epochs) == ("mse", "logits", 3)
    assert parse_config({}, "kd.toml").distill.method == "kd"


def test_coarse_outputs_are_warned_of() -> None:
    (line,) = tasks.coarse(_UNITS, _Y, ("wide", "narrow"))
    assert "the standard deviation of narrow is" in line
    assert not list(tasks.coarse(tasks.Units.of(_Y[:, :1]), _Y[:, :1], ("wide",)))


def _job(folder: Path, **keys: Any) -> teachers.Job:
    spec = DataSpec(source="sklearn:diabetes", task="regression")
    found = data.load(spec, folder)
    teacher = TeacherSpec(**keys).model_copy(update={"outputs": "logits"})  # as the stage does
    path, splits = folder / "teacher", data.split(found, spec, 1)
    return teachers.Job(teacher, folder, path, 1, found, splits, "", lambda *_: [])


def test_a_regressor_of_scikit_learn_teaches_and_a_classifier_does_not(tmp_path: Path) -> None:
    keras_files.start_tensorflow()
    spec = {"kind": "sklearn", "estimator": "sklearn.linear_model.Ridge"}
    job = _job(tmp_path, **spec)
    assert teachers.make(job) == []
    test = job.splits.test
    outputs = teachers.load(job).logits(job.data.inputs(test), test)
    assert outputs.shape == (len(test), 1)
    assert tasks.figures(tasks.REGRESSION, outputs, job.data.numbers(test), ("p",))["r2"] > 0.4
    with pytest.raises(ModelError, match="is a GaussianNB, which predicts no numbers: use a regressor"):
        teachers.make(_job(tmp_path, **spec | {"estimator": "sklearn.naive_bayes.GaussianNB"}))


def test_a_file_of_outputs_teaches(tmp_path: Path) -> None:
    job = _job(tmp_path, kind="logits", file="own.npz")
    values = np.linspace(0, 1, len(job.data.x), dtype=np.float32)[:, None]  # not taken for probabilities
    np.savez(tmp_path / "own.npz", logits=values, data_sha256="")
    teachers.make(job)
    assert np.array_equal(teachers.load(job).logits(_X[:3], np.array([2, 0, 5])), values[[2, 0, 5]])
    np.savez(tmp_path / "own.npz", logits=np.tile(values, 2), data_sha256="")
    with pytest.raises(ModelError, match="logits have shape"):
        teachers.make(job)
