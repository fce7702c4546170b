"""Floats between two int8 tensors, folded into one table: to the byte what the interpreters compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kd_embedded import interpreters, reference
from kd_embedded.aot import compile_model
from kd_embedded.errors import ModelError
from kd_embedded.program import Call, Target
from kd_embedded.tflite.read import parse_model
from tests.conftest import needs_builtin_ref, needs_tflm
from tests.tflite_builder import O, T, build

_ALL = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)


def _model(functions: Sequence[str], source: tuple[float, int], output: tuple[float, int]) -> bytes:
    """DEQUANTIZE, the float ops, QUANTIZE."""
    floats = [T([1, 256], "float32", None) for _ in range(len(functions) + 1)]
    last = len(floats)
    names = ["DEQUANTIZE", *functions]
    ops = [O(name, [i], [i + 1], version=2 if name == "DEQUANTIZE" else 1) for i, name in enumerate(names)]
    tensors = [T([1, 256], "int8", *source), *floats, T([1, 256], "int8", *output)]
    return build(tensors, [*ops, O("QUANTIZE", [last], [last + 1])])


@needs_builtin_ref
@pytest.mark.parametrize("functions", [[], ["NEG"], ["SQUARE"], ["NEG", "SQUARE", "SQRT"]])
def test_is_builtin_ref(functions: list[str]) -> None:
    rng, models = np.random.default_rng(len(functions)), []
    for _ in range(40):
        scale = float(np.float32(2.0 ** rng.uniform(-10, 6)))
        typical = scale * scale * 100 if functions == ["SQUARE"] else scale
        output = float(np.float32(typical * 2.0 ** rng.uniform(-3, 3)))
        models.append(_model(functions, (scale, int(rng.integers(-128, 128))), (output, int(rng.integers(-128, 128)))))
    wanted = interpreters.run_batch("builtin_ref", models, [_ALL] * len(models))
    for model, outputs in zip(models, wanted, strict=True):
        assert not isinstance(outputs, Exception), outputs
        assert np.array_equal(reference.run(parse_model(model, "model"), _ALL), outputs)


@needs_tflm
def test_elu_is_that_of_tflm() -> None:
    """tflite-runtime has no reference kernel for it."""
    model = _model(["ELU"], (0.05, 10), (0.02, -60))
    oracle = interpreters.run_oracle(model, _ALL)
    assert oracle.name == "tflm"
    assert np.array_equal(reference.run(parse_model(model, "model"), _ALL), oracle.outputs)


def test_is_one_lookup() -> None:
    program = compile_model(_model(["NEG"], (0.1, 3), (0.2, -5)), "model", Target())
    assert [step.kernel for step in program.steps if isinstance(step, Call)] == ["lookup"]


def test_ops_with_another_reader_stay() -> None:
    """The float that is also wanted elsewhere keeps its ops, which the engine refuses by name."""
    tensors = [
        T([1, 4], "int8", 0.1, 3),
        T([1, 4], "float32", None),
        T([1, 4], "float32", None),
        T([1, 4], "int8", 0.2, 0),
        T([1, 4], "float32", None),
        T([1, 4], "int8", 0.2, 0),
        T([1, 4], "int8", 0.2, 0),
    ]
    chain = [O("DEQUANTIZE", [0], [1], version=2), O("NEG", [1], [2]), O("QUANTIZE", [2], [3])]
    model = build(tensors, [*chain, O("COS", [1], [4]), O("QUANTIZE", [4], [5]), O("MAXIMUM", [3, 5], [6])])
    with pytest.raises(ModelError, match=r"op 0 \(DEQUANTIZE\) is not"):
        reference.checked(parse_model(model, "model"))


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(ModelError, match=r"op 2 \(QUANTIZE\) has no int8 value for some results of SQRT"):
        reference.checked(parse_model(_model(["SQRT"], (0.1, 3), (0.2, -5)), "model"))
