"""File names of a run, and the only way files are written: to a temporary place, synced, then renamed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded.errors import ConfigError, KdError

SPLITS = "splits.npz"
PLAN = "plan.json"
TEACHER = "teacher"  # and the suffix of its kind; teacher_2, teacher_3... for an ensemble
TEACHER_HISTORY = "teacher_history.json"
EXAMINATION = "examination.json"
TEACHER_LOGITS = "teacher_logits.npz"
SOFT_TARGETS = ".soft_targets"
ASSISTANT = "assistant.keras"
STUDENT = "student.keras"
STUDENT_HISTORY = "student_history.json"
STUDENT_INT8 = "student_int8.tflite"
VALIDATION = "validation.json"
FIRMWARE = "firmware"
REPORT = "report.html"
RUN = "run.json"

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the file at ``path``."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_json(value: Any) -> str:
    """``value`` as the one JSON form used everywhere: indented, in the order given, with a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The JSON document at ``path``; a KdError where it is absent or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KdError("no such file", where=str(path)) from None
    except (OSError, ValueError) as error:
        raise KdError(f"cannot be read as JSON: {error}", where=str(path), todo="delete it and run again") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file name beside ``path`` (same suffix); on success it takes the place of ``path``.

    Raises KdError where the folder cannot be written or the disk is full; ``path`` is then as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".kd-", dir=path.parent))
    except OSError as error:
        raise cannot_write(path, error) from None
    temporary = folder / path.name
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes ``data`` whole or not at all; a file that already holds it is left untouched (builds stay incremental)."""
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_npz(path: Path, **arrays: Any) -> None:
    """Writes ``arrays`` in NumPy's .npz form, whole or not at all."""
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    write_bytes(path, whole.getvalue())


def zipped(members: Mapping[str, bytes], *, compressed: bool = False) -> bytes:
    """A zip of ``members`` in their order, without dates: the same members give the same bytes."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), data, kind)
    return whole.getvalue()


def json_objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document, an outer one before those in it."""
    if isinstance(document, dict):
        yield document
        for value in document.values():
            yield from json_objects(value)
    elif isinstance(document, list):
        for value in document:
            yield from json_objects(value)


def locate(base: Path, name: str) -> Path:
    """The path that a config means by ``name``: relative to ``base``, ``~`` for home; ConfigError where it is none."""
    try:
        path = base / Path(name).expanduser()
        path.stat()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{name!r} is no path: {error}", where="kd.toml") from None
    except OSError:
        pass  # whoever opens it tells what is wrong
    return path


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8 with plain newlines, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` in the form of ``to_json``, whole or not at all."""
    write_text(path, to_json(value))


def cannot_write(path: Path, error: OSError) -> KdError:
    """What to raise where ``path`` could not be written."""
    reason = error.strerror or str(error)
    return KdError(f"cannot write: {reason}", where=str(path), todo="free some space, or choose another folder")
