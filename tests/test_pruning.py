"""Channel pruning: the schedule, what goes together, and that what is cut off changed nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import KilledError

from kd_embedded import keras_files, pruning, students, training
from kd_embedded.config import DistillSpec, StudentSpec
from kd_embedded.errors import ModelError
from kd_embedded.progress import Progress

keras_files.start_tensorflow()
_SHAPE = (8, 8, 1)


def _student(arch: str, width: float = 0.5) -> Any:
    model = students.build(StudentSpec(arch=arch, width=width), _SHAPE, 10, 1, Path())
    generator = np.random.default_rng(1)
    for variable in model.variables:  # as training leaves them
        if "variance" in variable.path or "gamma" in variable.path:
            variable.assign(generator.uniform(0.5, 2.0, variable.shape))
        elif "kernel" not in variable.path:
            variable.assign(generator.normal(0.0, 0.2, variable.shape))
    return model


def _x(count: int = 16) -> Any:
    return np.random.default_rng(0).random((count, *_SHAPE), np.float32)


@given(st.integers(1, 300), st.floats(0.0, 0.9), st.floats(0, 1), st.floats(0, 1))
def test_the_schedule_rises_from_nothing_to_the_share_asked_for(
    epochs: int, final: float, one: float, two: float
) -> None:
    early, late = sorted((one * epochs, two * epochs))
    assert pruning.share_at(early, epochs, final) <= pruning.share_at(late, epochs, final) + 1e-12
    assert pruning.share_at(0.0, epochs, final) == 0.0
    assert pruning.share_at(epochs, epochs, final) == pytest.approx(final)
    assert pruning.share_at(pruning.settled(epochs) + 1, epochs, final) == pytest.approx(final)


def test_the_schedule_is_zhus_cubic() -> None:
    middle = pruning.share_at(35.0, 100, 0.8)  # halfway between the tenth and the sixtieth epoch
    assert middle == pytest.approx(0.8 + (0.0 - 0.8) * (1 - 0.5) ** 3)


@given(st.integers(1, 256), st.floats(0.0, 0.9))
def test_a_channel_stays_and_words_stay_whole(channels: int, share: float) -> None:
    left = channels - pruning.count(channels, share)
    assert 1 <= left <= channels and left >= channels * (1 - share) - 1e-6
    assert channels % 4 or left % 4 == 0


def test_the_channels_of_a_sum_are_one_group() -> None:
    found = pruning.groups(_student("resnet8"))
    sizes = sorted(found.sizes[group] for group in found.prunable)
    assert sizes == [8, 8, 16, 16, 32, 32]
    stem = next(g for g in found.prunable if "conv" in {layer.name for layer in found.makers(g)})
    assert {layer.name for layer in found.makers(stem)} == {"conv", "block1_b"}


def test_magnitudes_are_norms_of_the_folded_kernel() -> None:
    student = _student("tiny_cnn")
    found = pruning.groups(student)
    group = found.outputs["conv2"]
    norm, kernel = student.get_layer("conv2_bn"), student.get_layer("conv2").kernel.numpy()
    folded = kernel * norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    expected = np.sqrt((folded**2).sum(axis=(0, 1, 2)))
    assert np.allclose(pruning.magnitudes(found, group), expected, rtol=1e-5)


@pytest.mark.parametrize("arch", ["mlp", "tiny_cnn", "ds_cnn", "resnet8"])
def test_cutting_off_what_is_pruned_changes_nothing(arch: str) -> None:
    student = _student(arch)
    whole = student.count_params()
    prune = pruning.after_step(student, epochs=10, final=0.5)
    prune(student, 10.0)
    after = np.asarray(student(_x()))
    small = pruning.removed(student)
    assert small.count_params() < 0.6 * whole
    assert small.count_params() == pruning.narrowed(_student(arch), 0.5).count_params()
    assert np.allclose(np.asarray(small(_x())), after, atol=1e-5)
    assert [layer.name for layer in small.layers] == [layer.name for layer in student.layers]


def test_the_weakest_channels_go_and_nothing_goes_before_it_is_time() -> None:
    student = _student("tiny_cnn")
    found = pruning.groups(student)
    group = found.outputs["conv3"]
    before = pruning.magnitudes(found, group)
    prune = pruning.after_step(student, epochs=100, final=0.5)
    prune(student, 5.0)
    assert np.array_equal(pruning.magnitudes(found, group), before)
    prune(student, 100.0)
    gone = pruning.magnitudes(found, group) == 0
    assert gone.sum() == pruning.count(len(before), 0.5) > 0
    assert before[gone].max() < before[~gone].min()


def test_what_other_layers_mix_stays() -> None:
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE)
    x = layers.Conv2D(8, 3, activation="sigmoid", name="half_at_zero")(inputs)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="joined")(x)
    x = layers.Concatenate()([x, y])
    x = layers.Conv2D(8, 3, activation="relu", name="flattened")(x)
    x = layers.Dense(8, activation="relu", name="free")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    found = pruning.groups(model)
    assert [layer.name for group in found.prunable for layer in found.makers(group)] == ["free"]
    pruning.after_step(model, 1, 0.5)(model, 1.0)
    small = pruning.removed(model)
    assert small.get_layer("free").units == 4
    assert np.allclose(small(_x()), model(_x()), atol=1e-5)


def test_a_sequential_model_from_a_file_is_cut(tmp_path: Path) -> None:
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(8, 3), layers.ReLU(), layers.Conv2D(3, 2)])
    model.add(layers.GlobalAveragePooling2D())
    keras_files.save(model, tmp_path / "own.keras")
    small = pruning.narrowed(keras_files.load(tmp_path / "own.keras"), 0.5)
    assert [layer.filters for layer in small.layers if isinstance(layer, layers.Conv2D)] == [4, 3]


def _called_on_two(x: Any) -> Any:
    from keras import layers

    shared = layers.Conv2D(8, 1)
    return layers.Add()([shared(x), shared(layers.Conv2D(8, 1)(x))])


def _behind(name: str, x: Any) -> Any:
    from keras import layers

    return {
        "batch norm without scale": lambda: layers.BatchNormalization(scale=False)(x),
        "a slope for each value": lambda: layers.PReLU()(x),
        "a slope for all channels": lambda: layers.PReLU(shared_axes=[1, 2, 3])(x),
        "a layer called on two": lambda: _called_on_two(x),
        "a constant added": lambda: x + 1.0,
        "itself added": lambda: x + x,
        "one channel added to all": lambda: layers.Add()([x, layers.Conv2D(1, 1)(x)]),
    }[name]()


@pytest.mark.parametrize(
    ("behind", "share"),
    [
        ("batch norm without scale", 0.7),
        ("a slope for each value", 0.7),
        ("a slope for all channels", 0.7),
        ("a layer called on two", 0.999),
        ("a constant added", 0.999),
        ("itself added", 0.7),
        ("one channel added to all", 0.999),
    ],
)
def test_layers_of_a_users_own_model_let_pruned_channels_go(behind: str, share: float) -> None:
    """Where a channel that is zero does not stay so, or cannot be told, it stays; another layer is cut then."""
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE)
    x = _behind(behind, layers.Conv2D(8, 3)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3)(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    generator = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(generator.uniform(0.5, 2.0, variable.shape))
    pruning.after_step(model, epochs=10, final=0.5)(model, 10.0)
    small = pruning.removed(model)
    assert small.count_params() < share * model.count_params()
    assert np.allclose(small(_x()), model(_x()), atol=1e-3, rtol=1e-5)


def test_a_share_that_takes_nothing_away_is_refused() -> None:
    with pytest.raises(ModelError, match=r"student.prune: 0.5 takes no channel away: layers have 4 at most"):
        pruning.narrowed(_student("ds_cnn", 0.0625), 0.5)
    assert pruning.narrowed(_student("ds_cnn", 0.125), 0.5).count_params() < _student("ds_cnn", 0.125).count_params()


def test_a_model_of_logits_alone_is_refused() -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ModelError, match=r"student\.prune: has no channels that can be pruned"):
        pruning.groups(model)


def test_training_prunes_and_a_fit_that_was_killed_prunes_the_same(tmp_path: Path) -> None:
    x = _x(64)
    y = np.arange(64) % 10
    samples = training.Samples(lambda at: x[at], y, np.ones(64, np.float32), lambda at: x[at], y)

    def fit(name: str, kill_after: float = 99.0) -> Any:
        student = students.build(StudentSpec(arch="tiny_cnn"), _SHAPE, 10, 1, Path())
        prune = pruning.after_step(student, 5, 0.5)

        def step(model: Any, epoch: float) -> None:
            if epoch > kill_after:
                raise KilledError
            prune(model, epoch)

        training.CHECKPOINT_SECONDS, kept = 0.0, training.CHECKPOINT_SECONDS
        try:
            training.fit(
                student,
                samples,
                DistillSpec(epochs=5, batch_size=16),
                training.Objective(),
                seed=1,
                checkpoint=tmp_path / name,
                key=name,
                title=name,
                progress=Progress(),
                after_step=step,
                best_from=pruning.settled(5),
            )
        finally:
            training.CHECKPOINT_SECONDS = kept
        return student

    whole = fit("whole")
    with pytest.raises(KilledError):
        fit("resumed", kill_after=3.4)
    again = fit("resumed")
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), again.get_weights(), strict=True))
    small = pruning.removed(whole)
    assert small.get_layer("conv3").filters == 12 and small.get_layer("conv1").filters == 4
    assert np.allclose(small(x), whole(x), atol=1e-5)
