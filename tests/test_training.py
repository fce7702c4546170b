"""The training loop: exact when resumed, and each switch of the config does what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_embedded import keras_files, soft_targets, training
from kd_embedded.config import FitSpec
from kd_embedded.errors import ModelError
from kd_embedded.progress import Progress, Task
from kd_embedded.teachers.keras import KerasTeacher

_X = np.random.default_rng(0).random((150, 6, 6, 1), np.float32)
_Y = (_X.mean((1, 2, 3)) * 30).astype(np.int64) % 3
_ONES = np.ones(110, np.float32)
_SAMPLES = training.Samples(lambda i: _X[:110][i], _Y[:110], _ONES, lambda i: _X[110:][i], _Y[110:])


def _model() -> Any:
    import keras
    from keras import layers

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.3)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3)(x))


class _KilledError(Exception):
    pass


class _KillAfter(Progress):
    """Ends the fit after ``epochs``, as a kill between two epochs would."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        yield _KillTask(self._epochs)


class _KillTask(Task):
    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def advance(self, **figures: float) -> None:
        self._left -= 1
        if self._left < 0:
            raise _KilledError


def _fit(model: Any, spec: FitSpec, folder: Path, progress: Progress | None = None, **keys: Any) -> training.History:
    objective = keys.pop("objective", training.Objective())
    return training.fit(
        model,
        keys.pop("samples", _SAMPLES),
        spec,
        objective,
        seed=5,
        checkpoint=folder / "checkpoint.npz",
        key=keys.pop("key", "key"),
        title="model",
        progress=progress or Progress(),
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_killed_fit_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    keys = {"augment_shift": 1, "augment_flip": True, "augment_noise": 0.1, "class_weights": "balanced"}
    spec = FitSpec(epochs=6, batch_size=32, optimizer=optimizer, **keys)
    whole = _model()
    history = _fit(whole, spec, tmp_path / "whole")
    with pytest.raises(_KilledError):
        _fit(_model(), spec, tmp_path / "killed", _KillAfter(3))
    resumed = _model()
    assert _fit(resumed, spec, tmp_path / "killed") == history
    for first, second in zip(whole.variables, resumed.variables, strict=True):
        assert np.array_equal(first.numpy(), second.numpy()), first.path


@pytest.mark.parametrize("damage", ["another key", "cut", "empty"])
def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_ignored(tmp_path: Path, damage: str) -> None:
    spec = FitSpec(epochs=2, batch_size=32)
    history = _fit(_model(), spec, tmp_path)
    path = tmp_path / "checkpoint.npz"
    if damage != "another key":
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    again = _fit(_model(), spec.model_copy(update={"learning_rate": 0.1}), tmp_path, key=damage)
    assert len(again) == 2
    assert again != history


def test_the_best_epoch_is_kept_and_patience_ends_the_fit(tmp_path: Path) -> None:
    model = _model()
    history = _fit(model, FitSpec(epochs=60, batch_size=32, patience=3, learning_rate=0.05), tmp_path)
    assert len(history) < 60
    scores = [(record["val_accuracy"], -record["val_loss"]) for record in history]
    assert len(history) - 1 - scores.index(max(scores)) == 3
    logits = KerasTeacher(model).logits(_X[110:], np.arange(40))
    assert (logits.argmax(1) == _Y[110:]).mean() == pytest.approx(max(scores)[0])


def test_soft_targets_alone_teach(tmp_path: Path) -> None:
    teacher = _model()
    _fit(teacher, FitSpec(epochs=30, batch_size=16, learning_rate=0.02), tmp_path / "teacher")
    logits = KerasTeacher(teacher).logits(_X[:110], np.arange(110))
    student = _model()
    objective = training.Objective(soft_targets.cached(logits), alpha=1.0, temperature=2.0)
    history = _fit(student, FitSpec(epochs=30, batch_size=16, learning_rate=0.02), tmp_path, objective=objective)
    assert history[-1]["loss"] < history[0]["loss"] / 3
    live = training.Objective(soft_targets.live(KerasTeacher(teacher), np.arange(110)), alpha=1.0, temperature=2.0)
    first = _fit(
        _model(),
        FitSpec(epochs=1, batch_size=16, learning_rate=0.02, warmup_epochs=0),
        tmp_path / "live",
        objective=live,
    )
    same = _fit(
        _model(),
        FitSpec(epochs=1, batch_size=16, learning_rate=0.02, warmup_epochs=0),
        tmp_path / "same",
        objective=objective,
    )
    assert first[0]["loss"] == pytest.approx(same[0]["loss"], rel=1e-4)


def test_a_loss_that_explodes_is_one_line(tmp_path: Path) -> None:
    samples = training.Samples(
        lambda i: _X[:110][i] * np.float32(1e30), _Y[:110], _ONES, lambda i: _X[110:][i], _Y[110:]
    )
    with pytest.raises(ModelError, match="the loss is nan|the loss is inf"):
        _fit(_model(), FitSpec(epochs=3, learning_rate=1e6, optimizer="sgd"), tmp_path, samples=samples)


def test_a_model_whose_layers_are_all_frozen_is_one_line(tmp_path: Path) -> None:
    model = _model()
    model.trainable = False
    with pytest.raises(ModelError, match="model: all layers are frozen"):
        _fit(model, FitSpec(epochs=1), tmp_path)


def test_learning_rate_rises_and_falls() -> None:
    spec = FitSpec(epochs=10, learning_rate=0.1, warmup_epochs=2)
    rates = [training.learning_rate(spec, epoch) for epoch in (0.0, 1.0, 2.0, 6.0, 9.999)]
    assert rates[0] < rates[1] < rates[2] == 0.1
    assert max(training.learning_rate(spec, epoch / 100) for epoch in range(1000)) == 0.1
    assert rates[3] == pytest.approx(0.05)
    assert rates[4] < 1e-6
    assert training.learning_rate(spec.model_copy(update={"schedule": "constant"}), 9.9) == 0.1
    assert training.learning_rate(FitSpec(epochs=1, warmup_epochs=5), 0.5) > 0


def test_balanced_weights_make_a_rare_class_count() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    samples = training.Samples(lambda i: _X[i], labels, np.ones(100, np.float32), lambda i: _X[i], labels)
    weights = training.sample_weights(samples, FitSpec(class_weights="balanced"), 2)
    assert weights[[0, 90]].tolist() == pytest.approx([100 / 180, 5.0])
    assert training.sample_weights(samples, FitSpec(), 2).tolist() == [1.0] * 100
    unlabelled = replace(samples, train_y=np.array([0] * 60 + [1] * 20 + [-1] * 20))
    weights = training.sample_weights(unlabelled, FitSpec(class_weights="balanced"), 2)
    assert weights[[0, 60, 80]].tolist() == pytest.approx([80 / 120, 2.0, 1.0])
