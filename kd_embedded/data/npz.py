"""``npz:FILE``: the user's own arrays ``x_train``, ``y_train``, optional ``x_val``, ``y_val``, ``x_test``, ``y_test``.

``x_*`` is [N, ...] of any real type; [N, H, W] gets a channel axis. ``y_*`` is integer [N] from 0, or strings. Optional
``class_names`` [C] names the classes, optional ``w_train`` [N] weighs the training samples. Unlabelled inputs are one
array ``x``. Pickled objects are refused.

Of a regression ``y_*`` holds real numbers, [N] or [N, D], and optional ``output_names`` [D] names them. An auto-encoder
needs ``x_*`` alone; its ``y_test`` [N] is 0 for what is normal and 1 for an anomaly.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import tasks
from kd_embedded.artifacts import locate, sha256_file
from kd_embedded.config import DataSpec
from kd_embedded.data import FREE, TEST, TRAIN, VAL, Data
from kd_embedded.errors import ConfigError, DataError

_PARTS = {"train": TRAIN, "val": VAL, "test": TEST}
_MEANT = re.compile(r"([xy])_(train|val|test|valid|validation)", re.IGNORECASE)


def load(argument: str, spec: DataSpec, base: Path) -> Data:
    """Reads FILE. Raises DataError naming the array that is absent, misshapen or out of range."""
    path = _existing(argument, base)
    learns_inputs = spec.task == tasks.AUTOENCODER
    arrays = _read(path, ("x_train",) if learns_inputs else ("x_train", "y_train"))
    _check_names(arrays, str(path))
    found = [name for name in _PARTS if f"x_{name}" in arrays]
    if learns_inputs:
        arrays = _anomalies(arrays, found, spec, str(path))
    for name in found:
        _check_pair(arrays, name, str(path), most=2 if spec.task == tasks.REGRESSION else 1)
    x = np.concatenate([_inputs(arrays[f"x_{name}"], f"x_{name}", str(path)) for name in found])
    own = {name: FREE if name == "train" else part for name, part in _PARTS.items()}
    part = np.concatenate([np.full(len(arrays[f"x_{name}"]), own[name], np.int8) for name in found])
    scale = spec.scale or (1 / 255 if x.dtype == np.uint8 else 1.0)
    names = [f"x_{name}[{index}]" for name in found for index in range(len(arrays[f"x_{name}"]))]
    weights = _weights(arrays, len(x), str(path))
    data = Data(x, np.zeros(len(x), np.int64), (), part, scale, spec.offset, weights, names=names)
    if spec.task == tasks.REGRESSION:
        targets, outputs = _targets(arrays, found, str(path))
        return replace(data, task=spec.task, targets=targets, output_names=outputs)
    raw = np.concatenate([_labels(arrays[f"y_{name}"]) for name in found])
    if learns_inputs:
        return replace(data, task=spec.task, y=raw)
    y, class_names = _classes(raw, arrays.get("class_names"), str(path))
    return replace(data, y=y, class_names=class_names)


def load_unlabelled(argument: str, spec: DataSpec, base: Path) -> NDArray[Any]:
    """The array ``x`` of FILE. Raises DataError where it is absent, empty or no array of inputs."""
    path = _existing(argument, base)
    x = _read(path, ("x",))["x"]
    if x.ndim < 2 or not len(x):
        raise DataError(f"x has shape {x.shape}", where=str(path), todo="it should be [N, ...]")
    return _inputs(x, "x", str(path))


def fingerprint(argument: str, spec: DataSpec, base: Path) -> str:
    """SHA-256 of the file."""
    return sha256_file(_existing(argument, base))


fingerprint_unlabelled = fingerprint


def _existing(argument: str, base: Path) -> Path:
    path = locate(base, argument)
    if not argument or not path.is_file():
        raise DataError("no such file", where=str(path), todo='data.source is "npz:FILE", relative to kd.toml')
    return path


def _read(path: Path, needed: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds something that is no array")
    except Exception as error:  # NumPy raises whatever zipfile, zlib and its own parser raise
        raise DataError(f"is not a readable .npz: {error}", where=str(path), todo="save it with numpy.savez") from None
    for name in needed:
        if name not in arrays:
            held = ", ".join(sorted(arrays)) or "nothing"
            todo = f"save {' and '.join(needed)}"
            raise DataError(f"has no array {name}; it holds {held}", where=str(path), todo=todo)
    return arrays


def _check_names(arrays: dict[str, NDArray[Any]], where: str) -> None:
    """Raises DataError at an array that would be left out though it is meant: X_test, x_valid, y_test alone."""
    for name in arrays:
        meant = _MEANT.fullmatch(name)
        if meant is None:
            continue
        known = f"{meant[1].lower()}_{'val' if 'val' in meant[2].lower() else meant[2].lower()}"
        if name != known:
            raise DataError(f"holds {name}, which is not read", where=where, todo=f"call it {known}, or leave it out")
        if name.startswith("y") and f"x{name[1:]}" not in arrays:
            raise DataError(f"has {name} but no x{name[1:]}", where=where, todo="save both, or neither")


def _check_pair(arrays: dict[str, NDArray[Any]], name: str, where: str, *, most: int) -> None:
    """``most`` axes for y."""
    x, y = arrays[f"x_{name}"], arrays.get(f"y_{name}")
    if y is None:
        raise DataError(f"has x_{name} but no y_{name}", where=where, todo=f"save y_{name} beside it")
    if x.ndim < 2 or not 1 <= y.ndim <= most or len(x) != len(y):
        wanted = "[N] or [N, D]" if most == 2 else "[N]"
        raise DataError(
            f"x_{name} has shape {x.shape} and y_{name} {y.shape}",
            where=where,
            todo=f"they should be [N, ...] and {wanted}",
        )
    if x.shape[1:] != arrays["x_train"].shape[1:]:
        raise DataError(
            f"x_{name} has samples of shape {x.shape[1:]}, x_train of {arrays['x_train'].shape[1:]}",
            where=where,
            todo="give all splits one shape",
        )
    if (x.dtype == np.uint8) != (arrays["x_train"].dtype == np.uint8):
        raise DataError(
            f"x_{name} has dtype {x.dtype}, x_train {arrays['x_train'].dtype}",
            where=where,
            todo="give all splits one: bytes are scaled to 0 to 1, other numbers are taken as they are",
        )
    if not len(x):
        raise DataError(f"x_{name} is empty", where=where, todo="give it samples, or leave the array out")


def _weights(arrays: dict[str, NDArray[Any]], samples: int, where: str) -> NDArray[np.float32] | None:
    """float32 [samples]: ``w_train`` for the training samples, which come first, 1 for the others."""
    given = arrays.get("w_train")
    if given is None:
        return None
    count = len(arrays["x_train"])
    if given.shape != (count,) or given.dtype.kind not in "buif":
        what = f"w_train has shape {given.shape} and dtype {given.dtype}"
        raise DataError(what, where=where, todo=f"give {count} real numbers, one for each sample of x_train")
    weights = np.ones(samples, np.float32)
    weights[:count] = given
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        what = f"w_train[{wrong[0]}] is {given[wrong[0]]}"
        raise DataError(what, where=where, todo="weights are numbers from 0 up")
    if not weights[:count].any():
        raise DataError("w_train is zero throughout", where=where, todo="give the samples that count a weight")
    return weights


def _inputs(x: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    if x.dtype.kind not in "buif":
        raise DataError(f"{name} has dtype {x.dtype}", where=where, todo="inputs are real numbers")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity, and is told as that
        values = x if x.dtype == np.uint8 else x.astype(np.float32, copy=False)
    return values[..., np.newaxis] if values.ndim == 3 else values


def _targets(
    arrays: dict[str, NDArray[Any]], found: list[str], where: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """float32 [N, D] of all parts, and the names of the D outputs."""
    parts = []
    for name in found:
        y = arrays[f"y_{name}"]
        if y.dtype.kind not in "uif":
            raise DataError(f"y_{name} has dtype {y.dtype}", where=where, todo="a regression has real numbers there")
        with np.errstate(over="ignore"):  # infinity then, and told as that
            parts.append(y.astype(np.float32).reshape(len(y), -1))
        wrong = np.flatnonzero(~np.isfinite(parts[-1]).all(axis=1))
        if len(wrong):
            raise DataError(f"NaN or infinity in y_{name}[{wrong[0]}]", where=where, todo="clean the data first")
    counts = {part.shape[1] for part in parts}
    if len(counts) > 1 or 0 in counts:
        what = f"the parts have {', '.join(map(str, sorted(counts)))} targets a sample"
        raise DataError(what, where=where, todo="give all y_* the same D, at least 1")
    (count,) = counts
    given = arrays.get("output_names")
    names = [f"y{i}" for i in range(count)] if given is None else [str(name) for name in np.ravel(_text(given))]
    if len(names) != count:
        raise DataError(f"{len(names)} output_names for {count} targets", where=where, todo="give one for each")
    return np.concatenate(parts), tuple(names)


def _anomalies(
    arrays: dict[str, NDArray[Any]], found: list[str], spec: DataSpec, where: str
) -> dict[str, NDArray[Any]]:
    """``arrays`` with y_* of 0 and 1: those of y_test, where there is one, and 0 for all else."""
    if spec.anomalies:
        todo = "mark them by 1 in y_test instead"
        raise ConfigError("an npz has none by name", where="data.anomalies", todo=todo)
    y = arrays.get("y_test")
    if y is not None and (y.dtype.kind not in "bui" or not np.isin(y, (0, 1)).all()):
        todo = "an auto-encoder's y_test is 0 for what is normal and 1 for an anomaly"
        raise DataError(f"y_test holds {y.dtype} beside 0 and 1", where=where, todo=todo)
    marked = {f"y_{name}": np.zeros(len(arrays[f"x_{name}"]), np.int64) for name in found}
    return {**arrays, **marked, **({} if y is None else {"y_test": y.astype(np.int64)})}


def _labels(y: NDArray[Any]) -> NDArray[Any]:
    """``y`` with whole numbers as int64 and byte strings as strings, so that those of several splits go together."""
    return y.astype(np.int64) if y.dtype.kind in "bui" else _text(y)


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values


def _classes(raw: NDArray[Any], named: NDArray[Any] | None, where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    names = None if named is None else tuple(str(name) for name in np.ravel(_text(named)))
    if raw.dtype.kind == "U":
        names = names or tuple(str(name) for name in np.unique(raw))
        unknown = sorted(set(raw.tolist()) - set(names))
        if unknown:
            raise DataError(f"label {unknown[0]!r} is not in class_names", where=where, todo="add it there")
        return np.array([names.index(label) for label in raw.tolist()], np.int64), names
    if raw.dtype.kind not in "bui":
        raise DataError(f"labels have dtype {raw.dtype}", where=where, todo="labels are integers from 0, or strings")
    low, high = int(raw.min()), int(raw.max())
    classes = len(names) if names else high + 1
    if low < 0 or high >= classes or classes > max(1000, len(raw)):
        raise DataError(
            f"labels run from {low} to {high}, out of range for {classes if names else 'this many'} classes",
            where=where,
            todo="number the classes 0, 1, 2...",
        )
    return raw.astype(np.int64), names or tuple(str(index) for index in range(classes))
