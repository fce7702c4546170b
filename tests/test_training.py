"""The training loop: exact when resumed, and each switch of the config does what it says."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from kills import KillAfter, KilledError
from numpy.typing import NDArray

from kd_embedded import keras_files, recipes, soft_targets, training
from kd_embedded.augment import Augmentation
from kd_embedded.config import FitSpec
from kd_embedded.errors import DataError, ModelError
from kd_embedded.progress import Progress
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


def _fit(model: Any, spec: FitSpec, folder: Path, progress: Progress | None = None, **keys: Any) -> training.History:
    return training.fit(
        model,
        keys.pop("samples", _SAMPLES),
        spec,
        keys.pop("objective", training.Objective()),
        seed=5,
        checkpoint=folder / "checkpoint.npz",
        key=keys.pop("key", "key"),
        title="model",
        progress=progress or Progress(),
        **keys,
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_killed_fit_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    keys = {"augment_shift": 1, "augment_flip": True, "augment_noise": 0.1, "class_weights": "balanced"}
    spec = FitSpec(epochs=6, batch_size=32, optimizer=optimizer, **keys)
    whole = _model()
    history = _fit(whole, spec, tmp_path / "whole")
    with pytest.raises(KilledError):
        _fit(_model(), spec, tmp_path / "killed", KillAfter(3))
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
    best = scores.index(max(scores))
    assert len(history) - 1 - best == 3
    assert [place for place, record in enumerate(history) if "kept" in record] == [best]
    logits = KerasTeacher(model).logits(_X[110:], np.arange(40))
    assert (logits.argmax(1) == _Y[110:]).mean() == pytest.approx(max(scores)[0])


def test_the_batches_of_an_epoch_are_alike_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """110 samples by 54: a last batch of two would weigh as many samples do that of 54."""
    sizes: list[int] = []
    whole = training._Batches._batch

    def counted(self: Any, positions: NDArray[np.int64], epoch: int) -> Any:
        sizes.append(len(positions))
        return whole(self, positions, epoch)

    monkeypatch.setattr(training._Batches, "_batch", counted)
    _fit(_model(), FitSpec(epochs=2, batch_size=54), tmp_path)
    assert sizes == [37, 37, 36] * 2


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


def _one_step(samples: training.Samples, **switches: Any) -> list[Any]:
    """The weights after one plain gradient step on all samples at once."""
    import keras

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    objective = switches.pop("objective", training.Objective())
    spec = FitSpec(epochs=1, batch_size=999, optimizer="sgd", schedule="constant", warmup_epochs=0, weight_decay=0.0)
    with TemporaryDirectory() as folder:
        _fit(model, spec.model_copy(update=switches), Path(folder), samples=samples, objective=objective)
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("recipe", ["", *sorted({*recipes.names()} - {"attention", "hints"})])
def test_a_weight_of_two_is_the_sample_twice_and_of_zero_no_sample(recipe: str) -> None:
    teacher = np.random.default_rng(0).normal(0, 3, (110, 3)).astype(np.float32)
    weights = np.ones(110, np.float32)
    weights[[3, 50]], weights[60:] = 2.0, 0.0
    twice = np.concatenate([np.arange(60), [3, 50]])

    def step(which: Any, weights: Any) -> list[Any]:
        soft = soft_targets.cached(teacher[which])
        samples = replace(
            _SAMPLES, train_inputs=lambda i: _X[which[i]], train_y=_Y[which], train_weights=weights.astype(np.float32)
        )
        objective = training.Objective(soft, 1.0, 2.0, recipe=recipe, parameters=_WHOLE.get(recipe, {}))
        return _one_step(samples, objective=objective if recipe else training.Objective())

    weighted, doubled = step(np.arange(110), weights), step(twice, np.ones(62))
    plain = step(np.arange(110), np.ones(110))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(weighted, doubled, strict=True))
    assert not np.allclose(weighted[0], plain[0], atol=2e-5)


_WHOLE = {"dkd": {"warmup": 0.0}, "kd_ls": {"weight": 0.1}}


@pytest.mark.parametrize("weights", [np.full(60, 100.0), np.arange(60) % 3])
def test_an_input_without_a_label_counts_as_the_labelled_ones_do_in_the_mean(weights: Any) -> None:
    given = np.concatenate([weights, np.ones(50)]).astype(np.float32)
    some = replace(_SAMPLES, train_y=np.where(np.arange(110) < 60, _Y[:110], -1), train_weights=given)
    for switch in ("none", "balanced"):
        found = training.sample_weights(some, FitSpec(class_weights=switch), 3)
        assert np.allclose(found[60:], weights.mean())
    with pytest.raises(DataError, match="all training samples weigh 0"):
        training.sample_weights(replace(some, train_weights=np.zeros(110, np.float32)), FitSpec(), 3)


def test_a_sample_without_a_label_teaches_through_the_teacher_alone() -> None:
    labelled = np.where(np.arange(110) < 60, _Y[:110], -1)
    some = replace(_SAMPLES, train_y=labelled)
    without = replace(_SAMPLES, train_y=_Y[:60], train_weights=_ONES[:60])
    assert all(np.allclose(a, b, atol=1e-7) for a, b in zip(_one_step(some), _one_step(without), strict=True))
    teacher = np.random.default_rng(0).normal(0, 2, (110, 3)).astype(np.float32)
    soft = soft_targets.cached(teacher)
    both = _one_step(some, objective=training.Objective(soft, alpha=0.5, temperature=1.0))
    probabilities = np.exp(teacher) / np.exp(teacher).sum(1, keepdims=True)
    targets = np.where(labelled[:, None] < 0, 0.0, np.eye(3)[labelled]) * 0.5 + 0.5 * probabilities
    start = _one_step(some, learning_rate=1e-12)[0]
    x = _X[:110].reshape(110, -1)
    z = x @ start
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    gradient = x.T @ (softmax * targets.sum(1, keepdims=True) - targets) / 110
    assert np.allclose(start - 0.003 * 1.9 * gradient, both[0], atol=1e-6)  # Nesterov's first step is 1 + momentum


def test_mixup_trains_on_mixed_inputs_and_targets() -> None:
    spec = FitSpec(mixup=0.5)
    augmentation = Augmentation(lambda i: _X[i], np.ones(110, bool), spec)
    rows = np.eye(3, dtype=np.float32)[_Y[:110]]
    everything = np.arange(110)
    mixed, targets = augmentation.inputs(everything, 0), augmentation.mixed(lambda i: rows[i], everything, 0)
    start = _one_step(_SAMPLES, learning_rate=1e-12)[0]
    x = mixed.reshape(110, -1)
    z = x @ start
    gradient = x.T @ (np.exp(z) / np.exp(z).sum(1, keepdims=True) - targets) / 110
    assert np.allclose(start - 0.003 * 1.9 * gradient, _one_step(_SAMPLES, mixup=0.5)[0], atol=1e-6)


def test_in_a_mixed_pair_each_loss_has_its_own_weight() -> None:
    """A label of weight 0 is never learnt, and one of weight 3 counts three times, whoever it is mixed with."""
    spec, everything = FitSpec(mixup=0.5), np.arange(110)
    weights = np.array([0.0, 1.0, 3.0], np.float32)[everything % 3]
    augmentation = Augmentation(lambda i: _X[i], np.ones(110, bool), spec)
    shares = augmentation.mixed(lambda i: np.eye(110, dtype=np.float32)[i], everything, 0)
    each = shares * weights / weights.mean()
    start = _one_step(_SAMPLES, learning_rate=1e-12)[0]
    x = augmentation.inputs(everything, 0).reshape(110, -1)
    z = x @ start
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    gradient = x.T @ (each.sum(1, keepdims=True) * softmax - each @ np.eye(3)[_Y[:110]]) / 110
    found = _one_step(replace(_SAMPLES, train_weights=weights), mixup=0.5)[0]
    assert np.allclose(start - 0.003 * 1.9 * gradient, found, atol=1e-6)
    lying = np.where(weights > 0, _Y[:110], (_Y[:110] + 1) % 3)
    lied = _one_step(replace(_SAMPLES, train_weights=weights, train_y=lying), mixup=0.5)[0]
    assert np.allclose(found, lied, atol=1e-7)


def test_the_live_teacher_sees_what_the_student_sees_and_cached_epochs_come_round(tmp_path: Path) -> None:
    seen: dict[int, list[Any]] = {}

    def soft(positions: Any, inputs: Any, epoch: int) -> Any:
        seen.setdefault(epoch, []).append((positions, inputs))
        return np.zeros((len(positions), 3), np.float32)

    spec = FitSpec(epochs=5, batch_size=40, augment_shift=1, mixup=0.3)
    _fit(_model(), spec, tmp_path, objective=training.Objective(soft, 0.5, period=2))
    assert sorted(seen) == [0, 1]
    assert (len(seen[0]), len(seen[1])) == (9, 6)
    augmentation = Augmentation(lambda i: _X[i], np.ones(110, bool), spec)
    for epoch, batches in seen.items():
        assert all(np.array_equal(inputs, augmentation.inputs(at, epoch)) for at, inputs in batches)
    assert not np.array_equal(seen[0][0][0], seen[0][3][0])  # the order is another one each epoch all the same


def test_a_batch_prepared_ahead_is_the_same_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FitSpec(epochs=3, batch_size=32, augment_shift=1, augment_noise=0.1)
    ahead = _model()
    history = _fit(ahead, spec, tmp_path / "ahead")
    monkeypatch.setattr(training, "ahead", map)
    one_by_one = _model()
    assert _fit(one_by_one, spec, tmp_path / "one by one") == history
    for first, second in zip(ahead.variables, one_by_one.variables, strict=True):
        assert np.array_equal(first.numpy(), second.numpy()), first.path


def test_work_done_ahead_comes_in_order_and_its_errors_are_raised() -> None:
    from kd_embedded.ahead import ahead

    assert list(ahead(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]
    assert list(ahead(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda x: 1 // x, [1, 0]))


def test_the_step_hook_is_called_and_the_best_epoch_is_one_of_the_late_ones(tmp_path: Path) -> None:
    calls: list[float] = []

    def halve_at_the_end(model: Any, epoch: float) -> None:
        calls.append(epoch)
        if epoch == 6.0:
            model.layers[-1].kernel.assign(model.layers[-1].kernel * 0.0)

    model = _model()
    history = _fit(model, FitSpec(epochs=6, batch_size=55), tmp_path, after_step=halve_at_the_end, best_from=5)
    assert calls == [(step + 1) / 2 for step in range(12)]
    assert not model.layers[-1].kernel.numpy().any()
    assert history[5]["val_accuracy"] < max(record["val_accuracy"] for record in history)
    assert ["kept" in record for record in history] == [False] * 5 + [True]
