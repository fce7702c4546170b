"""The engine's bench: its rows, that it goes on where it stopped, and its tables."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
import small_nets
from click.testing import CliRunner
from conftest import needs_reference, require_tool

from kd_embedded.artifacts import read_json

_ROOT = Path(__file__).resolve().parent.parent
_KEYS = {
    *("model", "sha256", "core", "optimize", "flags", "equal", "bytes_compared", "code", "constants", "weights"),
    *("weights_original", "arena", "static", "stack", "instructions", "macs", "cycles", "machine", "oracle"),
    "source_sha256",
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, writing into ``tmp_path``."""
    loader = SourceFileLoader("bench_engine", str(_ROOT / "scripts" / "bench_engine"))
    spec = importlib.util.spec_from_loader("bench_engine", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_engine", module)
    loader.exec_module(module)
    shutil.copy(_ROOT / "docs" / "results" / "tflm.json", tmp_path)
    monkeypatch.setattr(module, "_RESULTS", tmp_path)
    monkeypatch.setattr(module, "_FIGURES", tmp_path / "engine.json")
    return module


@needs_reference
def test_rows_are_whole_sorted_and_not_measured_twice(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    model = tmp_path / "ad01_int8.tflite"  # a name that TFLM's figures have
    model.write_bytes(small_nets.conv_net())
    first = CliRunner().invoke(bench.main, [str(model), "--core", "cortex-m4", "--optimize", "size"])
    assert first.exit_code == 0, first.output
    second = CliRunner().invoke(bench.main, [str(model), "--core", "cortex-m0"])
    assert second.exit_code == 0, second.output
    rows = read_json(tmp_path / "engine.json")
    assert [(row["core"], row["optimize"], row["flags"]) for row in rows] == [
        ("cortex-m0", "speed", "-O2"),
        ("cortex-m4", "size", "-O2"),
        ("cortex-m4", "size", "-Os"),
    ]
    assert all(set(row) == _KEYS and row["equal"] and row["bytes_compared"] == 8 * 4 for row in rows)
    assert rows[1]["cycles"] > rows[1]["instructions"] > rows[1]["macs"]
    assert rows[2]["code"] < rows[1]["code"]

    monkeypatch.setattr(bench, "emulate_model", None)  # a call would fail
    again = CliRunner().invoke(bench.main, [str(model), "--core", "cortex-m4", "--optimize", "size"])
    assert again.exit_code == 0, again.output
    assert read_json(tmp_path / "engine.json") == rows
    lines = again.output.splitlines()
    assert lines[1].split()[:3] == ["MODEL", "MODE", "FLAGS"] and "27,184" in lines[2]
    assert sum(line.startswith("ad01_int8") for line in lines) == 2 + 3


def test_a_model_that_is_refused_is_told_and_the_exit_code_is_1(bench: ModuleType, tmp_path: Path) -> None:
    model = tmp_path / "broken.tflite"
    model.write_bytes(b"nothing of the kind")
    done = CliRunner().invoke(bench.main, [str(model), "--core", "cortex-m0"])
    assert done.exit_code == 1
    assert not (tmp_path / "engine.json").exists()
