"""``kind = "onnx"``: an ONNX model, run by onnxruntime on the CPU."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.config import TeacherSpec
from kd_embedded.errors import ModelError
from kd_embedded.teachers import Job, _function

KEYS = frozenset({"file", "layout", "outputs", "input_scale", "input_offset"})
FILE = "Your own .onnx model, its weights in it, relative to this file."
OUTPUTS = _function.OUTPUTS
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError without a file."""
    if not spec.file.endswith(".onnx"):
        raise ValueError('kind = "onnx" needs file, a model that ends in .onnx')


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The model."""
    return (spec.file,)


def suffix(spec: TeacherSpec) -> str:
    """One suffix for all."""
    return ".onnx"


def make(job: Job) -> list[dict[str, float]]:
    """Tries the model and copies it."""
    _function.keep(job, _scores)
    return []


def load(job: Job) -> _function.FunctionTeacher:
    """The model as copied."""
    return _function.kept(job, _scores)


def _scores(whole: bytes, spec: TeacherSpec) -> _function.Scores:
    """Raises ModelError where the model is damaged, or has not one input and one output of real numbers."""
    onnxruntime: Any = _function.extra("onnxruntime", "onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    with tempfile.TemporaryDirectory(prefix="kd-") as empty:  # weights in other files would be no part of the copy
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        try:
            session = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors, one class each
            todo = "save it as one file (torch.onnx.export with external_data=False), of standard ops"
            raise ModelError(f"cannot be loaded: {_function.reason(error)}", where=spec.file, todo=todo) from None
    inputs = session.get_inputs()
    outputs = [found for found in session.get_outputs() if found.type in _TYPES]
    if len(inputs) != 1 or inputs[0].type not in _TYPES or len(outputs) != 1:
        named = [f"{found.name} {found.type}" for found in (*inputs, *session.get_outputs())]
        todo = "one input and one output of real numbers are needed"
        raise ModelError(f"has {', '.join(named)}", where=spec.file, todo=todo)
    one, dtype, shape = inputs[0].name, _TYPES[inputs[0].type], inputs[0].shape
    fixed = shape[0] if shape else None  # no shape at all: as it comes

    def run(batch: NDArray[np.float32]) -> Any:
        return session.run([outputs[0].name], {one: batch.astype(dtype)})[0]

    def scores(batch: NDArray[np.float32]) -> Any:
        ordered = _function.channels(batch, spec.layout)
        return in_steps(run, ordered, fixed) if isinstance(fixed, int) else run(ordered)

    return scores


def in_steps(run: _function.Scores, batch: NDArray[np.float32], size: int) -> Any:
    """``run`` on ``batch`` [N, ...] by ``size`` samples, the last step filled up with zeros, for a fixed batch."""
    missing = -len(batch) % size
    whole = np.pad(batch, [(0, missing), *[(0, 0)] * (batch.ndim - 1)])
    found = np.concatenate([run(whole[i : i + size]) for i in range(0, len(whole), size)])
    return found[: len(batch)]
