"""The child process in which an interpreter runs: ``python -m kd_embedded.interpreters.worker TASK FOLDER``.

It reads ``request.npz`` in FOLDER, does TASK, writes ``response.npz``, and never imports TensorFlow: a process that has
done so computes other bytes with tflite-runtime (shared symbols). What goes wrong is the last line on stderr.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kd_embedded.interpreters.exchange import PROGRESS, REFUSED, REQUEST, RESPONSE

_STEP = 16  # bytes; TFLM aligns an arena to 16
_GENEROUS_ARENA = 256 << 20  # more than any board has; pages that are not touched cost nothing

Array = NDArray[Any]


class Interpreter(Protocol):
    """One loaded model."""

    def invoke(self, sample: Array) -> Array:
        """The output ``[1, ...]`` for one input ``[1, ...]``."""

    def tensor(self, index: int) -> Array:
        """The value of one tensor after ``invoke``; only where the interpreter was made to keep them all."""


class _TFLite:
    def __init__(self, model: bytes, reference: bool, keep: bool) -> None:
        if importlib.util.find_spec("tflite_runtime"):
            from tflite_runtime import interpreter as package
        else:
            from ai_edge_litert import interpreter as package
        kind = package.OpResolverType.BUILTIN_REF if reference else package.OpResolverType.AUTO
        self._interpreter = package.Interpreter(
            model_content=model, experimental_op_resolver_type=kind, experimental_preserve_all_tensors=keep
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def invoke(self, sample: Array) -> Array:
        self._interpreter.set_tensor(self._input, sample)
        self._interpreter.invoke()
        return self.tensor(self._output)

    def tensor(self, index: int) -> Array:
        value: Array = self._interpreter.get_tensor(index)
        return value


class _TFLM:
    def __init__(self, model: bytes, arena_bytes: int, keep: bool = False) -> None:
        from tflite_micro.python.tflite_micro import runtime

        kind = runtime.InterpreterConfig
        self._interpreter = runtime.Interpreter.from_bytes(
            model,
            arena_size=arena_bytes,
            intrepreter_config=kind.kPreserveAllTensors if keep else kind.kAllocationRecording,  # spelled so
        )

    def invoke(self, sample: Array) -> Array:
        self._interpreter.set_input(sample, 0)
        self._interpreter.invoke()
        value: Array = self._interpreter.get_output(0)
        return value

    def tensor(self, index: int) -> Array:
        value: Array = self._interpreter.GetTensor(index, 0)["tensor_data"]
        return value


def _load(name: str, model: bytes, keep: bool = False) -> Interpreter:
    if name != "tflm":
        return _TFLite(model, reference=name == "builtin_ref", keep=keep)
    return _TFLM(model, _GENEROUS_ARENA, keep)


def _run(request: Mapping[str, Array]) -> dict[str, Any]:
    interpreter = _load(str(request["name"]), request["model"].tobytes())
    return {"outputs": _run_all(interpreter, request["inputs"])}


def _run_all(interpreter: Interpreter, inputs: Array) -> Array:
    """The outputs one behind the other; a scalar counts as a row."""
    return np.concatenate([np.atleast_1d(interpreter.invoke(sample[np.newaxis])) for sample in inputs])


def _batch(request: Mapping[str, Array], progress: Path) -> dict[str, Any]:
    """Each model of a batch for its own inputs: ``outputs_I``, or ``refused_I`` with the reason."""
    name, models, response = str(request["name"]), request["model"].tobytes(), {}
    ends = np.cumsum(request["sizes"])
    with progress.open("wb", buffering=0) as done:
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            try:
                interpreter = _load(name, models[start:end])
                response[f"outputs_{i}"] = _run_all(interpreter, request[f"inputs_{i}"])
            except Exception as error:  # as in main: a refusal, here of one model
                response[f"refused_{i}"] = np.array(_one_line(error))
            done.write(b"1")
    return response


def _tensors(request: Mapping[str, Array]) -> dict[str, Any]:
    """The values of the tensors ``wanted`` for each input, as ``tensor_INDEX`` ``[N, ...]``."""
    interpreter = _load(str(request["name"]), request["model"].tobytes(), keep=True)
    values: dict[int, list[Array]] = {int(index): [] for index in request["wanted"]}
    for sample in request["inputs"]:
        interpreter.invoke(sample[np.newaxis])
        for index, kept in values.items():
            kept.append(np.array(interpreter.tensor(index)))
    return {f"tensor_{index}": np.stack(kept) for index, kept in values.items()}


def _probe(request: Mapping[str, Array]) -> dict[str, Any]:
    """Bisects to the smallest arena in which the interpreter allocates and computes what it does in a generous one."""
    model, sample = request["model"].tobytes(), request["inputs"][:1]
    wanted = _TFLM(model, _GENEROUS_ARENA).invoke(sample).tobytes()
    too_small, enough = 0, _GENEROUS_ARENA
    while enough - too_small > _STEP:
        middle = (too_small + enough) // 2 // _STEP * _STEP
        if _computes(model, middle, sample, wanted):
            enough = middle
        else:
            too_small = middle
    return {"arena_bytes": np.array(enough)}


def _computes(model: bytes, arena_bytes: int, sample: Array, wanted: bytes) -> bool:
    """Whether an arena gives the ``wanted`` output. In a fork: in one too small, TFLM may follow a null pointer."""
    child = os.fork()  # the wheel exists for Linux only
    if child == 0:
        try:
            os._exit(int(_TFLM(model, arena_bytes).invoke(sample).tobytes() != wanted))
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


_TASKS: Mapping[str, Callable[[Mapping[str, Array]], dict[str, Any]]] = {
    "run": _run,
    "tensors": _tensors,
    "probe": _probe,
}


def _do(task: str, request: Mapping[str, Array], folder: Path) -> dict[str, Any]:
    return _batch(request, folder / PROGRESS) if task == "batch" else _TASKS[task](request)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(arguments: Sequence[str]) -> int:
    """Does one task; gives the exit code."""
    task, folder = arguments
    with np.load(Path(folder) / REQUEST) as request:
        try:
            response = _do(task, dict(request), Path(folder))
        except ImportError:
            raise
        except Exception as error:  # whatever an interpreter raises is its way of refusing the model
            print(_one_line(error), file=sys.stderr)
            return REFUSED
    assert "tensorflow" not in sys.modules, "the interpreter's process has imported tensorflow"
    np.savez(Path(folder) / RESPONSE, **response)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
