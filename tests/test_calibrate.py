"""Calibration: each method against NumPy, properties of the parameters, and ties between tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd_embedded import calibrate, keras_files, qat, quantize, students
from kd_embedded.calibrate import Histogram, histogram_counts
from kd_embedded.config import StudentSpec
from kd_embedded.tflite.graph import Op

keras_files.start_tensorflow()
_ENDS = st.floats(-1000, 1000, allow_nan=False, width=32)


def _histogram(values: Any, bins: int = 2048) -> Histogram:
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, histogram_counts(values, low, high, bins))


def _laplace(count: int = 100_000) -> Any:
    return np.random.default_rng(0).laplace(0.0, 1.0, count)


def _error(values: Any, low: float, high: float) -> float:
    (scale,), (zero_point,) = (lambda p: (p.scale, p.zero_point))(calibrate.quant_params(low, high))
    steps = np.clip(np.rint(values / scale) + zero_point, -128, 127) - zero_point
    return float(np.mean((values - steps * scale) ** 2))


@given(_ENDS, _ENDS)
def test_parameters_hold_zero_exactly_and_the_range_to_a_step(one: float, other: float) -> None:
    low, high = sorted((one, other))
    params = calibrate.quant_params(low, high)
    (scale,), (zero_point,) = params.scale, params.zero_point
    assert -128 <= zero_point <= 127 and scale > 0
    least, most = calibrate.limits_of(params)
    assert least <= 0.0 <= most
    assert least <= low + scale and most >= high - scale


@given(_ENDS, _ENDS)
def test_the_converter_reads_the_scale_back_from_the_float32_range(one: float, other: float) -> None:
    params = calibrate.quant_params(min(one, other), max(one, other))
    least, most = (np.float32(end) for end in calibrate.limits_of(params))
    assert (float(most) - float(least)) / 255 == params.scale[0] == float(np.float32(params.scale[0]))
    assert float(least) == calibrate.limits_of(params)[0]


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=60))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    found = _histogram(np.array(values), 16)
    assert found.counts.sum() == len(values)
    assert found.counts.min() >= 0


def test_counts_are_those_of_numpy() -> None:
    values = _laplace(1000)
    assert np.array_equal(_histogram(values, 50).counts, np.histogram(values, 50)[0])


def test_minmax_is_the_least_and_the_largest_value() -> None:
    values = _laplace()
    assert calibrate.METHODS["minmax"](_histogram(values)) == (values.min(), values.max())


def test_percentile_is_that_of_numpy_to_a_bin() -> None:
    values = _laplace()
    found, width = calibrate.METHODS["percentile"](_histogram(values)), np.ptp(values) / 2048
    assert np.allclose(found, np.quantile(values, [0.0005, 0.9995]), atol=1.01 * width)


def test_percentile_of_a_relu_keeps_zero() -> None:
    low, high = calibrate.METHODS["percentile"](_histogram(np.maximum(_laplace(), 0.0)))
    assert low == 0.0 and 5.0 < high < 9.0


def test_mse_is_the_best_of_all_ranges_tried() -> None:
    values = _laplace()
    low, high = calibrate.METHODS["mse"](_histogram(values))
    shares = np.linspace(0.3, 1.0, 71)
    best = min(_error(values, values.min() * share, values.max() * share) for share in shares)
    assert _error(values, low, high) <= 1.02 * best < 0.9 * _error(values, values.min(), values.max())


def test_mse_keeps_the_whole_range_of_level_values() -> None:
    values = np.linspace(-1.0, 1.0, 10_000)
    assert calibrate.METHODS["mse"](_histogram(values)) == (-1.0, 1.0)


def test_entropy_clips_a_rare_far_value_and_keeps_a_level_range() -> None:
    far = np.append(np.random.default_rng(0).normal(0.0, 1.0, 100_000), [12.0, -12.0])
    low, high = calibrate.METHODS["entropy"](_histogram(far))
    assert -9.0 < low < -3.0 and 3.0 < high < 9.0
    level = np.random.default_rng(0).uniform(0.0, 1.0, 400_000)
    assert calibrate.METHODS["entropy"](_histogram(level))[1] > 0.95


def test_entropy_does_not_clip_for_want_of_values() -> None:
    few = np.random.default_rng(0).normal(0.0, 1.0, 1500)
    low, high = calibrate.METHODS["entropy"](_histogram(few))
    assert low < 0.85 * few.min() and high > 0.85 * few.max()


def test_divergence_is_the_closed_form() -> None:
    p, q = np.array([0.36, 0.48, 0.16]), np.array([1, 1, 1]) / 3
    assert calibrate.divergence(p, q) == pytest.approx(0.36 * np.log(1.08) + 0.48 * np.log(1.44) + 0.16 * np.log(0.48))
    assert calibrate.divergence(10 * p, 3 * p) == pytest.approx(0.0)
    assert calibrate.divergence(p, np.array([1.0, 0.0, 1.0])) == np.inf


@pytest.mark.parametrize("method", calibrate.METHODS)
def test_a_tensor_of_one_value_has_a_range(method: str) -> None:
    for value in (0.0, 2.5, -2.5):
        low, high = calibrate.METHODS[method](_histogram(np.full(10, value)))
        params = calibrate.quant_params(low, high)
        least, most = calibrate.limits_of(params)
        assert least - params.scale[0] <= value <= most + params.scale[0]


def test_minmax_is_what_the_converter_finds_and_pools_share_with_their_input() -> None:
    """Sums aside: TensorFlow's calibrator reads an operand of ADD after the sum was written over it."""
    import keras
    from keras import layers

    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.MaxPooling2D(2)(layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
    x = np.random.default_rng(0).random((70, 12, 12, 3), np.float32)
    graph = qat.trace(model, x[:4], "student")
    ours = calibrate.ranges(graph, x, "minmax")
    theirs = quantize.quantize(model, x, quantize.Settings(False, False, 70), "student")[1]
    for op, other in zip(graph.ops, theirs.ops, strict=True):
        quant, mine = theirs.tensors[other.outputs[0]].quant, ours[op.outputs[0]]
        assert quant and quant.zero_point == mine.zero_point
        assert quant.scale[0] == pytest.approx(mine.scale[0], rel=1e-4)
    pool = next(op for op in graph.ops if op.name == "MAX_POOL_2D")
    assert ours[pool.inputs[0]] is ours[pool.outputs[0]]


def test_a_sum_is_calibrated_by_its_own_operands() -> None:
    student = students.build(StudentSpec(arch="resnet8", width=0.25), (8, 8, 3), 5, 1, Path())
    x = np.random.default_rng(0).random((20, 8, 8, 3), np.float32)
    graph = qat.trace(student, x[:4], "student")
    found, ranges = calibrate.histograms(graph, x), calibrate.ranges(graph, x, "minmax")
    sums: list[Op] = [op for op in graph.ops if op.name == "ADD"]
    assert len(sums) == 3
    for index in (index for op in sums for index in op.inputs):
        low, high = calibrate.limits_of(ranges[index])
        assert (high - low) == pytest.approx(max(found[index].high, 0) - min(found[index].low, 0), rel=1e-3)
