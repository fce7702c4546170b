"""The interpreters: same bytes, processes without TensorFlow, deaths in a line, the smallest arena."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import absent, needs_reference, needs_tflm
from tflite_builder import O, T, build, dense, relu6_alone

from kd_embedded import interpreters
from kd_embedded.errors import ModelError, ToolError
from kd_embedded.tflite.read import read_model

# Committed models, and two that builder functions make; where public models are at hand, those too.
BUILT = {"dense": dense(64, 64), "dense_per_channel": dense(64, 64, per_channel=True)}
COMMITTED = ("tiny", "residual")
PUBLIC = (
    *("ad01_int8", "hello_world_int8", "kws_ref_model", "micro_speech_quantized", "pretrainedResnet_quant"),
    *("str_ww_ref_model", "vww_96_int8"),
)


@pytest.fixture
def find(model_file, tmp_path: Path) -> Callable[[str], Path]:
    """The file of a model of BUILT, COMMITTED or PUBLIC."""

    def found(name: str) -> Path:
        if name not in BUILT:
            return model_file(name)
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(BUILT[name])
        return path

    return found


def inputs(model: Path, count: int = 4, seed: int = 0) -> np.ndarray:
    shape = read_model(model).input.shape
    return np.random.default_rng(seed).integers(-128, 128, (count, *shape[1:]), dtype=np.int8)


def test_what_exists_for_this_machine_is_installed() -> None:
    """Else the proofs below would be skipped unseen."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("neither tflite-runtime nor the tflite-micro wheel exists for this machine")
    expected = "builtin_ref" if sys.version_info < (3, 12) else "tflm"
    missing = [f"{name}: {reason}" for name, reason in interpreters.available().items() if reason]
    if missing or interpreters.oracle() != expected:
        absent("; ".join(missing) or f"the oracle is {interpreters.oracle()}, not {expected}")


@needs_reference
@pytest.mark.parametrize("name", [*BUILT, *COMMITTED, *PUBLIC])
def test_builtin_ref_is_tflm_byte_for_byte(find, name: str) -> None:
    path = find(name)
    x = inputs(path, 4 if name in PUBLIC else 50)
    reference = interpreters.run("builtin_ref", path.read_bytes(), x)
    micro = interpreters.run("tflm", path.read_bytes(), x)
    assert reference.dtype == micro.dtype == np.int8
    assert reference.shape == (len(x), *read_model(path).output.shape[1:])
    assert reference.tobytes() == micro.tobytes()
    assert len(np.unique(reference)) > 1


@needs_reference
@pytest.mark.parametrize("name", ["dense", "residual", "ad01_int8"])
def test_the_default_kernels_are_others(find, name: str) -> None:
    path = find(name)
    x = inputs(path, 50)
    default, reference = (interpreters.run(name, path.read_bytes(), x) for name in ("default", "builtin_ref"))
    assert 0 < np.count_nonzero(default != reference) < default.size // 10


@needs_reference
@pytest.mark.parametrize("name", ["version_99", "person_detect"])
def test_tflm_is_the_oracle_where_tflite_runtime_refuses(find, name: str, monkeypatch) -> None:
    """TFLM does not look at an op's version; nor at the axis along which person_detect says it is quantized."""
    monkeypatch.setitem(BUILT, "version_99", dense(2, version=99))
    path = find(name)
    x = inputs(path, 1)
    with pytest.raises(interpreters.ModelRefusedError, match="interpreter builtin_ref: cannot run the model"):
        interpreters.run("builtin_ref", path.read_bytes(), x)
    oracle = interpreters.run_oracle(path.read_bytes(), x)
    assert oracle.name == "tflm" and oracle.outputs.shape == (1, 2)


@needs_reference
def test_the_oracle_is_builtin_ref() -> None:
    oracle = interpreters.run_oracle(dense(), np.ones((2, 8), np.int8))
    assert oracle.name == "builtin_ref" and oracle.outputs.shape == (2, 4)


_PARENT = """
import hashlib, sys
from pathlib import Path
import numpy as np
if sys.argv[1] == "yes":
    import tensorflow
from kd_embedded import interpreters
from kd_embedded.tflite.read import read_model
assert ("tensorflow" in sys.modules) == (sys.argv[1] == "yes")
for path in map(Path, sys.argv[2:]):
    x = np.random.default_rng(0).integers(-128, 128, (50, *read_model(path).input.shape[1:]), dtype=np.int8)
    for name, reason in interpreters.available().items():
        if not reason:
            print(path.stem, name, hashlib.sha256(interpreters.run(name, path.read_bytes(), x).tobytes()).hexdigest())
"""


# All but tiny are models of which TensorFlow's own library, once loaded, makes tflite-runtime compute other bytes.
@pytest.mark.parametrize("names", [(*BUILT, *COMMITTED), ("ad01_int8",)], ids="-".join)
def test_a_parent_that_imported_tensorflow_first_gets_the_same_bytes(find, names: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", _PARENT]
    paths = [find(name) for name in names]
    with_tensorflow, without = (
        subprocess.run([*command, first, *paths], check=True, capture_output=True, text=True).stdout.splitlines()
        for first in ("yes", "no")
    )
    assert with_tensorflow == without
    there = [name for name, reason in interpreters.available().items() if not reason]
    assert [line.split()[:2] for line in without] == [[path.stem, name] for path in paths for name in there]


def test_a_module_of_that_name_in_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    assert interpreters.run("default", dense(), np.zeros((1, 8), np.int8)).shape == (1, 4)


# The smallest arenas of the wheel's interpreter (64-bit pointers, recording allocator), as bisected here on 2026-11-21.
# A 32-bit core needs less: 1 072 bytes for hello_world, 3 024 for ad01.
@needs_tflm
@pytest.mark.parametrize(
    ("name", "arena_bytes"), [("tiny", 2752), ("residual", 4384), ("hello_world_int8", 1936), ("ad01_int8", 4640)]
)
def test_the_smallest_arena(find, name: str, arena_bytes: int) -> None:
    assert interpreters.probe_arena(find(name).read_bytes()) == arena_bytes


_CHECK_ARENA = """
import sys
from pathlib import Path
import numpy as np
from tflite_micro.python.tflite_micro import runtime
from kd_embedded.tflite.read import read_model
path, arena_bytes = Path(sys.argv[1]), int(sys.argv[2])
x = np.random.default_rng(0).integers(-128, 128, read_model(path).input.shape, dtype=np.int8)
interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=arena_bytes)
interpreter.set_input(x, 0)
interpreter.invoke()
print(interpreter.get_output(0).tobytes().hex())
"""


@needs_tflm
@pytest.mark.parametrize("name", [*COMMITTED, "hello_world_int8", "kws_ref_model", "micro_speech_quantized"])
def test_the_arena_is_enough_and_one_step_less_is_not(find, name: str) -> None:
    path = find(name)
    arena_bytes = interpreters.probe_arena(path.read_bytes())
    assert arena_bytes % 16 == 0

    def attempt(size: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", _CHECK_ARENA, path, str(size)], capture_output=True, text=True)

    generous, smallest, less = attempt(1 << 20), attempt(arena_bytes), attempt(arena_bytes - 16)
    assert generous.returncode == smallest.returncode == 0
    assert generous.stdout == smallest.stdout
    assert less.returncode != 0 or less.stdout != generous.stdout


@needs_tflm
def test_tflm_says_why_it_cannot() -> None:
    model = build([T([1, 4]), T([1, 4])], [O("EXP", [0], [1])])
    with pytest.raises(interpreters.ModelRefusedError, match=r"interpreter tflm: cannot run .*EXP") as caught:
        interpreters.run("tflm", model, np.zeros((1, 4), np.int8))
    with pytest.raises(interpreters.ModelRefusedError):
        interpreters.probe_arena(model)
    assert "\n" not in str(caught.value) and isinstance(caught.value, ModelError)


def test_wrong_input_shape_is_an_error() -> None:
    with pytest.raises(ModelError, match="cannot run the model"):
        interpreters.run("default", dense(), np.zeros((1, 9), np.int8))


def test_no_inputs_is_an_error() -> None:
    with pytest.raises(ModelError, match="no inputs"):
        interpreters.run("default", dense(), np.zeros((0, 8), np.int8))


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", ModelError, "died of SIGSEGV"),
        ("import sys; print('last words', file=sys.stderr); import os; os.abort()", ModelError, "SIGABRT.*last words"),
        ("raise ImportError('no such library')", ToolError, "failed: ImportError: no such library"),
    ],
)
def test_a_child_that_dies_is_one_line(tmp_path: Path, monkeypatch, body: str, error: type, words: str) -> None:
    package = tmp_path / ("tflite_runtime" if interpreters.oracle() == "builtin_ref" else "ai_edge_litert")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    with pytest.raises(error, match=words) as caught:
        interpreters.run("default", dense(), np.zeros((1, 8), np.int8))
    assert "\n" not in str(caught.value)


def test_what_is_absent_is_named(monkeypatch) -> None:
    monkeypatch.setattr(interpreters, "_is_installed", lambda package: False)
    absent = {name for name, reason in interpreters.available().items() if reason}
    assert absent == {"builtin_ref", "default", "tflm"}
    with pytest.raises(ToolError, match="tflite-micro wheel is not installed"):
        interpreters.probe_arena(dense())
    with pytest.raises(ToolError, match="neither tflite-runtime nor"):
        interpreters.run("builtin_ref", dense(), np.zeros((1, 8), np.int8))


def test_our_own_reference_is_the_oracle_where_no_wheel_is(monkeypatch) -> None:
    """On macOS and Windows."""
    x = np.random.default_rng(0).integers(-128, 128, (20, 8), dtype=np.int8)
    wanted = interpreters.run("reference", dense(), x)
    monkeypatch.setattr(interpreters, "_is_installed", lambda package: False)
    oracle = interpreters.run_oracle(dense(), x)
    assert oracle.name == "reference" and (oracle.outputs == wanted).all()
    with pytest.raises(interpreters.ModelRefusedError, match=r"ZEROS_LIKE.*--engine tflm"):
        interpreters.run_oracle(build([T([1, 4]), T([1, 4])], [O("ZEROS_LIKE", [0], [1])]), x[:, :4])


@needs_reference
def test_a_batch_tells_each_models_outputs_or_refusal() -> None:
    """One of them kills the child: its fate is told, and the others' outputs all the same."""
    x = np.arange(16, dtype=np.int8).reshape(2, 8)
    # An ADD whose output scale is so small that the kernel's own check aborts the process.
    deadly = build([T([1, 8]), T([1, 8], scale=1e-9)], [O("ADD", [0, 0], [1], "AddOptions")])
    models = [dense(), dense(version=99), dense(seed=1), deadly, dense(seed=2)]
    outcomes = interpreters.run_batch("builtin_ref", models, [x] * 5)
    for i in (0, 2, 4):
        found = outcomes[i]
        assert isinstance(found, np.ndarray) and (found == interpreters.run("builtin_ref", models[i], x)).all()
    assert "version '99'" in str(outcomes[1]) and "died of SIGABRT" in str(outcomes[3])
    assert interpreters.run_batch("builtin_ref", [], []) == []


def test_litert_alone_makes_tflm_the_oracle(monkeypatch) -> None:
    monkeypatch.setattr(interpreters, "_is_installed", lambda package: package in ("ai_edge_litert", "tflite_micro"))
    assert interpreters.oracle() == "tflm"
    monkeypatch.setattr(interpreters, "_is_installed", lambda package: package == "ai_edge_litert")
    assert interpreters.oracle() == "reference" and not interpreters.available()["default"]


@needs_reference
def test_run_keeping_gives_each_tensor() -> None:
    model, x = relu6_alone(after_dense=True), np.arange(16, dtype=np.int8).reshape(2, 8)
    kept = {name: interpreters.run_keeping(name, model, x, [3, 4, 5]) for name in ("builtin_ref", "tflm")}
    assert {index: values.shape for index, values in kept["tflm"].items()} == dict.fromkeys((3, 4, 5), (2, 1, 4))
    assert (kept["tflm"][3] == kept["builtin_ref"][3]).all()
    assert (kept["tflm"][4] != kept["builtin_ref"][4]).any()
