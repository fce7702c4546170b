"""``kind = "torch"``: a PyTorch model as TorchScript (.pt) or as torch.export saves it (.pt2), on the CPU."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.config import TeacherSpec
from kd_embedded.errors import ModelError
from kd_embedded.teachers import Job, _function

KEYS = frozenset({"file", "layout", "outputs", "input_scale", "input_offset"})
FILE = "Your own model: .pt, as torch.jit.save wrote it, or .pt2 of torch.export.save; relative to this file."
OUTPUTS = _function.OUTPUTS


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError without a file."""
    if not spec.file.endswith((".pt", ".pt2")):
        raise ValueError('kind = "torch" needs file, a model that ends in .pt or .pt2')


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The model."""
    return (spec.file,)


def suffix(spec: TeacherSpec) -> str:
    """As the user's file: it says how to load it."""
    return Path(spec.file).suffix


def make(job: Job) -> list[dict[str, float]]:
    """Tries the model and copies it."""
    _function.keep(job, _scores)
    return []


def load(job: Job) -> _function.FunctionTeacher:
    """The model as copied."""
    return _function.kept(job, _scores)


def _scores(whole: bytes, spec: TeacherSpec) -> _function.Scores:
    """Raises ModelError where the file holds no model that runs without its Python source."""
    torch: Any = _function.extra("torch", "PyTorch", "torch")
    exported = spec.file.endswith(".pt2")
    try:
        stream = io.BytesIO(whole)
        model = torch.export.load(stream).module() if exported else torch.jit.load(stream, map_location="cpu").eval()
    except Exception as error:  # zip, pickle and C++ errors alike
        how = (
            "torch.export.save, see docs/TEACHERS.md" if exported else 'torch.jit.script(model.eval()).save("FILE.pt")'
        )
        what = f"cannot be loaded: {_function.reason(error)}"
        raise ModelError(what, where=spec.file, todo=f"save it with {how}; a state_dict is no model") from None

    def scores(batch: NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            found = model(torch.from_numpy(_function.channels(batch, spec.layout)))
        return found.numpy() if isinstance(found, torch.Tensor) else found

    return scores
