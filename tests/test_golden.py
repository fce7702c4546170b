"""Golden vectors: where they come from, and every file that cannot give any."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import firmware_projects as projects
import numpy as np
import pytest
from conftest import needs_reference, needs_tflm
from tflite_builder import relu6_alone, sequence_dense

from kd_embedded import codegen, golden, interpreters, reference
from kd_embedded.boards import load_board
from kd_embedded.codegen import tflm
from kd_embedded.errors import DataError, ModelError

MODEL = projects.TINY.read_bytes()
GRAPH = codegen.checked_graph(MODEL, "tiny")
QUANT = GRAPH.input.quant
assert QUANT is not None
X = np.random.default_rng(5).uniform(0, 1, (9, 8, 8, 1)).astype(np.float32)


def test_random_vectors_are_seeded_and_their_outputs_the_oracles() -> None:
    vectors = golden.from_random(MODEL, GRAPH)
    assert len(vectors) == 8 and vectors.source == "seeded random inputs" and vectors.labels is None
    assert vectors.x_q.min() < -120 and vectors.x_q.max() > 120
    again, other = golden.from_random(MODEL, GRAPH), golden.from_random(MODEL, GRAPH, seed=1)
    assert (again.x_q == vectors.x_q).all() and (other.x_q != vectors.x_q).any()
    assert (vectors.y_q == interpreters.run_oracle(MODEL, vectors.x_q).outputs).all()
    assert len(np.unique(vectors.y_q, axis=0)) > 4  # a model that says one thing to everything proves nothing
    assert "TensorFlow Lite Micro" in vectors.reference


def refuse(*_: Any) -> NoReturn:
    raise interpreters.ModelRefusedError("no reference")


def test_without_an_oracle_the_header_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LiteRT alone, and an op that our own reference does not have."""
    monkeypatch.setattr(interpreters, "oracle", lambda *_: "reference")
    monkeypatch.setattr(interpreters, "run_oracle", refuse)
    vectors = golden.from_random(MODEL, GRAPH)
    assert "NO exact reference" in vectors.reference
    header = projects.plan(tmp_path / "out", golden=vectors).generated["src/golden_vectors.h"]
    assert "NO exact reference" in header and "seeded random inputs" in header


@needs_reference
def test_the_two_references_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gave the same bytes for these inputs" in golden.from_random(MODEL, GRAPH).reference
    model = relu6_alone(after_dense=True)
    graph = codegen.checked_graph(model, "relu6")
    with pytest.raises(ModelError, match=r"differ in \d+ of 32 output bytes, .*op 1 \(RELU6, tensor"):
        golden.from_random(model, graph)
    available = interpreters.available()
    monkeypatch.setattr(interpreters, "available", lambda: {**available, "tflm": "no wheel"})
    assert "NOT compared with TensorFlow Lite Micro" in golden.from_random(MODEL, GRAPH).reference
    assert "NOT compared" in golden.from_random(model, graph).reference


@needs_reference
def test_where_they_differ_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An op that no one knew to differ: here RELU6, forgotten."""
    monkeypatch.setattr(tflm, "tflm_departures", lambda graph: ())
    model = tmp_path / "relu6.tflite"
    model.write_bytes(relu6_alone(after_dense=True))
    with pytest.raises(ModelError, match="RELU6"):
        codegen.plan_file(model, [(load_board("esp32"), tmp_path / "out")], name="relu6")
    assert list(tmp_path.iterdir()) == [model]


@needs_tflm
def test_tflm_alone_is_said_to_be_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "oracle", lambda *_: "tflm")
    assert golden.from_random(MODEL, GRAPH).reference == "the TensorFlow Lite Micro interpreter itself"


@needs_reference
@pytest.mark.parametrize("on_tflm", [True, False])
def test_where_builtin_ref_is_wrong_tflm_gives_the_vectors(on_tflm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For both engines, and our own reference must give the same."""
    model = sequence_dense()
    graph = codegen.checked_graph(model, "sequence", "aot")
    vectors = golden.from_random(model, graph, on_tflm=on_tflm)
    assert (vectors.y_q == interpreters.run("tflm", model, vectors.x_q)).all()
    assert "which BUILTIN_REF does not: op 0 (FULLY_CONNECTED) is wrong there" in vectors.reference
    real = reference.run
    monkeypatch.setattr(reference, "run", lambda graph, inputs: real(graph, inputs) ^ np.int8(1))
    with pytest.raises(ModelError, match="TFLM and .* differ in 96 of 96 output bytes, by up to 1"):
        golden.from_random(model, graph, on_tflm=on_tflm)


def test_quantize_rounds_halves_away_from_zero_and_clamps() -> None:
    from kd_embedded.tflite.graph import QuantParams

    x = np.array([0.5, -0.5, 1.5, 0.49999997, -300, 300, 1e30])
    assert golden.quantize(x, QuantParams((1.0,), (0,))).tolist() == [1, -1, 2, 0, -128, 127, 127]
    assert golden.quantize(np.array([0.0, 0.1]), QuantParams((0.1,), (-3,))).tolist() == [-3, -2]


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_file_of_real_values_or_of_int8(tmp_path: Path) -> None:
    y = np.arange(9) % 3
    real = golden.from_npz(save(tmp_path / "real.npz", x=X, y=y, more=X), MODEL, GRAPH)
    assert real.source == "real.npz" and real.labels is not None and (real.labels == y).all()
    assert (real.x_q == golden.quantize(X, QUANT)).all()
    as_is = golden.from_npz(save(tmp_path / "int8.npz", x=real.x_q), MODEL, GRAPH)
    assert as_is.labels is None and (as_is.x_q == real.x_q).all() and (as_is.y_q == real.y_q).all()


def test_of_a_large_file_the_first_are_taken_and_it_is_said(tmp_path: Path) -> None:
    many = np.concatenate([X] * 5)
    vectors = golden.from_npz(save(tmp_path / "many.npz", x=many, y=np.zeros(45, int)), MODEL, GRAPH)
    assert len(vectors) == 32 and vectors.labels is not None and len(vectors.labels) == 32
    assert vectors.source == "the first 32 of 45 in many.npz"


NAN = X.copy()
NAN[3, 2, 1, 0] = np.nan


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"inputs": X}, "no array x"),
        ({"x": X[:, :, :, 0]}, r"x has the shape \[9, 8, 8\]: the model takes \[K, 8, 8, 1\]"),
        ({"x": X[:7]}, "x holds 7 vectors: at least 8"),
        ({"x": X[:0]}, "x holds 0 vectors"),
        ({"x": NAN}, "NaN"),
        ({"x": X.astype(np.int32)}, "x is int32"),
        ({"x": np.array("text")}, "x is <U4"),
        ({"x": np.array([{}] * 9)}, "cannot be read as .npz"),
        ({"x": X, "y": np.arange(8)}, r"y is int64 of the shape \[8\]"),
        ({"x": X, "y": np.zeros(9)}, "y is float64"),
        ({"x": X, "y": np.full(9, 3)}, "y goes from 3 to 3: the model has classes 0 to 2"),
        ({"x": X, "y": np.full(9, -1)}, "y goes from -1"),
    ],
)
def test_files_that_give_no_vectors(tmp_path: Path, arrays: dict[str, Any], what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        golden.from_npz(save(tmp_path / "bad.npz", **arrays), MODEL, GRAPH)
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"random bytes", b"PK\x03\x04 cut off", None])
def test_files_that_are_no_npz(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="no such file" if content is None else "cannot be read as .npz"):
        golden.from_npz(path, MODEL, GRAPH)
    with path.open("wb") as stream:
        np.save(stream, X)
    with pytest.raises(DataError, match="one bare array"):
        golden.from_npz(path, MODEL, GRAPH)
