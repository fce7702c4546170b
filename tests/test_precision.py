"""Mixed precision: what computes in bfloat16, what does not, and that nothing of it is left behind."""

from typing import Any

import numpy as np
import pytest

from kd_embedded import distill, keras_files
from kd_embedded.precision import computing
from kd_embedded.teachers.keras import KerasTeacher

keras_files.start_tensorflow()
_X = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)


def _model() -> Any:
    """A model in a model, behind a layer that scales, with a layer after its head: as teachers of the zoo are."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inner_inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(inner_inputs))
    x = layers.MultiHeadAttention(2, 4, name="attention")(layers.Reshape((36, 4))(x), layers.Reshape((36, 4))(x))
    x = layers.Dense(5, name="head")(layers.GlobalAveragePooling1D()(x))
    inner = keras.Model(inner_inputs, layers.Rescaling(1 / 9)(x))
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, inner(layers.Rescaling(2.0)(inputs)))


def _policies(model: Any) -> dict[str, str]:
    return {layer.name: layer.dtype_policy.name for layer in model._flatten_layers(include_self=False)}


def test_all_but_the_head_computes_in_bfloat16_and_only_inside() -> None:
    model = _model()
    with pytest.raises(KeyError), computing(model, "mixed_bfloat16"):
        inside, outputs = _policies(model), model(_X)
        raise KeyError
    assert {inside["conv"], inside["attention"], inside["query"]} == {"mixed_bfloat16"}
    assert inside["head"] == "float32" == outputs.dtype
    assert set(_policies(model).values()) == {"float32"}
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_float32_changes_nothing() -> None:
    model = _model()
    with computing(model, "float32"):
        assert set(_policies(model).values()) == {"float32"}


def test_a_teacher_answers_in_its_precision_while_its_model_stays_as_it_is() -> None:
    """Feature maps for hints and attention are taken from the model."""
    model = _model()
    exact = KerasTeacher(model).logits(_X, np.arange(6))
    mixed = KerasTeacher(model, "mixed_bfloat16").logits(_X, np.arange(6))
    assert mixed.dtype == np.float32
    assert not np.array_equal(mixed, exact)
    np.testing.assert_allclose(mixed, exact, atol=0.02 * np.abs(exact).max())
    assert np.array_equal(distill.forward(model)(_X).numpy(), exact)


def test_a_model_without_layers_before_its_head_is_as_it_was() -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    x = np.random.default_rng(0).random((3, 4), np.float32)
    assert np.array_equal(KerasTeacher(model, "mixed_bfloat16").logits(x, np.arange(3)), model(x))
