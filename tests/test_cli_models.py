"""`inspect` and `validate` on models nobody here trained, on a user's own inputs, and on every bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_reference
from tflite_builder import O, T, build, dense, relu6_alone, sequence_dense

from kd_embedded import interpreters
from kd_embedded.boards import board_names
from kd_embedded.cli import main

PUBLIC = [
    *("ad01_int8", "hello_world_int8", "kws_ref_model", "micro_speech_quantized"),
    *("person_detect", "pretrainedResnet_quant", "str_ww_ref_model", "vww_96_int8"),
]


@pytest.fixture
def kd(capsys):
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "dense.tflite"
    path.write_bytes(dense())
    return path


@needs_reference
@pytest.mark.parametrize("name", PUBLIC)
def test_inspect_public_models(kd, public_model, name: str) -> None:
    path = public_model(name)
    code, out, err = kd("inspect", path, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["model_bytes"] == path.stat().st_size
    assert document["macs"] == sum(op["macs"] for op in document["ops"]) > 0
    assert 0 < document["weight_bytes"] < document["model_bytes"]
    assert document["arena_bytes"] % 16 == 0 and document["arena_probed"]
    assert document["input"]["dtype"] == document["output"]["dtype"] == "int8"
    assert document["input"]["scale"] > 0 and document["departures"] == []
    assert set(document["boards"]) == set(board_names())
    for found in document["boards"].values():
        assert {"fits", "flash_bytes", "ram_bytes", "reason"} <= set(found)
        assert found["fits"] == (found["reason"] == "")
    assert document["boards"]["teensy41"]["fits"]


@needs_reference
@pytest.mark.parametrize("name", PUBLIC)
def test_validate_public_models(kd, public_model, name: str) -> None:
    code, out, _ = kd("validate", public_model(name), "--samples", 2, "--seed", 7, "--json")
    document = json.loads(out)
    assert code == 0 and document["samples"] == 2
    assert document["inputs"] == "2 random inputs (seed 7)"
    assert document["oracle"] == ("tflm" if name == "person_detect" else "builtin_ref")
    if name != "person_detect":
        assert document["interpreters"]["tflm"]["bytes_different"] == 0
        assert document["interpreters"]["tflm"]["bytes_compared"] > 0


@needs_reference
def test_inspect_as_a_person_reads_it(kd, public_model) -> None:
    code, out, _ = kd("inspect", public_model("pretrainedResnet_quant"))
    assert code == 0
    assert "12,501,632" in out and "55,984 bytes, the smallest that TensorFlow Lite Micro runs with" in out
    assert "int8 1x32x32x3, real = 1 * (q + 128), tensor input_1_int8" in out
    assert all(name in out for name in board_names())


def test_inspect_says_what_tflm_computes_differently(kd, tmp_path: Path) -> None:
    path = tmp_path / "relu6.tflite"
    path.write_bytes(relu6_alone())
    code, out, _ = kd("inspect", path)
    assert code == 0 and "op 0 (RELU6): a RELU6 that is not fused" in out


def test_inspect_without_the_wheel_says_that_the_arena_is_an_estimate(kd, model: Path, monkeypatch) -> None:
    monkeypatch.setattr(interpreters, "_is_installed", lambda package: False)
    code, out, _ = kd("inspect", model)
    assert code == 0 and "an estimate: no TensorFlow Lite Micro interpreter is here" in out
    assert json.loads(kd("inspect", model, "--json")[1])["arena_probed"] is False


def test_inspect_says_why_a_board_does_not_fit(kd, tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    path.write_bytes(dense(rows=2000, width=2000))
    document = json.loads(kd("inspect", path, "--json")[1])
    found = document["boards"]["nano33ble"]
    assert not found["fits"] and "flash" in found["reason"]
    assert found["reason"] in kd("inspect", path)[1]


@pytest.mark.parametrize("verb", ["inspect", "validate"])
def test_neither_imports_tensorflow(verb: str, model: Path) -> None:
    code = "import sys; from kd_embedded.cli import main; main(sys.argv[1:]); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, verb, model], check=True, capture_output=True)


@needs_reference
def test_validate_on_a_users_inputs(kd, model: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(-128, 128, (50, 8), dtype=np.int8)
    outputs = interpreters.run("tflm", model.read_bytes(), x)
    np.savez(tmp_path / "mine.npz", x=(x.astype(np.float32) - 3) * np.float32(0.1), y=outputs.argmax(axis=1))
    code, out, _ = kd("validate", model, "--golden", tmp_path / "mine.npz", "--json")
    document = json.loads(out)
    assert code == 0 and document["samples"] == 50
    assert document["accuracy"] == {"teacher": None, "student_float": None, "student_int8": 1.0}
    assert document["interpreters"]["builtin_ref"]["bytes_compared"] == 200
    code, out, _ = kd("validate", model, "--golden", tmp_path / "mine.npz")
    assert "student int8   100.00 %" in out and "builtin_ref  against tflm: 0 of 200 bytes differ" in out


@needs_reference
def test_validate_fails_where_tflm_goes_its_own_way(kd, tmp_path: Path) -> None:
    path = tmp_path / "relu6.tflite"
    path.write_bytes(relu6_alone(after_dense=True))
    code, out, err = kd("validate", path, "--json")
    assert code == 1
    assert json.loads(out)["first_difference"]["op_name"] == "RELU6"
    assert err.count("\n") == 1 and err.startswith(f"error: {path}: BUILTIN_REF and TFLM differ in ")


BAD = {
    "absent": (None, "no such file"),
    "empty": (b"", "is not a TFLite model"),
    "truncated": (dense()[:300], "is damaged or truncated"),
    "random": (np.random.default_rng(0).bytes(4000), "is not a TFLite model"),
    "float": (
        build([T([1, 4], "float32", None), T([1, 4], "float32", None)], [O("RELU", [0], [1])]),
        "op 0 (RELU) computes in float32",
    ),
    "dynamic range": (
        build(
            [T([1, 4], "float32", None), T([4, 4], data=np.ones([4, 4])), T([1, 4], "float32", None)],
            [O("FULLY_CONNECTED", [0, 1, -1], [2])],
        ),
        "is dynamic range quantized",
    ),
    "int16": (dense(dtype="int16"), "has int16 activations"),
    "custom op": (
        build([T([1, 4]), T([1, 4])], [O("CUSTOM", [0], [1], custom_code="Fancy")]),
        "op 0 (Fancy) is a custom",
    ),
    "two inputs": (build([T([1, 4])] * 3, [O("ADD", [0, 1], [2])], inputs=[0, 1]), "has 2 inputs"),
    "outside TFLM": (build([T([1, 4]), T([1, 4])], [O("GELU", [0], [1])]), "op 0 (GELU) is not among the ops"),
}


@pytest.mark.parametrize("verb", ["inspect", "validate"])
@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD.keys())
def test_bad_models_are_one_line_and_exit_2(kd, tmp_path: Path, verb: str, data: bytes | None, words: str) -> None:
    path = tmp_path / "bad.tflite"
    if data is not None:
        path.write_bytes(data)
    code, out, err = kd(verb, path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}: ") and err.count("\n") == 1 and words in err


def arrays(**values: object):
    return lambda path: np.savez(path, **values)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (None, "no such file"),
        (lambda path: path.write_bytes(b"not a zip"), "cannot be read as .npz"),
        (arrays(inputs=np.zeros((9, 8), np.int8)), "has no array x"),
        (arrays(x=np.zeros((9, 7), np.int8)), "x has the shape [9, 7]"),
        (arrays(x=np.full((9, 8), np.nan, np.float32)), "NaN"),
        (arrays(x=np.zeros((0, 8), np.int8)), "0 vectors"),
        (arrays(x=np.zeros((9, 8), np.int8), y=np.full(9, 4)), "y goes from 4 to 4"),
        (arrays(x=np.zeros((9, 8), np.int8), y=np.zeros(5, int)), "y is int64 of the shape [5]"),
    ],
)
def test_bad_inputs_are_one_line_and_exit_2(kd, model: Path, tmp_path: Path, write, words: str) -> None:
    path = tmp_path / "mine.npz"
    if write is not None:
        write(path)
    code, out, err = kd("validate", model, "--golden", path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err


@needs_reference
def test_an_op_that_builtin_ref_computes_wrongly_is_named(kd, model: Path) -> None:
    model.write_bytes(sequence_dense())
    code, out, err = kd("validate", model, "--samples", 20)
    assert (code, err) == (0, "") and "tflm         against reference: 0 of 240 bytes differ" in out
    assert "op 0 (FULLY_CONNECTED) is a dense layer on more than two axes" in out
    for engine in ("tflm", "aot"):
        code, out, err = kd("inspect", model, "--engine", engine)
        assert (code, err) == (
            0,
            "",
        ) and "BUILTIN_REF of tflite-runtime computes these ops wrongly:\n  op 0 (FULLY" in out
    code, out, err = kd("compare", model, "--core", "host")
    assert code == 0 and "equal" in out and "BUILTIN_REF is wrong at op 0 (FULLY_CONNECTED): a dense layer" in out


@pytest.mark.parametrize("engine", ["tflm", "aot"])
def test_inspect_tells_what_indices_are(kd, model: Path, engine: str) -> None:
    axis = T([1], "int32", None, data=np.array([1]))
    model.write_bytes(build([T([1, 4]), axis, T([1], "int32", None, name="best")], [O("ARG_MAX", [0, 1], [2])]))
    code, out, err = kd("inspect", model, "--engine", engine)
    assert (code, err) == (0, "") and "output  int32 1, indices of classes, tensor best" in out
