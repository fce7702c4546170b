"""Four interpreters of a .tflite model on the host; those of others each in a child process without TensorFlow.

``builtin_ref``: tflite-runtime with the reference kernels, byte for byte what TFLM computes (ai-edge-litert stands in
for it where tflite-runtime has no wheel, and is not). ``default``: the kernels other tools validate with. ``tflm``: the
TensorFlow Lite Micro interpreter itself. ``reference``: our own, NumPy alone (kd_embedded/reference.py), byte for byte
``builtin_ref`` on every platform, for the ops of the aot engine.
"""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kd_embedded import reference
from kd_embedded.errors import ModelError, ToolError
from kd_embedded.interpreters.exchange import PROGRESS, REFUSED, REQUEST, RESPONSE
from kd_embedded.passes.strip_edges import strip_edges
from kd_embedded.tflite.check import reference_departures, tflm_departures
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model

_Result = TypeVar("_Result")

NAMES = ("builtin_ref", "default", "tflm", "reference")
_REASON_LINES, _REASON_LENGTH = 3, 160  # TFLM says why in the lines before its exception
_PACKAGE = Path(__file__).resolve().parent.parent
_NO_TFLITE = "neither tflite-runtime nor ai-edge-litert is installed"
_NO_TFLM = "the tflite-micro wheel is not installed (it exists for Linux on x86-64 only)"


class ModelRefusedError(ModelError):
    """An interpreter cannot load or run this model, or died of it."""


@dataclass(frozen=True)
class Oracle:
    """What the device is expected to compute: the interpreter's name and its outputs [N, ...], int8 or int32."""

    name: str
    outputs: NDArray[Any]


def available() -> dict[str, str]:
    """Each interpreter's name with "" or the reason why it is not available here."""
    tflite = "" if _is_installed("tflite_runtime") or _is_installed("ai_edge_litert") else _NO_TFLITE
    tflm = "" if _is_installed("tflite_micro") else _NO_TFLM
    return {"builtin_ref": tflite, "default": tflite, "tflm": tflm, "reference": ""}


def oracle(graph: Graph | None = None) -> str:
    """The interpreter that stands for the device: ``builtin_ref`` of tflite-runtime, else ``tflm``, else our own.

    With a ``graph`` the first of them that is not known to compute an op of it wrongly (tflite/check.py, departures).
    """
    if _is_installed("tflite_runtime") and not (graph and reference_departures(graph)):
        return "builtin_ref"
    return "tflm" if _is_installed("tflite_micro") and not (graph and tflm_departures(graph)) else "reference"


def run_oracle(model: bytes, inputs: NDArray[Any]) -> Oracle:
    """The oracle's outputs. Where tflite-runtime refuses a model that TFLM runs (person_detect), TFLM is the oracle.

    ``inputs`` is int8 [N, ...]. Raises ModelRefusedError where none can run the model: on macOS and Windows, where only
    our own reference is exact, that is a model with an op it does not have.
    """
    name = oracle(parse_model(model, "model"))
    try:
        return Oracle(name, run_int8(name, model, inputs))
    except ModelRefusedError:
        if name != "builtin_ref" or available()["tflm"]:
            raise
        return Oracle("tflm", run_int8("tflm", model, inputs))


def run_int8(name: str, model: bytes, inputs: NDArray[Any]) -> NDArray[Any]:
    """As ``run``, int8 to int8 also for a model with float or uint8 edges, which are left out (``strip_edges``).

    The whole model runs: its input is what QUANTIZE turns into ``inputs``, its output is read before DEQUANTIZE.
    """
    stripped = strip_edges(parse_model(model, name))
    if stripped.input is None and stripped.output is None:
        return run(name, model, inputs)
    if name == "reference":
        return _refusing(lambda: reference.run(stripped.graph, inputs))
    inner = stripped.graph.outputs[0]
    values = run_keeping(name, model, stripped.feed(inputs), [inner])[inner]
    return stripped.fetch(values.reshape(-1, *stripped.graph.output.shape[1:]))


def run(name: str, model: bytes, inputs: NDArray[Any]) -> NDArray[Any]:
    """Outputs [N, *output_shape[1:]] of one interpreter for ``inputs``, int8 [N, *input_shape[1:]], one by one.

    Raises ToolError where the interpreter is not installed, ModelRefusedError where it cannot run the model.
    """
    if not len(inputs):
        raise ModelError("no inputs to run", where=name, todo="give at least one")
    if name == "reference":
        return _refusing(lambda: reference.run(parse_model(model, name), inputs))
    return _in_child("run", name, model, inputs)["outputs"]


def run_keeping(name: str, model: bytes, inputs: NDArray[Any], tensors: Sequence[int]) -> dict[int, NDArray[Any]]:
    """The values [N, ...] of the ``tensors`` (indices) in one interpreter that keeps them all; as ``run`` otherwise."""
    if name == "reference":
        return _refusing(lambda: reference.run_keeping(parse_model(model, name), inputs, tensors))
    response = _in_child("tensors", name, model, inputs, wanted=np.array(tensors, np.int64))
    return {index: response[f"tensor_{index}"] for index in tensors}


def run_batch(
    name: str, models: Sequence[bytes], inputs: Sequence[NDArray[Any]]
) -> list[NDArray[Any] | ModelRefusedError]:
    """For each model its outputs for its ``inputs`` as ``run`` gives them, or why it was refused; in one child process.

    For thousands of small models: starting the child takes far longer than they do. A model that the child dies of is
    told like one that it refuses, and the others run again without it.
    """
    if not models:
        return []
    sizes = np.array([len(model) for model in models])
    named = {f"inputs_{i}": each for i, each in enumerate(inputs)}
    with tempfile.TemporaryDirectory(prefix="kd-") as folder:
        try:
            response = _in_child("batch", name, b"".join(models), np.zeros(0), folder=folder, sizes=sizes, **named)
        except ModelRefusedError as error:
            done = (Path(folder) / PROGRESS).stat().st_size
            before, behind = run_batch(name, models[:done], inputs[:done]), slice(done + 1, None)
            return [*before, error, *run_batch(name, models[behind], inputs[behind])]
    return [_outcome(name, response, i) for i in range(len(models))]


def _outcome(name: str, response: Mapping[str, NDArray[Any]], i: int) -> NDArray[Any] | ModelRefusedError:
    if f"refused_{i}" not in response:
        return response[f"outputs_{i}"]
    error = _failure(name, REFUSED, str(response[f"refused_{i}"]))
    assert isinstance(error, ModelRefusedError)
    return error


def _refusing(compute: Callable[[], _Result]) -> _Result:
    try:
        return compute()
    except ModelError as error:
        raise ModelRefusedError(error.what, where="interpreter reference", todo=error.todo) from None


def probe_arena(model: bytes) -> int:
    """The smallest arena, in bytes in steps of 16, in which the TFLM interpreter allocates AND invokes correctly.

    Measured with the wheel's interpreter: pointers of 64 bits and an allocator that records, both larger than on a
    board; reference kernels, which ask for no scratch. Raises ToolError where there is no wheel, ModelRefusedError
    where TFLM cannot run the model.
    """
    shape = parse_model(model, "model").input.shape
    sample = np.random.default_rng(0).integers(-128, 128, (1, *shape[1:]), dtype=np.int8)
    return int(_in_child("probe", "tflm", model, sample)["arena_bytes"])


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _in_child(
    task: str, name: str, model: bytes, inputs: NDArray[Any], folder: str | None = None, **more: Any
) -> dict[str, NDArray[Any]]:
    if reason := available()[name]:
        raise ToolError(reason, where=f"interpreter {name}", todo="install kd-embedded with all its dependencies")
    shared = nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="kd-")
    with shared as folder:
        _write(Path(folder) / REQUEST, name=name, model=np.frombuffer(model, np.uint8), inputs=inputs, **more)
        child = subprocess.run(
            [sys.executable, "-P", "-m", "kd_embedded.interpreters.worker", task, folder],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if child.returncode:
            raise _failure(name, child.returncode, child.stderr.decode("utf-8", errors="replace"))
        with np.load(Path(folder) / RESPONSE) as response:
            return dict(response)


def _write(path: Path, **arrays: Any) -> None:
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    try:
        path.write_bytes(whole.getvalue())
    except OSError as error:
        what = f"cannot write {whole.tell()} bytes: {error.strerror}"
        raise ToolError(what, where=str(path.parent), todo="free some space there, or set TMPDIR") from None


def _environment() -> dict[str, str]:
    """The child finds this very package, whatever the current folder holds (-P keeps that off its path)."""
    path = os.pathsep.join(filter(None, [str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}


def _failure(name: str, code: int, stderr: str) -> ModelError | ToolError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it said nothing"]
    where = f"interpreter {name}"
    if code == REFUSED:
        reason = "; ".join(dict.fromkeys(lines[-_REASON_LINES:]))[:_REASON_LENGTH]
        return ModelRefusedError(
            f"cannot run the model: {reason}", where=where, todo="use other layers, or convert it again"
        )
    if code < 0:
        died = f"died of {signal.Signals(-code).name} running the model: {lines[-1]}"
        return ModelRefusedError(died, where=where, todo="convert the model again; it may be damaged")
    return ToolError(f"failed: {lines[-1]}", where=where, todo="check the installation of kd-embedded")
