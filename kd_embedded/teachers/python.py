"""``kind = "python"``: your own function, in a module beside kd.toml."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts
from kd_embedded.config import TeacherSpec
from kd_embedded.errors import ModelError
from kd_embedded.teachers import Job, _function

KEYS = frozenset({"function", "outputs", "input_scale", "input_offset"})
OUTPUTS = _function.OUTPUTS
_LOADED: dict[str, tuple[Path, bytes]] = {}  # modules that came from beside a kd.toml: their file and its source


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError unless function is "module:function"."""
    module, _, function = spec.function.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError('kind = "python" needs function = "module:function", the module beside kd.toml')


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The module's source: a change of it makes the teacher another; of what it imports, when it is tried again."""
    return (spec.function.partition(":")[0].replace(".", "/") + ".py",)


def suffix(spec: TeacherSpec) -> str:
    """The run folder keeps the name of the function and the hash of its source."""
    return ".json"


def make(job: Job) -> list[dict[str, float]]:
    """Tries the function, and writes its name and the SHA-256 of its module and of some answers.

    What the module reads or imports may change the answers, and then they are another teacher's.
    """
    source = _function.read(job, files(job.spec)[0])
    answers = _function.answers(load(job), job)
    document = {
        "function": job.spec.function,
        "source_sha256": artifacts.sha256_bytes(source),
        "answers_sha256": artifacts.sha256_bytes(answers.tobytes()),
    }
    artifacts.write_text(job.path, json.dumps(document) + "\n")
    return []


def load(job: Job) -> _function.FunctionTeacher:
    """The function itself, from beside kd.toml."""
    module_name, _, name = job.spec.function.partition(":")
    with _importing(job.base):
        try:
            function = getattr(_module(module_name, job.base / files(job.spec)[0]), name)
        except Exception as error:  # whatever the module raises
            what = f"cannot be imported: {_function.reason(error)}"
            raise ModelError(what, where=job.spec.function) from None

    def scores(batch: NDArray[np.float32]) -> Any:
        with _importing(job.base):
            return function(batch)

    return _function.as_teacher(job, scores, job.spec.function)


@contextmanager
def _importing(base: Path) -> Iterator[None]:
    """The folder of kd.toml first among those that modules are imported from."""
    sys.path.insert(0, str(base))
    try:
        yield
    finally:
        sys.path.remove(str(base))


def _module(name: str, source: Path) -> Any:
    """The module at ``source``; an older one, or one of another project, is forgotten, one of anybody else is not."""
    now = source.resolve(), source.read_bytes() if source.is_file() else b""
    if name in _LOADED and _LOADED[name] != now:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    found = importlib.import_module(name)
    if _origin(found) != now[0]:
        raise ImportError(f"another module is named {name}, rename the file")
    _LOADED[name] = now
    return found


def _origin(module: Any) -> Path:
    return Path(getattr(module, "__file__", None) or "").resolve()
