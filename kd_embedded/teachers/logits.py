"""``kind = "logits"``: a file of logits or probabilities, of a teacher that lives elsewhere.

`kd-embedded inputs` writes what such a teacher needs. The file is .npz, with ``logits`` [K, classes], the
``data_sha256`` of those inputs and, where it is not one row for each of them in order, ``indices`` [K].
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts
from kd_embedded.config import TeacherSpec
from kd_embedded.errors import ModelError
from kd_embedded.teachers import Job, _function

KEYS = frozenset({"file", "outputs"})
AUGMENTS = False
FILE = (
    "An .npz of logits, data_sha256 and perhaps indices, for what `kd-embedded inputs` writes; relative to this file."
)
OUTPUTS = (
    'What the file holds; "auto": probabilities where all rows sum to 1, else logits; from 0 to 1 and neither: refused.'
)
_AGAIN = "make it again from what `kd-embedded inputs` writes"


@dataclass(frozen=True, eq=False)
class Table:
    """Logits by position in ``Data.x``: ``rows`` int64 [N] of ``values`` float32 [K, C], -1 where there are none."""

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    model: None = None

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [N, C], see Teacher; ``inputs`` are not looked at."""
        found: NDArray[np.float32] = self.values[self.rows[indices]]
        return found


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError without a file."""
    if not spec.file.endswith(".npz"):
        raise ValueError('kind = "logits" needs file, that ends in .npz')


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The table."""
    return (spec.file,)


def suffix(spec: TeacherSpec) -> str:
    """As it came."""
    return ".npz"


def make(job: Job) -> list[dict[str, float]]:
    """Checks the file against the data, and copies it."""
    whole = _function.read(job, job.spec.file)
    _table(whole, job)
    artifacts.write_bytes(job.path, whole)
    return []


def load(job: Job) -> Table:
    """The table as copied."""
    return _table(job.path.read_bytes(), job)


def _table(whole: bytes, job: Job) -> Table:
    where = job.spec.file
    try:
        with np.load(io.BytesIO(whole), allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    except Exception as error:  # NumPy raises whatever zipfile, zlib and its own parser raise
        what = f"is not a readable .npz: {_function.reason(error)}"
        raise ModelError(what, where=where, todo="save it with numpy.savez") from None
    missing = [name for name in ("logits", "data_sha256") if name not in arrays]
    if missing:
        raise ModelError(f"has no array {missing[0]}", where=where, todo="save logits and data_sha256")
    if str(arrays["data_sha256"]) != job.data_sha256:
        raise ModelError("was made for other data, by its data_sha256", where=where, todo=_AGAIN)
    values = _values(arrays["logits"], job)
    rows = _rows(arrays.get("indices"), len(values), job)
    used = np.sort(rows[_needed(job)])
    if not np.isfinite(values[used]).all():
        row = int(used[~np.isfinite(values[used]).all(1)][0])
        raise ModelError(f"row {row} of logits holds NaN or infinity", where=where, todo=_AGAIN)
    if _function.are_probabilities(values[used], job, where):
        values = _function.as_logits(values)
    return Table(values, rows)


def _needed(job: Job) -> NDArray[np.int64]:
    """The positions in Data.x of all samples that are asked about."""
    return np.concatenate([job.splits.train, job.splits.val, job.splits.test])


def _values(logits: NDArray[Any], job: Job) -> NDArray[np.float32]:
    classes = job.data.outputs
    if logits.ndim != 2 or logits.shape[1] != classes or logits.dtype.kind not in "fiu":
        what = f"logits have shape {list(logits.shape)} and dtype {logits.dtype}"
        raise ModelError(what, where=job.spec.file, todo=f"give real numbers [K, {classes}], one column a class")
    return logits.astype(np.float32)


def _rows(indices: NDArray[Any] | None, count: int, job: Job) -> NDArray[np.int64]:
    """int64 [N], see Table. Raises ModelError unless all samples of the splits have a row."""
    samples, where = len(job.data.x), job.spec.file
    if indices is None:
        if count != samples:
            todo = "give one row a sample, or the positions as indices"
            raise ModelError(f"has {count} rows, the data {samples} samples", where=where, todo=todo)
        return np.arange(samples)
    if indices.shape != (count,) or indices.dtype.kind not in "iu":
        what = f"indices have shape {list(indices.shape)} and dtype {indices.dtype}"
        raise ModelError(what, where=where, todo=f"give {count} whole numbers, one a row")
    if not ((indices >= 0) & (indices < samples)).all() or len(np.unique(indices)) != count:
        what = f"indices are not {count} different positions in 0 to {samples - 1}"
        raise ModelError(what, where=where, todo=_AGAIN)
    rows = np.full(samples, -1, np.int64)
    rows[indices] = np.arange(count)
    needed = _needed(job)
    without = needed[rows[needed] < 0]
    if len(without):
        what = f"has no row for {len(without)} of {len(needed)} samples, {without.min()} the first"
        raise ModelError(what, where=where, todo=_AGAIN)
    return rows
