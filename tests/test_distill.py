"""The loss of a sample against its closed form in NumPy, and every recipe through the loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kills import KillAfter, KilledError
from numpy.typing import NDArray

from kd_embedded import distill, keras_files, recipes, soft_targets, training
from kd_embedded.config import FitSpec
from kd_embedded.errors import ConfigError
from kd_embedded.progress import Progress
from kd_embedded.teachers.keras import KerasTeacher

_X = np.random.default_rng(0).random((96, 8, 8, 1), np.float32)
_Y = (_X[:, :4].mean((1, 2, 3)) * 40).astype(np.int64) % 3
_SAMPLES = training.Samples(lambda i: _X[:64][i], _Y[:64], np.ones(64, np.float32), lambda i: _X[64:][i], _Y[64:])


def _convolutions(channels: int, seed: int) -> Any:
    import keras
    from keras import layers

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(channels, 3, padding="same", activation="relu", name="fine")(inputs)
    x = layers.Conv2D(2 * channels, 3, strides=2, padding="same", activation="relu", name="coarse")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x)))


def _softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(z - z.max(-1, keepdims=True))
    found: NDArray[np.float64] = exponentials / exponentials.sum(-1, keepdims=True)
    return found


@pytest.mark.parametrize(("alpha", "temperature"), [(0.0, 1.0), (0.3, 4.0), (1.0, 2.0)])
def test_the_loss_is_the_closed_form(alpha: float, temperature: float) -> None:
    student = _convolutions(4, 1)
    teacher = np.random.default_rng(1).normal(0, 3, (9, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[_Y[:9]] * 0.9 + np.float32(0.1 / 3)
    targets[4] = 0.0  # no label
    objective = training.Objective(lambda *_: teacher, alpha, temperature)
    logits, losses = distill.Network(student, objective, 0)(_X[:9], targets, teacher, 0.0, 1.0)
    assert np.allclose(logits, student(_X[:9]), atol=1e-6)
    z = student(_X[:9]).numpy().astype(np.float64)
    hard = -(targets * np.log(_softmax(z))).sum(-1)
    p, q = _softmax(teacher / temperature), _softmax(z / temperature)
    soft = temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)
    assert hard[4] == 0.0
    assert np.allclose(losses, (1 - alpha) * hard + alpha * soft, rtol=1e-4, atol=1e-5)


def test_recipes_learn_from_the_teacher_where_there_is_no_label() -> None:
    targets = np.array([[0.1, 0.8, 0.1], [0.0, 0.0, 0.0]], np.float32)
    teacher = np.array([[9.0, 0.0, 0.0], [0.0, 1.0, 2.0]], np.float32)
    assert distill.labels_of(targets, teacher).numpy().tolist() == [1, 2]


def _distilled(recipe: str, checkpoint: Path, progress: Progress) -> tuple[training.History, list[Any]]:
    teacher, student = _convolutions(8, 2), _convolutions(4, 1)
    features = distill.Features(teacher) if recipes.get(recipe).FEATURES else None
    soft = None if features else soft_targets.live(KerasTeacher(teacher), np.arange(64))
    history = training.fit(
        student,
        _SAMPLES,
        FitSpec(epochs=3, batch_size=24, augment_shift=1),
        training.Objective(soft, 0.7, 4.0, recipe=recipe, features=features),
        seed=3,
        checkpoint=checkpoint,
        key="",
        title="student",
        progress=progress,
    )
    return history, [variable.numpy() for variable in student.variables]


@pytest.mark.parametrize("progress", [0.02, 1.0])
@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_has_its_share_of_the_loss(recipe: str, progress: float) -> None:
    """test_recipes.py compares each soft_loss with its closed form."""
    student, teacher, alpha = _convolutions(4, 1), _convolutions(8, 2), 0.3
    targets, weights = np.eye(3, dtype=np.float32)[_Y[:9]], np.linspace(0.0, 2.0, 9, dtype=np.float32)
    soft = teacher(_X[:9]).numpy()
    features = (
        distill.Features(teacher, ("fine", "coarse"), ("fine", "coarse")) if recipes.get(recipe).FEATURES else None
    )
    objective = training.Objective(lambda *_: soft, alpha, 2.0, recipe=recipe, features=features)
    network = distill.Network(student, objective, 3)
    logits, losses = network(_X[:9], targets, soft, progress, weights)
    maps = _maps_as_compared(network, student, teacher) if features else ((), ())
    batch = recipes.Batch(_Y[:9], logits, soft, 2.0, progress, *maps, weights)
    expected = recipes.get(recipe).soft_loss(batch, recipes.parameters(recipe, {})).numpy()
    assert expected.max() > 1e-4
    hard = -(targets * np.log(_softmax(logits.numpy().astype(np.float64)))).sum(-1)
    assert np.allclose(losses, (1 - alpha) * hard + alpha * expected, rtol=1e-4, atol=1e-6)


def _maps_as_compared(network: distill.Network, student: Any, teacher: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The layers fine and coarse of both, the student's through the network's projectors, if there are any."""
    import keras

    found = []
    for model in (student, teacher):
        layers = [model.get_layer(name).output for name in ("fine", "coarse")]
        found.append(keras.Model(model.inputs[0], layers)(_X[:9]))
    projectors = [variable.numpy() for variable in network.extra]
    if projectors:
        assert [each.shape for each in projectors[::2]] == [(1, 1, 4, 8), (1, 1, 8, 16)]
        pairs = zip(found[0], projectors[::2], projectors[1::2], strict=True)
        found[0] = [maps.numpy() @ kernel[0, 0] + bias for maps, kernel, bias in pairs]
    return tuple(found[0]), tuple(found[1])


def test_the_share_of_the_epochs_that_are_done_reaches_the_recipe(tmp_path: Path) -> None:
    """dkd fades in, here over all epochs, while the student stands still."""
    student, target = _convolutions(4, 1), np.random.default_rng(1).normal(0, 3, (64, 3)).astype(np.float32)
    batch = recipes.Batch(_Y[:64], student(_X[:64]), target, 1.0, 1.0)
    whole = recipes.get("dkd").soft_loss(batch, recipes.parameters("dkd", {})).numpy().mean()
    history = training.fit(
        student,
        _SAMPLES,
        FitSpec(epochs=4, batch_size=64, learning_rate=1e-12, weight_decay=0.0, warmup_epochs=0),
        training.Objective(soft_targets.cached(target), 1.0, 1.0, recipe="dkd", parameters={"warmup": 1.0}),
        seed=3,
        checkpoint=tmp_path / "checkpoint.npz",
        key="",
        title="student",
        progress=Progress(),
    )
    assert np.allclose([each["loss"] for each in history], whole * np.arange(4) / 4, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["kd", "hints"])
def test_a_killed_distillation_resumes_to_the_same_bytes_projectors_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    history, whole = _distilled(recipe, tmp_path / "whole.npz", Progress())
    with pytest.raises(KilledError):
        _distilled(recipe, tmp_path / "killed.npz", KillAfter(1))
    again, resumed = _distilled(recipe, tmp_path / "killed.npz", Progress())
    assert history == again
    assert all(np.array_equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert history[-1]["loss"] < history[0]["loss"]


def test_an_unknown_parameter_or_layer_is_one_line() -> None:
    student, teacher = _convolutions(4, 1), _convolutions(8, 2)
    with pytest.raises(ConfigError, match=r"distill.parameters.alpah"):
        distill.Network(student, training.Objective(recipe="dkd", parameters={"alpah": 1.0}), 0)
    features = distill.Features(teacher, ("fine",), ("caorse",))
    with pytest.raises(ConfigError, match="caorse"):
        distill.Network(student, training.Objective(alpha=0.5, recipe="hints", features=features), 0)
