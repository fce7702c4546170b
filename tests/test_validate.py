"""validation.json: accuracy, agreement, proof, budgets, and what is missing told plainly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_reference, needs_tflm
from tflite_builder import O, T, build, dense, relu6_alone, sequence_dense

from kd_embedded import interpreters, reference
from kd_embedded.artifacts import to_json
from kd_embedded.config import BudgetSpec
from kd_embedded.errors import DataError, ModelError
from kd_embedded.metrics import predicted_classes
from kd_embedded.validate import failures, validate

X = np.random.default_rng(3).integers(-128, 128, (40, 8), dtype=np.int8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "dense.tflite"
    path.write_bytes(dense())
    return path


@needs_reference
def test_the_whole_document(model: Path) -> None:
    outputs = interpreters.run("builtin_ref", model.read_bytes(), X)
    y = predicted_classes(outputs)
    wrong = y.copy()
    wrong[:4] = (y[:4] + 1) % 4  # the student is right in 36 of 40
    perfect = np.eye(4)[wrong]
    student = np.eye(4)[np.where(np.arange(40) < 2, wrong, y)]  # right in 38
    document = validate(
        model,
        X,
        wrong,
        class_names=["a", "b", "c", "d"],
        teacher_logits=perfect,
        student_logits=student,
        budgets=BudgetSpec(min_accuracy=0.89, max_accuracy_drop=0.1, max_flash_kib=200.0, max_ram_kib=10.0),
        sizes={"esp32": (150 * 1024, 9 * 1024), "pico": (250 * 1024, 9 * 1024)},
    )
    assert document["samples"] == 40
    assert document["accuracy"] == {"teacher": 1.0, "student_float": 0.95, "student_int8": 0.9}
    assert document["drop"] == pytest.approx({"teacher_to_float": 0.05, "float_to_int8": 0.05, "teacher_to_int8": 0.1})
    assert document["agreement"] == pytest.approx({"teacher_float": 0.95, "teacher_int8": 0.9, "float_int8": 0.95})
    low, high = document["interval95"]
    assert low < 0.9 < high
    assert sum(map(sum, document["confusion"])) == 40
    assert [entry["name"] for entry in document["per_class"]] == ["a", "b", "c", "d"]
    assert sum(entry["count"] for entry in document["top_confusions"]) == 4
    assert document["oracle"] == "builtin_ref" and document["missing_proof"] == []
    assert document["first_difference"] is None
    for name, against in (
        *(("builtin_ref", "tflm"), ("default", "tflm")),
        *(("tflm", "builtin_ref"), ("reference", "tflm")),
    ):
        entry = document["interpreters"][name]
        assert entry["against"] == against and entry["bytes_compared"] == 160 and entry["refused"] is None
        assert entry["accuracy"] == pytest.approx(0.9, abs=0.05)
    assert document["interpreters"]["tflm"]["bytes_different"] == 0
    assert document["interpreters"]["reference"]["bytes_different"] == 0
    assert [(b["name"], b["board"], b["met"]) for b in document["budgets"]] == [
        ("min_accuracy", None, True),
        ("max_accuracy_drop", None, True),
        ("max_flash_kib", "esp32", True),
        ("max_flash_kib", "pico", False),
        ("max_ram_kib", "esp32", True),
        ("max_ram_kib", "pico", True),
    ]
    assert failures(document) == ["budget max_flash_kib on pico is missed: 250, and the limit is 200"]
    assert json.loads(to_json(document)) == document


@pytest.mark.parametrize(("measured", "said"), [(200.1, "200.1"), (200.04, "200.04"), (200.0000001, "200.0000001")])
def test_a_narrow_miss_does_not_look_like_none(measured: float, said: str) -> None:
    budget = {"name": "max_flash_kib", "board": None, "limit": 200.0, "measured": measured, "met": False}
    proven = {"engine": "tflm", "interpreters": {"tflm": {"bytes_different": 0}}, "standard": None}
    assert failures({**proven, "budgets": [budget]})[-1].endswith(f"is missed: {said}, and the limit is 200")


def test_without_labels_figures_are_null(model: Path) -> None:
    document = validate(model, X, budgets=BudgetSpec(min_accuracy=0.5))
    assert document["accuracy"] == {"teacher": None, "student_float": None, "student_int8": None}
    assert document["confusion"] is None and document["interval95"] is None
    assert failures(document) == ["budget min_accuracy is missed: could not be measured, and the limit is 0.5"]


def test_real_inputs_are_quantized_with_the_models_scale(model: Path) -> None:
    quantized = validate(model, X, np.zeros(40, np.int64))
    real = validate(model, (X.astype(np.float32) - 3) * np.float32(0.1), np.zeros(40, np.int64))
    assert real == quantized


@needs_reference
def test_tflm_going_its_own_way_fails_and_names_the_op(tmp_path: Path) -> None:
    path = tmp_path / "relu6.tflite"
    path.write_bytes(relu6_alone(after_dense=True))
    document = validate(path, X)
    assert document["interpreters"]["tflm"]["bytes_different"] > 0
    assert document["first_difference"]["op_index"] == 1
    (line,) = failures(document)
    assert line.startswith("BUILTIN_REF and TFLM differ in ") and "op 1 (RELU6, tensor tensor_4)" in line


@needs_reference
def test_the_aot_engine_is_measured_by_its_own_references(model: Path) -> None:
    model.write_bytes(relu6_alone(after_dense=True))
    document = validate(model, X, engine="aot")
    assert document["interpreters"]["tflm"]["bytes_different"] > 0 and failures(document) == []
    entry = document["interpreters"]["reference"]
    assert (entry["against"], entry["bytes_different"]) == ("builtin_ref", 0) and entry["bytes_compared"] == 160
    assert document["interpreters"]["tflm"]["against"] == "reference"
    assert document["engine"] == "aot" and document["first_difference"] is None and document["missing_proof"] == []


@needs_reference
def test_an_aot_reference_that_is_wrong_fails_and_names_the_op(model: Path, monkeypatch) -> None:
    real = reference.run_keeping

    def wrong(graph, inputs, tensors):
        return {index: value ^ np.int8(1) for index, value in real(graph, inputs, tensors).items()}

    monkeypatch.setattr(reference, "run_keeping", wrong)
    (line,) = failures(validate(model, X, engine="aot"))
    assert line.startswith("BUILTIN_REF and kd-embedded's aot engine differ in 160 of 160 bytes, by up to 1; op 0")


SEQUENCES = np.random.default_rng(4).integers(-128, 128, (40, 3, 8), dtype=np.int8)


@needs_reference
@pytest.mark.parametrize(
    ("engine", "device", "standard"), [("tflm", "tflm", "reference"), ("aot", "reference", "tflm")]
)
def test_where_builtin_ref_is_wrong_tflm_and_our_references_must_agree(
    model: Path, engine: str, device: str, standard: str
) -> None:
    model.write_bytes(sequence_dense())
    document = validate(model, SEQUENCES, engine=engine)
    assert failures(document) == [] and document["missing_proof"] == [] and document["first_difference"] is None
    assert (document["oracle"], document["standard"]) == ("tflm", standard)
    (departure,) = document["reference_departures"]
    assert (departure["op_index"], departure["op_name"]) == (0, "FULLY_CONNECTED")
    entry = document["interpreters"][device]
    assert (entry["against"], entry["bytes_compared"], entry["bytes_different"]) == (standard, 40 * 12, 0)
    wrong = document["interpreters"]["builtin_ref"]
    assert wrong["against"] == device and wrong["bytes_different"] > 100


@needs_reference
def test_where_builtin_ref_is_wrong_a_wrong_reference_fails(model: Path, monkeypatch) -> None:
    model.write_bytes(sequence_dense())
    real = reference.run_keeping

    def wrong(graph, inputs, tensors):
        return {index: value ^ np.int8(1) for index, value in real(graph, inputs, tensors).items()}

    monkeypatch.setattr(reference, "run_keeping", wrong)
    (line,) = failures(validate(model, SEQUENCES, engine="aot"))
    assert line.startswith("TFLM and kd-embedded's aot engine differ in 480 of 480 bytes, by up to 1; op 0 (FULLY_CONN")
    (line,) = failures(validate(model, SEQUENCES))
    assert line.startswith("kd-embedded's integer reference and TFLM differ in 480 of 480 bytes, by up to 1; op 0 (FUL")


@needs_reference
def test_where_both_are_wrong_the_missing_proof_is_told(model: Path) -> None:
    """A dense layer that BUILTIN_REF computes wrongly, and behind it a RELU6 alone, which TFLM does."""
    weights, scales = np.arange(32).reshape(4, 8), [0.02, 0.03, 0.04, 0.05]
    relu = O("RELU6", [2], [3])
    tensors = [
        T([1, 3, 8], "int8", 0.1, 3),
        T([4, 8], "int8", scales, [0] * 4, data=weights),
        T([1, 3, 4], "int8", 0.3, -7),
        T([1, 3, 4], "int8", 6 / 255, -128),
    ]
    dense_op = O("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions", {"KeepNumDims": True}, version=5)
    model.write_bytes(build(tensors, [dense_op, relu]))
    document = validate(model, SEQUENCES, engine="aot")
    assert document["oracle"] == "reference" and document["standard"] is None and failures(document) == []
    (line,) = document["missing_proof"]
    assert line.startswith(
        "BUILTIN_REF computes op 0 (FULLY_CONNECTED) wrongly, and TFLM is not here, or is wrong too: "
    )


def test_a_model_outside_the_aot_engine_is_an_error(model: Path) -> None:
    model.write_bytes(NO_REFERENCE)
    with pytest.raises(ModelError, match=r"op 0 \(ZEROS_LIKE\) is not among the ops of the aot"):
        validate(model, X, engine="aot")


@needs_tflm
def test_a_model_that_tflm_refuses_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "exp.tflite"
    path.write_bytes(build([T([1, 8]), T([1, 8])], [O("EXP", [0], [1])]))
    with pytest.raises(ModelError, match=r"exp.tflite: TFLM: cannot run the model: .*EXP"):
        validate(path, X)


@needs_reference
def test_where_tflite_runtime_refuses_the_missing_proof_is_told(model: Path) -> None:
    model.write_bytes(dense(version=99))  # TFLM does not look at an op's version
    document = validate(model, X, np.zeros(40, np.int64))
    assert document["oracle"] == "tflm" and document["accuracy"]["student_int8"] is not None
    assert document["interpreters"]["builtin_ref"]["bytes_compared"] is None
    assert document["interpreters"]["builtin_ref"]["refused"]
    (line,) = document["missing_proof"]
    assert line.startswith("BUILTIN_REF did not run (")
    assert failures(document) == []


def only(*packages: str):
    return lambda package: package in packages


def test_without_tflm_accuracy_is_still_measured(model: Path, monkeypatch) -> None:
    installed = "tflite_runtime" if interpreters.oracle() == "builtin_ref" else "ai_edge_litert"
    monkeypatch.setattr(interpreters, "_is_installed", only(installed))
    document = validate(model, X, np.zeros(40, np.int64))
    assert document["accuracy"]["student_int8"] is not None
    assert document["interpreters"]["tflm"]["bytes_compared"] is None
    assert any("TFLM did not run here" in line for line in document["missing_proof"])
    assert document["interpreters"]["default"]["bytes_compared"] == 160


@needs_tflm
def test_under_litert_tflm_is_the_oracle(model: Path, monkeypatch) -> None:
    """tflite-runtime, where it is here, stands in for ai-edge-litert in the child: what changes is what is believed."""
    monkeypatch.setattr(interpreters, "_is_installed", only("ai_edge_litert", "tflite_micro"))
    document = validate(model, X, np.zeros(40, np.int64))
    assert document["oracle"] == "tflm" and document["first_difference"] is None
    assert document["missing_proof"] == []  # our own reference confirms it
    assert document["interpreters"]["reference"]["bytes_different"] == 0
    monkeypatch.setattr(interpreters, "_is_installed", only("ai_edge_litert"))
    document = validate(model, X, np.zeros(40, np.int64))
    assert document["oracle"] == "reference" and document["interpreters"]["builtin_ref"]["against"] == "reference"


# No aot op: TFLM's interpreter alone runs it.
NO_REFERENCE = build([T([1, 8]), T([1, 8])], [O("ZEROS_LIKE", [0], [1])])


def test_without_any_wheel_our_reference_is_the_oracle(model: Path, monkeypatch) -> None:
    monkeypatch.setattr(interpreters, "_is_installed", only())
    document = validate(model, X, np.zeros(40, np.int64))
    assert document["oracle"] == "reference" and document["accuracy"]["student_int8"] is not None
    assert len(document["missing_proof"]) == 1 and "TFLM did not run here" in document["missing_proof"][0]
    model.write_bytes(NO_REFERENCE)
    with pytest.raises(ModelError, match=r"no interpreter runs it: op 0 \(ZEROS_LIKE\) is not in the aot engine"):
        validate(model, X)


@needs_tflm
def test_an_op_without_a_reference_leaves_a_proof_missing(model: Path, monkeypatch) -> None:
    model.write_bytes(NO_REFERENCE)
    monkeypatch.setattr(interpreters, "_is_installed", only("tflite_micro"))
    document = validate(model, X)
    assert document["oracle"] == "tflm" and document["interpreters"]["reference"]["refused"]
    assert document["missing_proof"] == [
        "tflite-runtime is not installed here: nothing independent confirms what TFLM computes."
    ]


@pytest.mark.parametrize(
    ("x", "y", "more", "words"),
    [
        (X[:0], None, {}, "do not suit the model's input"),
        (X[:, :5], None, {}, "do not suit the model's input"),
        (np.full((2, 8), np.nan, np.float32), None, {}, "NaN"),
        (X, np.zeros(39, np.int64), {}, "labels"),
        (X, np.full(40, 4), {}, "labels .* from 4 to 4"),
        (X, np.zeros(40, np.int64), {"class_names": ["a"]}, "1 class names for 4 classes"),
        (X, None, {"teacher_logits": np.zeros((3, 4))}, "3 rows of logits for 40 samples"),
    ],
)
def test_samples_that_do_not_suit(model: Path, x, y, more, words: str) -> None:
    with pytest.raises(DataError, match=words):
        validate(model, x, y, **more)


def test_models_that_cannot_be_validated(tmp_path: Path) -> None:
    path = tmp_path / "int16.tflite"
    path.write_bytes(dense(dtype="int16"))
    with pytest.raises(ModelError, match="int16 activations"):
        validate(path, X)
