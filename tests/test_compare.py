"""Interpreters side by side: counting bytes, and naming the op in which TFLM goes its own way."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import needs_reference, needs_tflm
from tflite_builder import dense, relu6_alone

from kd_embedded import interpreters
from kd_embedded.compare import compare, difference, differing_first, first_difference
from kd_embedded.errors import ModelError
from kd_embedded.tflite.read import parse_model


def test_difference_counts_bytes() -> None:
    one, other = np.array([[-128, 5, 7]], np.int8), np.array([[127, 5, 6]], np.int8)
    found = difference(one, other)
    assert (found.bytes_compared, found.bytes_different, found.max_difference) == (3, 2, 255)


@pytest.mark.parametrize(
    "other", [np.zeros((0, 3), np.int8), np.zeros((1, 4), np.int8), np.zeros((1, 3), np.uint8)], ids=str
)
def test_a_comparison_of_nothing_is_an_error(other: np.ndarray) -> None:
    one = np.zeros((0, 3), np.int8) if other.size == 0 else np.zeros((1, 3), np.int8)
    with pytest.raises(ModelError, match="cannot be compared"):
        difference(one, other)


@needs_reference
def test_equal_interpreters() -> None:
    x = np.random.default_rng(0).integers(-128, 128, (6, 8), dtype=np.int8)
    comparison = compare(dense(), x)
    assert set(comparison.outputs) == set(interpreters.NAMES) and not comparison.refused
    found = comparison.difference("builtin_ref", "tflm")
    assert found is not None and (found.bytes_compared, found.bytes_different) == (24, 0)
    assert first_difference(dense(), parse_model(dense(), "m"), x) is None


@needs_reference
@pytest.mark.parametrize(("behind_dense", "op_index"), [(False, 0), (True, 1)])
def test_an_unfused_relu6_is_named(behind_dense: bool, op_index: int) -> None:
    """FACTS: TFLM clamps a RELU6 that stands alone but never requantizes it."""
    model = relu6_alone(after_dense=behind_dense)
    graph = parse_model(model, "m")
    x = np.random.default_rng(0).integers(-128, 128, (20, *graph.input.shape[1:]), dtype=np.int8)
    comparison = compare(model, x, ("builtin_ref", "tflm"))
    parted = comparison.difference("builtin_ref", "tflm")
    assert parted is not None and parted.bytes_different > parted.bytes_compared // 4
    found = first_difference(model, graph, x)
    assert found is not None and (found.op_index, found.op_name) == (op_index, "RELU6")
    assert found.bytes_different > 0 and found.tensor == graph.tensors[graph.ops[op_index].outputs[0]].name


@needs_tflm
def test_what_refuses_is_told() -> None:
    """TFLM and our reference do not look at an op's version; the others refuse one that they do not know."""
    comparison = compare(dense(version=99), np.zeros((1, 8), np.int8))
    assert set(comparison.outputs) == {"tflm", "reference"} and set(comparison.refused) == {"builtin_ref", "default"}
    assert comparison.difference("builtin_ref", "tflm") is None


def test_an_absent_interpreter_is_told(monkeypatch) -> None:
    monkeypatch.setattr(interpreters, "_is_installed", lambda package: package != "tflite_micro")
    comparison = compare(dense(), np.zeros((1, 8), np.int8))
    assert set(comparison.outputs) == {"builtin_ref", "default", "reference"} and "wheel" in comparison.refused["tflm"]


def test_differing_inputs_come_first() -> None:
    inputs = np.arange(4).reshape(4, 1)
    one, other = np.array([[1], [2], [3], [4]]), np.array([[1], [9], [3], [9]])
    assert differing_first(inputs, one, other).ravel().tolist() == [1, 3, 0, 2]
