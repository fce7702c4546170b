"""Our own interpreter: the public models to the byte, bounded memory, and what it does not run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import O, T, build, dense, relu6_alone

from kd_embedded import interpreters, reference
from kd_embedded.errors import ModelError
from kd_embedded.tflite.read import parse_model, read_model

_PUBLIC = (
    *("ad01_int8", "hello_world_int8", "kws_ref_model", "micro_speech_quantized", "person_detect"),
    *("pretrainedResnet_quant", "str_ww_ref_model", "vww_96_int8"),
)
needs_oracle = pytest.mark.skipif(interpreters.oracle() == "reference", reason="no other exact interpreter here")


def samples(path: Path, count: int) -> np.ndarray:
    shape = read_model(path).input.shape[1:]
    return np.random.default_rng(11).integers(-128, 128, (count, *shape), dtype=np.int8)


@needs_oracle
@pytest.mark.parametrize("name", ["tiny", "residual", *_PUBLIC])
def test_whole_models_to_the_byte(model_file: Callable[[str], Path], name: str) -> None:
    path = model_file(name)
    x = samples(path, 4)
    wanted = interpreters.run_oracle(path.read_bytes(), x).outputs
    found = reference.run(read_model(path), x)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape and (found == wanted).all()


@needs_oracle
def test_every_tensor_can_be_kept() -> None:
    model, x = relu6_alone(after_dense=True), np.arange(16, dtype=np.int8).reshape(2, 8)
    mine, theirs = (interpreters.run_keeping(name, model, x, [0, 1, 3, 4, 5]) for name in ("reference", "builtin_ref"))
    for index, value in mine.items():
        assert value.shape == theirs[index].shape and (value == theirs[index]).all(), index


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = parse_model(dense(), "m"), np.random.default_rng(1).integers(-128, 128, (50, 8), dtype=np.int8)
    whole = reference.run(graph, x)
    monkeypatch.setattr(reference, "_CHUNK_ELEMENTS", 64)  # two samples of the 32 weights at a time
    assert (reference.run(graph, x) == whole).all() and len(np.unique(whole)) > 10


def test_values_die_with_their_last_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a chain of ten ops no more than two activations are there at once."""
    tensors = [T([1, 8], scale=0.1 + i / 100) for i in range(11)]
    graph = parse_model(build(tensors, [O("RELU", [i], [i + 1]) for i in range(10)]), "m")
    held = []
    outputs = reference._outputs

    def counted(graph, op, values):
        held.append(len(values))
        return outputs(graph, op, values)

    monkeypatch.setattr(reference, "_outputs", counted)
    reference.run(graph, np.zeros((3, 8), np.int8))
    assert len(held) == 10 and max(held) == 1


def test_a_thousand_inputs_take_seconds() -> None:
    """Some 80 000 multiply-accumulates each, and 30 s on a machine that does ten other things."""
    path = Path(__file__).resolve().parent / "data" / "residual.tflite"
    x = samples(path, 1000)
    start = time.perf_counter()
    assert reference.run(read_model(path), x).shape == (1000, 10)
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (
            build([T([1, 4]), T([1, 4])], [O("ZEROS_LIKE", [0], [1])]),
            np.zeros((1, 4), np.int8),
            "ZEROS_LIKE.*engine tflm",
        ),
        (dense(), np.zeros((1, 9), np.int8), r"inputs of shape \[1, 9\] do not suit the model's \[1, 8\]"),
        (dense(), np.zeros((0, 8), np.int8), "one or more samples"),
    ],
)
def test_what_it_does_not_run(model: bytes, x: np.ndarray, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        reference.run(parse_model(model, "m"), x)


def test_float_edges_are_taken_off() -> None:
    """What goes in and comes out is int8 on the inner side of QUANTIZE and DEQUANTIZE."""
    tensors = [T([1, 4], "float32", None), T([1, 4]), T([1, 4], scale=0.05, zero_point=3), T([1, 4], "float32", None)]
    edges = [O("QUANTIZE", [0], [1]), O("RELU", [1], [2]), O("DEQUANTIZE", [2], [3])]
    x = np.array([[-128, -1, 0, 50]], np.int8)
    inner = build(tensors[1:3], [O("RELU", [0], [1])])
    assert (
        reference.run(parse_model(build(tensors, edges), "m"), x) == reference.run(parse_model(inner, "m"), x)
    ).all()


@pytest.mark.parametrize("depth", [513, 1001, 4095])
def test_softmax_of_a_long_level_row_is_nothing_everywhere(depth: int) -> None:
    """No class reaches half a step; beyond 512 TFLite's own shift is undefined."""
    model = build([T([1, depth]), T([1, depth], scale=1 / 256, zero_point=-128)], [softmax()])
    level = np.full((1, depth), 7, np.int8)
    assert (reference.run(parse_model(model, "m"), level) == -128).all()
    level[0, 3] = 127
    assert reference.run(parse_model(model, "m"), level)[0, 3] > 0


def softmax() -> O:
    return O("SOFTMAX", [0], [1], "SoftmaxOptions", {"Beta": 1.0})
