"""BATCH_MATMUL beyond what the fuzz cases show: attention from Keras to a core, a fault of BUILTIN_REF, refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import needs_reference, require_tool
from tflite_builder import O, T, build

from kd_embedded import codegen, interpreters, keras_files, quantize, reference
from kd_embedded.aot import compile_model
from kd_embedded.cores import load_core
from kd_embedded.emulate import emulate_model
from kd_embedded.errors import ModelError
from kd_embedded.program import Call, Overlap, Target
from kd_embedded.tflite.check import reference_departures
from kd_embedded.tflite.read import parse_model

keras_files.start_tensorflow()
_STEPS, _FEATURES = 6, 8
_BATCHES = [((1, 3), (2, 1)), ((2, 3), (2, 1)), ((2, 3), (1,)), ((2, 2, 2), (2, 2, 1)), ((5,), (1,))]


def _attention() -> Any:
    """Two heads, a residual connection, a normalization and a classifier."""
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((_STEPS, _FEATURES))
    x = layers.Add()([inputs, layers.MultiHeadAttention(2, 4)(inputs, inputs)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def _dots() -> Any:
    """Products with adj_x, with adj_y and with neither, without a dense layer before them."""
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((_STEPS, _FEATURES))
    x = layers.Attention()([inputs, inputs])
    x = layers.Dot(axes=1)([x, inputs])
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def _quantized(student: Any, *, per_tensor_dense: bool = True) -> bytes:
    settings = quantize.Settings(softmax=False, per_tensor_dense=per_tensor_dense, representative_samples=10)
    samples = np.random.default_rng(0).normal(size=(10, _STEPS, _FEATURES)).astype(np.float32)
    return quantize.quantize(student, samples, settings, "attention", "aot")[0]


@pytest.fixture(scope="module", params=[_attention, _dots])
def model(request: pytest.FixtureRequest) -> bytes:
    return _quantized(request.param())


def _inputs(count: int) -> Any:
    return np.random.default_rng(1).integers(-128, 128, (count, _STEPS, _FEATURES), dtype=np.int8)


@needs_reference
def test_keras_attention_is_exact(model: bytes) -> None:
    graph, x = parse_model(model, "attention"), _inputs(60)
    products = [op for op in graph.ops if op.name == "BATCH_MATMUL"]
    assert len(products) > 1 and not reference_departures(graph)
    wanted = interpreters.run("builtin_ref", model, x)
    assert np.array_equal(interpreters.run("tflm", model, x), wanted)
    assert np.array_equal(reference.run(graph, x), wanted) and len(np.unique(wanted)) > 20


@needs_reference
@pytest.mark.parametrize("core", ["host", "cortex-m4"])
def test_keras_attention_on_a_core(model: bytes, core: str) -> None:
    chosen = load_core(core)
    for tool in (f"{chosen.tools}gcc", *(machine.emulator for machine in chosen.machines)):
        require_tool(tool)
    done = emulate_model(model, "attention", chosen, _inputs(8), count=False)
    assert done.equal and done.oracle == "builtin_ref" and done.compared.bytes_compared == 8 * 4


@needs_reference
def test_heads_with_a_scale_per_channel() -> None:
    """Their dense layers are beyond BUILTIN_REF: TFLM shows that ours are right."""
    data = _quantized(_attention(), per_tensor_dense=False)
    graph, x = parse_model(data, "attention"), _inputs(60)
    assert {each.op_name for each in reference_departures(graph)} == {"FULLY_CONNECTED"}
    assert interpreters.oracle(graph) == "tflm"
    assert np.array_equal(reference.run(graph, x), interpreters.run_oracle(data, x).outputs)


def _model(x: Sequence[int], y: Sequence[int], output: Sequence[int], adjoint: tuple[bool, bool]) -> bytes:
    """x is the input, reshaped; y a constant."""
    tensors = [
        T([1, math.prod(x)], "int8", 0.05, -7),
        T([len(x)], "int32", None, data=np.array(x)),
        T(x, "int8", 0.05, -7, name="x"),
        T(y, "int8", 0.03, 11, name="y", data=np.random.default_rng(0).integers(-128, 128, y)),
        T(output, "int8", 0.05, 5),
        T([2], "int32", None, data=np.array([1, math.prod(output)])),
        T([1, math.prod(output)], "int8", 0.05, 5),
    ]
    product = O("BATCH_MATMUL", [2, 3], [4], "BatchMatMulOptions", {"AdjX": adjoint[0], "AdjY": adjoint[1]}, version=2)
    reshapes = [O("RESHAPE", [at, at + 1], [at + 2], "ReshapeOptions") for at in (0, 4)]
    return build(tensors, [reshapes[0], product, reshapes[1]])


@needs_reference
@pytest.mark.parametrize(("batch", "other"), _BATCHES)
@pytest.mark.parametrize("adjoint_x", [True, False])
def test_builtin_ref_folds_columns_wrongly(batch: Sequence[int], other: Sequence[int], adjoint_x: bool) -> None:
    """It is wrong there, and only there; TFLM and our reference are equal in every byte."""
    made = np.broadcast_shapes(tuple(batch), tuple(other))
    rows = (4, 3) if adjoint_x else (3, 4)
    data = _model([*batch, *rows], [*other, 4, 5], [*made, 3, 5], (adjoint_x, False))
    x = np.random.default_rng(1).integers(-128, 128, (5, 12 * math.prod(batch)), dtype=np.int8)
    graph = parse_model(data, "folded")
    ours, tflm, builtin = (interpreters.run(name, data, x) for name in ("reference", "tflm", "builtin_ref"))
    assert np.array_equal(ours, tflm)
    assert [each.op_name for each in reference_departures(graph)] == ["BATCH_MATMUL"] * adjoint_x
    assert np.array_equal(ours, builtin) != adjoint_x


@pytest.mark.parametrize(
    ("x", "y", "output", "changes", "told"),
    [
        ([3, 4], [5, 2], [3, 2], {}, r"makes shape \[3, 2\] of \[3, 4\] and \[5, 2\] \(adj_x False, adj_y False\)"),
        ([3, 4], [4, 2], [2, 3], {}, r"makes shape \[2, 3\] of \[3, 4\] and \[4, 2\]"),
        ([2, 3, 4], [3, 4, 2], [2, 3, 2], {}, r"makes shape \[2, 3, 2\] of \[2, 3, 4\] and \[3, 4, 2\]"),
        ([3, 4], [4], [3], {}, "2 to 5 axes"),
        ([1, 1, 1, 1, 3, 4], [4, 2], [1, 1, 1, 1, 3, 2], {}, "2 to 5 axes"),
        ([3, 4], [4, 2], [3, 2], {"dtype": "int16"}, r"tensor y of type int16"),
        ([3, 4], [4, 2], [3, 2], {"scale": None}, r"tensor y of type int8 and not quantized"),
        ([3, 4], [4, 2], [3, 2], {"scale": [0.1, 0.2], "zero_point": [0, 0], "axis": 1}, "tensor y with 2 scales"),
        ([3, 4], [4, 2], [3, 2], {"scale": 1e20}, "multiplies its sums"),
    ],
)
def test_refused_by_name(x: list[int], y: list[int], output: list[int], changes: dict[str, Any], told: str) -> None:
    known = {"scale": 0.03, "zero_point": 11, **changes}
    tensors = [T(x), T(y, name="y", data=np.ones(y), **known), T(output)]
    data = build(tensors, [O("BATCH_MATMUL", [0, 1], [2], "BatchMatMulOptions", version=2)])
    with pytest.raises(ModelError, match=rf"op 0 \(BATCH_MATMUL\) .*{told}.*: use --engine tflm"):
        codegen.checked_graph(data, "net", "aot")


def test_two_constants_are_refused() -> None:
    fixed = T([1, 3, 3], data=np.ones((1, 3, 3)))
    ops = [O("BATCH_MATMUL", [1, 1], [2], "BatchMatMulOptions"), O("ADD", [0, 2], [3], "AddOptions")]
    with pytest.raises(ModelError, match=r"op 0 \(BATCH_MATMUL\) has two constant operands"):
        codegen.checked_graph(build([T([1, 3, 3]), fixed, T([1, 3, 3]), T([1, 3, 3])], ops), "net", "aot")


def test_what_the_call_needs() -> None:
    """A constant lies as the kernel reads it: no copy. Six columns of output trail four of x in each of three rows."""
    (call,) = _calls(_model([1, 3, 4], [1, 4, 6], [1, 3, 6], (False, False)))
    assert call.scratch == 4 * 6 and call.args["y_is_columns"] == 1
    assert call.overlaps == (Overlap(0, "forward", 3 * 6 - 2 * 4),)
    (call,) = _calls(_model([1, 4, 3], [1, 6, 4], [1, 3, 6], (True, True)))
    assert call.scratch == 4 * 6 + 4 and call.overlaps == ()
    (call,) = _calls(build([T([1, 4, 4]), T([1, 4, 4])], [O("BATCH_MATMUL", [0, 0], [1], "BatchMatMulOptions")]))
    assert call.scratch == 4 * 4 + 16 and call.overlaps == ()


def _calls(data: bytes) -> list[Call]:
    return [call for call in compile_model(data, "net", Target()).calls if call.kernel == "batch_matmul"]
