"""Float and uint8 edges: what is taken off, and that the rest computes what the whole model does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import needs_reference
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tflite_builder import O, T, build

from kd_embedded import interpreters, reference
from kd_embedded.passes.strip_edges import Edge, Stripped, strip_edges
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model

QUANT = (0.05, -11)
OUT = (0.3, 7)


def with_edges(
    input_dtype: str, output_dtype: str, quant: tuple[float, int] = QUANT, outer: tuple[float, int] | None = None
) -> bytes:
    """A dense layer, int8, whose input and output are of other types; ``outer`` is a uint8 input's own quantization."""
    rng = np.random.default_rng(0)
    tensors = [
        T([1, 6], "int8", *quant, name="inner"),
        T([4, 6], "int8", 0.02, 0, data=rng.integers(-127, 128, (4, 6))),
        T([4], "int32", 0.02 * quant[0], 0, data=rng.integers(-500, 500, 4)),
        T([1, 4], "int8", *OUT, name="result"),
    ]
    ops = [O("FULLY_CONNECTED", [0, 1, 2], [3], "FullyConnectedOptions", version=4)]
    inputs, outputs = [0], [3]
    if input_dtype != "int8":
        scale, zero_point = outer or (quant[0], quant[1] + 128)
        tensors.append(T([1, 6], input_dtype, None if input_dtype == "float32" else scale, zero_point, name="outer"))
        ops.insert(0, O("QUANTIZE", [4], [0]))
        inputs = [4]
    if output_dtype != "int8":
        own = None if output_dtype == "float32" else OUT[0]
        tensors.append(T([1, 4], output_dtype, own, OUT[1] + 128, name="given"))
        ops.append(O("DEQUANTIZE" if output_dtype == "float32" else "QUANTIZE", [3], [len(tensors) - 1]))
        outputs = [len(tensors) - 1]
    return build(tensors, ops, inputs, outputs)


def strip(model: bytes) -> Stripped:
    return strip_edges(parse_model(model, "m.tflite"))


def samples() -> NDArray[Any]:
    return np.random.default_rng(1).integers(-128, 128, (16, 6), dtype=np.int8)


def names(graph: Graph) -> list[str]:
    return [op.name for op in graph.ops]


def test_what_was_stripped_is_told() -> None:
    stripped = strip(with_edges("float32", "uint8"))
    assert names(stripped.graph) == ["FULLY_CONNECTED"]
    assert stripped.graph.ops[0].index == 1  # as in the file
    assert (stripped.graph.input.name, stripped.graph.output.name) == ("inner", "result")
    assert stripped.input == Edge(4, "float32", 0, 0, np.float32(QUANT[0]), QUANT[1])
    assert stripped.output == Edge(5, "uint8", 3, 2, np.float32(OUT[0]), OUT[1])


def test_an_int8_model_stays_as_it_is() -> None:
    graph = parse_model(with_edges("int8", "int8"), "m.tflite")
    assert strip_edges(graph) == Stripped(graph, None, None)


def test_a_uint8_input_on_another_scale_stays_a_requantization() -> None:
    stripped = strip(with_edges("uint8", "int8", outer=(0.04, 100)))
    assert names(stripped.graph) == ["QUANTIZE", "FULLY_CONNECTED"]
    assert stripped.graph.input.dtype == "int8"
    assert stripped.graph.input.quant is not None and stripped.graph.input.quant.zero_point == (-28,)
    assert stripped.input is not None and stripped.input.op is None


def test_a_float_input_that_is_read_twice_is_left() -> None:
    tensors = [T([1, 6], "float32", None), *(T([1, 6], "int8", *QUANT) for _ in range(3))]
    ops = [O("QUANTIZE", [0], [1]), O("QUANTIZE", [0], [2]), O("ADD", [1, 2], [3], "AddOptions")]
    stripped = strip(build(tensors, ops))
    assert stripped.input is None and len(stripped.graph.ops) == 3


def test_float_arithmetic_at_the_end_is_left() -> None:
    tensors = [T([1, 6], "int8", *QUANT), T([1, 6], "float32", None), T([1, 6], "float32", None)]
    ops = [O("DEQUANTIZE", [0], [1]), O("SOFTMAX", [1], [2], "SoftmaxOptions", {"Beta": 1.0})]
    stripped = strip(build(tensors, ops))
    assert stripped.output is None and names(stripped.graph) == ["DEQUANTIZE", "SOFTMAX"]


@given(scale=st.floats(2.0**-100, 2.0**100, width=32), zero_point=st.integers(-128, 127))
def test_every_value_survives_its_float(scale: float, zero_point: int) -> None:
    stripped = strip(with_edges("float32", "int8", (scale, zero_point)))
    values = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1).repeat(6, 1)
    floats = stripped.feed(values)
    assert floats.dtype == np.float32 and floats.shape == values.shape
    quotients = (floats / np.float32(scale)).astype(np.float64)
    rounded = np.where(quotients < 0, np.ceil(quotients - 0.5), np.floor(quotients + 0.5))
    assert np.array_equal(np.clip(rounded + zero_point, -128, 127), values)


@needs_reference
@pytest.mark.parametrize("name", ["builtin_ref", "tflm"])
@pytest.mark.parametrize(
    ("input_dtype", "output_dtype"), [("float32", "float32"), ("uint8", "uint8"), ("int8", "uint8")]
)
def test_the_oracle_runs_the_whole_model(name: str, input_dtype: str, output_dtype: str) -> None:
    model = with_edges(input_dtype, output_dtype)
    plain = interpreters.run("builtin_ref", with_edges("int8", "int8"), samples())
    assert np.array_equal(interpreters.run_int8(name, model, samples()), plain)


@needs_reference
@pytest.mark.parametrize("edges", [("float32", "float32"), ("uint8", "uint8"), ("uint8", "float32")])
def test_the_oracle_sees_every_input_value(edges: tuple[str, str]) -> None:
    """An input that goes out as it came in: what QUANTIZE makes of the floats is what was asked for."""
    model = with_edges(*edges)
    stripped = strip(model)
    values = np.arange(-126, 126, dtype=np.int8).reshape(-1, 6)
    kept = interpreters.run_keeping("builtin_ref", model, stripped.feed(values), [0])[0]
    assert np.array_equal(kept.reshape(values.shape), values)


@needs_reference
def test_our_reference_and_the_oracle_agree_on_a_requantized_uint8_input() -> None:
    model = with_edges("uint8", "uint8", outer=(0.04, 100))
    ours = reference.run(strip(model).graph, samples())
    assert np.array_equal(interpreters.run_oracle(model, samples()).outputs, ours)
