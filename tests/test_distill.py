"""The distillation loss against its closed form in NumPy, and its gradient against finite differences."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kd_embedded import distill, keras_files
from kd_embedded.teachers.keras import KerasTeacher


def _softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(z - z.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _closed_form(
    y: NDArray[np.int64], student: NDArray[np.float64], teacher: NDArray[np.float64], alpha: float, t: float, ls: float
) -> NDArray[np.float64]:
    """Hinton et al. 2015 in float64: (1 - alpha) CE + alpha T^2 KL(teacher || student)."""
    classes = student.shape[-1]
    labels = np.eye(classes)[y] * (1 - ls) + ls / classes
    hard = -(labels * np.log(_softmax(student))).sum(-1)
    p, q = _softmax(teacher / t), _softmax(student / t)
    soft = (p * (np.log(p) - np.log(q))).sum(-1)
    return (1 - alpha) * hard + alpha * t**2 * soft


def _case(seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 5, 7)
    return y, generator.normal(0, 3, (7, 5)), generator.normal(0, 4, (7, 5))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    alpha=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_loss_is_the_closed_form(seed: int, alpha: float, temperature: float, smoothing: float) -> None:
    y, student, teacher = _case(seed)
    found = distill.loss(
        y,
        student.astype(np.float32),
        teacher.astype(np.float32),
        alpha=alpha,
        temperature=temperature,
        label_smoothing=smoothing,
    )
    expected = _closed_form(y, student, teacher, alpha, temperature, smoothing)
    assert np.allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("alpha", "temperature"), [(0.0, 1.0), (0.7, 4.0), (1.0, 2.0)])
def test_gradient_is_the_finite_difference_of_the_closed_form(alpha: float, temperature: float) -> None:
    import tensorflow as tf

    y, student, teacher = _case(3)
    logits = tf.Variable(student.astype(np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(distill.loss(y, logits, teacher.astype(np.float32), alpha=alpha, temperature=temperature))
    gradient = tape.gradient(total, logits).numpy()
    step = 1e-5
    for index in np.ndindex(student.shape):
        up, down = student.copy(), student.copy()
        up[index] += step
        down[index] -= step
        high = _closed_form(y, up, teacher, alpha, temperature, 0.0).sum()
        low = _closed_form(y, down, teacher, alpha, temperature, 0.0).sum()
        assert gradient[index] == pytest.approx((high - low) / (2 * step), rel=2e-3, abs=2e-4)


def test_a_perfect_student_loses_nothing_to_its_teacher_and_extreme_logits_stay_finite() -> None:
    logits = np.array([[1000.0, -1000.0, 0.0]], np.float32)
    same = distill.loss(np.array([0]), logits, logits, alpha=1.0, temperature=2.0)
    assert np.allclose(same, 0.0, atol=1e-5)
    worst = distill.loss(np.array([1]), logits, -logits, alpha=0.5, temperature=1.0)
    assert np.isfinite(worst).all()


def test_cached_logits_are_those_of_the_teacher_and_are_computed_once(tmp_path: Path) -> None:
    import keras

    keras_files.start_tensorflow()
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
    x = np.random.default_rng(0).random((600, 6), np.float32)
    teacher = KerasTeacher(model)
    calls = []

    def compute() -> NDArray[np.float32]:
        calls.append(1)
        return distill.predict(teacher.logits, lambda i: x[i], np.arange(len(x)))

    first = distill.cached_logits(tmp_path / "logits.npz", "key", compute)
    again = distill.cached_logits(tmp_path / "logits.npz", "key", compute)
    assert len(calls) == 1
    assert first.shape == (600, 3)
    assert np.array_equal(first, again)
    assert np.allclose(first, model(x, training=False), atol=1e-5)
    distill.cached_logits(tmp_path / "logits.npz", "another key", compute)
    assert len(calls) == 2
    (tmp_path / "logits.npz").write_bytes((tmp_path / "logits.npz").read_bytes()[:200])
    distill.cached_logits(tmp_path / "logits.npz", "another key", compute)
    assert len(calls) == 3
    assert np.array_equal(distill.cached(first)(np.array([5, 2]), x), first[[5, 2]])
    assert np.allclose(distill.live(teacher, np.arange(600))(np.arange(9), x[:9]), first[:9], atol=1e-5)
