"""The verbs emulate and compare: their documents, their text, and one line for each mistake."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hand_engine
import numpy as np
import pytest
import small_nets
from conftest import needs_reference, require_tool
from tflite_builder import O, T, build

from kd_embedded.cli import main

_KEYS = {
    *("equal", "bytes_compared", "core", "flash", "ram", "instructions", "macs", "instructions_per_mac", "cycles"),
    *("ops", "machine", "oracle", "bytes_different", "first_difference"),
}


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def kd(*arguments: object) -> Done:
    """The command line in this very process: starting another takes longer than most commands."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            main(list(map(str, arguments)))
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def document(*arguments: object) -> dict[str, Any]:
    done = kd(*arguments, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in found, found
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(small_nets.residual_net())
    return path


def tools(*names: str) -> None:
    for name in names:
        require_tool(name)


@needs_reference
def test_the_document_of_a_model(model: Path) -> None:
    tools("arm-none-eabi-gcc", "qemu-system-arm")
    found = document("emulate", model, "--core", "cortex-m0", "--samples", 3, "--profile")
    assert set(found) == _KEYS
    assert found["equal"] is True and found["bytes_compared"] == 3 * 5 and found["core"] == "cortex-m0"
    assert set(found["flash"]) == {"code", "constants", "weights"} and all(found["flash"].values())
    assert set(found["ram"]) == {"arena", "static", "stack"} and found["ram"]["static"] == 0
    assert found["instructions_per_mac"] == round(found["instructions"] / found["macs"], 4)
    assert found["first_difference"] is None and found["bytes_different"] == 0
    assert [op["index"] for op in found["ops"]] == [0, 1, 2, 3, 5]
    assert set(found["ops"][0]) == {"index", "name", "macs", "instructions", "cycles"}


@needs_reference
def test_the_text_of_a_model(model: Path) -> None:
    tools("arm-none-eabi-gcc", "qemu-system-arm")
    done = kd("emulate", model, "--profile")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{model} on cortex-m4 (QEMU -M mps2-an386)"
    assert lines[1] == "equal         all 40 output bytes (builtin_ref)"
    starts = [line.split()[0] for line in lines[2:6]]
    assert starts == ["flash", "RAM", "instructions", "cycles"]
    assert lines[7].split() == ["OP", "MACS", "INSTRUCTIONS", "PER", "MAC", "CYCLES", "PER", "MAC"]
    assert len(lines) == 8 + 5


@needs_reference
def test_nothing_is_measured_on_the_host_but_bytes(model: Path) -> None:
    tools("gcc")
    found = document("emulate", model, "--core", "host")
    assert found["equal"] is True and found["instructions"] is None and found["ops"] == []
    assert found["flash"] == {"code": None, "constants": None, "weights": None}


@needs_reference
def test_a_generated_project_takes_its_boards_core_and_its_golden_vectors(model: Path, tmp_path: Path) -> None:
    tools("arm-none-eabi-gcc", "qemu-system-arm")
    out = tmp_path / "project"
    assert kd("codegen", model, "--engine", "aot", "--board", "pico", "--out", out).returncode == 0
    found = document("emulate", out)
    assert found["core"] == "cortex-m0" and found["oracle"] == "golden vectors"
    assert found["equal"] is True and found["bytes_compared"] == 8 * 5
    again = kd("emulate", out, "--samples", 3)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == f"error: {out}: --samples goes with a MODEL.tflite: leave it out\n"


@needs_reference
def test_a_board_without_an_emulator_says_what_stands_in(model: Path, tmp_path: Path) -> None:
    tools("gcc", "riscv64-unknown-elf-gcc", "qemu-system-riscv32")
    out = tmp_path / "project"
    assert kd("codegen", model, "--engine", "aot", "--board", "esp32", "--out", out).returncode == 0
    done = kd("emulate", out, "--json")
    assert done.stderr.startswith("esp32: no emulator of its core xtensa-lx6 here: host and rv32imc run the same C")
    found = json.loads(done.stdout)
    assert found["core"] == "rv32imc" and [other["core"] for other in found["also"]] == ["host"]
    assert found["equal"] is True and found["also"][0]["equal"] is True


@needs_reference
def test_plain_c_and_a_file_of_vectors(model: Path, tmp_path: Path) -> None:
    tools("gcc")
    out = tmp_path / "c"
    assert kd("codegen", model, "--engine", "aot", "--format", "c", "--name", "net", "--out", out).returncode == 0
    x = np.zeros((2, 8 * 8 * 3), np.int8)
    np.savez(tmp_path / "v.npz", x=x, y_q=np.full((2, 5), 127, np.int8))
    done = kd("emulate", out, "--core", "host", "--vectors", tmp_path / "v.npz")
    assert done.returncode == 1
    assert "NOT EQUAL     " in done.stdout and "the output: value 0 should be 127 and is " in done.stdout


def test_a_difference_is_exit_code_1_and_stands_in_the_document(tmp_path: Path) -> None:
    tools("gcc")
    hand_engine.write(tmp_path)
    np.savez(tmp_path / "v.npz", x=np.zeros((2, 16), np.int8), y_q=np.array([[0, 0, 0, 0], [0, 0, 5, 0]], np.int8))
    done = kd("emulate", tmp_path, "--core", "host", "--vectors", tmp_path / "v.npz", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["equal"], found["bytes_different"], found["bytes_compared"]) == (False, 1, 8)
    assert found["first_difference"] == {
        **{"op_index": -1, "op_name": "output", "tensor": "output", "index": 2, "expected": 5, "got": 0}
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["emulate", "nothing.tflite"], "nothing.tflite: no such file"),
        (["emulate", "nothing"], "nothing: no such file"),
        (["emulate", ".", "--core", "host"], ".: holds no generated model: kd-embedded codegen --engine aot makes one"),
        (["emulate", "x.tflite", "--core", "cortex-m5"], "cortex-m5: no such core (did you mean 'cortex-m55'?): there"),
        (["compare"], "Missing argument 'MODEL.tflite...'."),
        (["compare", "x.tflite", "--core", "m4"], "m4: no such core"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = kd(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {says}") and done.stderr.count("\n") == 1


def relu6_net() -> bytes:
    """A dense layer, and a RELU6 alone that requantizes, which TFLM forgets to do."""
    weights = np.arange(24).reshape(3, 8) - 12
    tensors = [
        T((1, 8), scale=0.1, zero_point=-1),
        T((3, 8), scale=0.02, data=weights),
        T((1, 3), scale=0.08, zero_point=2),
        T((1, 3), scale=0.03, zero_point=-128),
    ]
    return build(tensors, [O("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions"), O("RELU6", [2], [3])])


@needs_reference
def test_compare_says_where_tflm_departs(tmp_path: Path) -> None:
    tools("arm-none-eabi-gcc", "qemu-system-arm")
    path = tmp_path / "relu6.tflite"
    path.write_bytes(relu6_net())
    [entry] = document("compare", path, "--core", "cortex-m0")["models"]
    tflm, aot = entry["rows"]
    assert (tflm["engine"], tflm["instructions"]) == ("tflm", None) and tflm["ram"]["arena"] > 0
    assert aot["engine"] == "aot" and aot["equal"] is True and aot["instructions"] > 0
    assert [found["op_name"] for found in entry["tflm_departures"]] == ["RELU6"]
    text = kd("compare", path, "--core", "cortex-m0").stdout.splitlines()
    assert text[0] == str(path) and text[1].split()[:3] == ["ENGINE", "CORE", "BYTES"]
    assert [line.split()[0] for line in text[2:4]] == ["tflm", "aot"]
    assert any(line.startswith("TFLM departs at op 1 (RELU6): ") for line in text)


@needs_reference
def test_compare_tells_what_an_engine_refuses(tmp_path: Path) -> None:
    tools("gcc")
    path = tmp_path / "refused.tflite"
    tensors = [T((1, 4, 4)), T((1, 4, 4), scale=0.2)]
    path.write_bytes(build(tensors, [O("L2_NORMALIZATION", [0], [1], "L2NormOptions")]))
    done = kd("compare", path, "--core", "host")
    assert done.returncode == 0
    assert "aot on host: op 0 (L2_NORMALIZATION) " in done.stdout
