"""Data sources, one file each; ``data.source = "NAME:ARGUMENT"`` picks ``data/NAME.py``.

A source module has two functions::

    load(argument: str, spec: DataSpec, base: Path) -> Data        # reads and checks everything
    fingerprint(argument: str, spec: DataSpec, base: Path) -> str  # hex SHA-256 of what load would read, quickly

and, where it can give inputs without labels, two more for ``data.unlabelled``::

    load_unlabelled(argument: str, spec: DataSpec, base: Path) -> NDArray  # uint8 or float32 [N, ...]
    fingerprint_unlabelled(argument: str, spec: DataSpec, base: Path) -> str

``base`` is the folder that relative paths start from. A new source is one new file here.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import plugins, tasks
from kd_embedded.artifacts import sha256_bytes
from kd_embedded.config import DataSpec, nearest
from kd_embedded.errors import ConfigError, DataError

TRAIN, VAL, TEST, FREE, UNLABELLED = 0, 1, 2, 3, 4


@dataclass(frozen=True, eq=False)
class Data:
    """A data set.

    ``x`` uint8 or float32 [N, ...] as stored, ``y`` int64 [N] in 0..classes-1, ``part`` int8 [N]: the split a sample
    belongs to by the source's own word (TRAIN, VAL, TEST), or FREE where we are to decide. Models see
    ``x * scale + offset``. Unlabelled samples come last, with part UNLABELLED and label -1. ``weights`` float32 [N]
    weigh the loss of training samples; None: all alike.

    Other tasks have no classes: ``y`` is 0, or 1 for an auto-encoder's anomalies, which stand in the test split alone.
    ``targets`` float32 [N, D] are what a regression learns, in real units, NaN where unlabelled; an auto-encoder learns
    its inputs. ``names`` are what users know the samples by, files or elements of arrays; without them, their places.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    part: NDArray[np.int8]
    scale: float
    offset: float
    weights: NDArray[np.float32] | None = None
    task: str = tasks.CLASSIFICATION
    targets: NDArray[np.float32] | None = None
    output_names: tuple[str, ...] = ()
    names: Sequence[str] = ()

    def name(self, index: int) -> str:
        """What the sample at ``index`` is called; unlabelled ones are counted by themselves."""
        if self.part[index] == UNLABELLED:
            return f"unlabelled sample {index - int(np.argmax(self.part == UNLABELLED))}"
        return self.names[index] if self.names else f"sample {index}"

    @property
    def unlabelled(self) -> NDArray[np.int64]:
        """The positions of the unlabelled samples."""
        return np.flatnonzero(self.part == UNLABELLED)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def outputs(self) -> int:
        """How many a model has: classes, targets, or as many as an input has values."""
        if self.task == tasks.CLASSIFICATION:
            return self.classes
        return math.prod(self.input_shape) if self.targets is None else self.targets.shape[1]

    @property
    def noun(self) -> str:
        """What messages call the outputs."""
        return "classes" if self.task == tasks.CLASSIFICATION else "outputs"

    def numbers(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the models of a task without classes should give for the samples at ``indices``: float32 [n, D]."""
        if self.targets is not None:
            return self.targets[indices]
        return self.inputs(indices).reshape(len(indices), -1)

    def inputs(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a model sees of the samples at ``indices``: float32 [len(indices), ...]."""
        return self.x[indices].astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)


@dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint sample indices, int64, ascending. Nobody reads ``test`` before validation.

    ``train`` ends in the unlabelled samples: the student learns them from the teacher, all else leaves them out.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def load(spec: DataSpec, base: Path) -> Data:
    """Loads and checks the data set of ``spec``. Raises ConfigError for a wrong source, DataError for wrong data."""
    module, argument = _source(spec.source, "data.source")
    data: Data = module.load(argument, spec, base)
    if spec.task == tasks.AUTOENCODER and data.task == tasks.CLASSIFICATION:
        data = _without_labels(data, spec)
    if spec.task != data.task:
        what = f'it gives a {data.task}, and data.task is "{spec.task}"'
        raise ConfigError(what, where=spec.source, todo=f'set task = "{data.task}", or use another source')
    if spec.unlabelled:
        data = _with_unlabelled(data, spec, base)
    _check(data, spec.source)
    return data


def fingerprint(spec: DataSpec, base: Path) -> str:
    """Hex SHA-256 of the bytes that ``load`` would read."""
    module, argument = _source(spec.source, "data.source")
    found: str = module.fingerprint(argument, spec, base)
    if spec.unlabelled:
        module, argument = _unlabelled_source(spec)
        found = sha256_bytes(f"{found} {module.fingerprint_unlabelled(argument, spec, base)}".encode())
    return found


def split(data: Data, spec: DataSpec, seed: int) -> Splits:
    """Three stratified splits from one seed. Raises DataError where one is empty or a class cannot be trained.

    A source's own test (and validation) split is kept as it is. Otherwise ``test_fraction`` of all samples, then
    ``val_fraction`` of the rest, are drawn class by class.
    """
    generator = np.random.default_rng(seed)
    part = data.part.copy()
    if not (part == TEST).any():
        _draw(part, data, FREE, TEST, spec.test_fraction, generator)
    if not (part == VAL).any():
        part[part == FREE] = TRAIN
        _draw(part, data, TRAIN, VAL, spec.val_fraction, generator)
    part[part == FREE] = TRAIN
    if data.task == tasks.AUTOENCODER:
        part[data.y == 1] = TEST
    found = [
        _limited(np.flatnonzero(part == which), data.y, spec.max_per_class, generator) for which in (TRAIN, VAL, TEST)
    ]
    for name, indices in zip(("training", "validation", "test"), found, strict=True):
        if not len(indices):
            raise DataError(f"the {name} split is empty", where=spec.source, todo="give it samples")
    missing = sorted(set(range(data.classes)) - set(data.y[found[0]].tolist()))
    if missing and data.task == tasks.CLASSIFICATION:
        name = data.class_names[missing[0]]
        raise DataError(f"class {name!r} has no training sample", where=spec.source, todo="add samples of it")
    train, val, test = found
    return Splits(np.concatenate([train, data.unlabelled]), val, test)


def evenly(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """``count`` positions in ``labels`` by seed, in turn from each class; all of them where there are fewer."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        ranks[members] = np.arange(len(members))
    return order[np.argsort(ranks[order], kind="stable")][:count]


def _source(source: str, where: str) -> tuple[ModuleType, str]:
    name, _, argument = source.partition(":")
    known = plugins.names(list(__path__))
    if name not in known:
        raise ConfigError(f"unknown data source {source!r}", where=where, todo=nearest(name, known))
    return importlib.import_module(f"{__name__}.{name}"), argument


def _unlabelled_source(spec: DataSpec) -> tuple[ModuleType, str]:
    module, argument = _source(spec.unlabelled, "data.unlabelled")
    if not hasattr(module, "load_unlabelled"):
        what = f"{spec.unlabelled!r} gives no unlabelled inputs"
        raise ConfigError(what, where="data.unlabelled", todo='use "npz:FILE" or "images:FOLDER"')
    return module, argument


def _with_unlabelled(data: Data, spec: DataSpec, base: Path) -> Data:
    module, argument = _unlabelled_source(spec)
    extra = module.load_unlabelled(argument, spec, base)
    if extra.shape[1:] != data.input_shape or extra.dtype != data.x.dtype:
        raise DataError(
            f"inputs of shape {extra.shape[1:]} and {extra.dtype}, the labelled ones have {data.input_shape} and "
            f"{data.x.dtype}",
            where=spec.unlabelled,
            todo="make them agree",
        )
    count = len(extra)
    weights, targets = data.weights, data.targets
    return replace(
        data,
        x=np.concatenate([data.x, extra]),
        y=np.concatenate([data.y, np.full(count, -1, np.int64)]),
        part=np.concatenate([data.part, np.full(count, UNLABELLED, np.int8)]),
        weights=None if weights is None else np.concatenate([weights, np.ones(count, np.float32)]),
        targets=None if targets is None else np.concatenate([targets, np.full((count, data.outputs), np.nan, "f4")]),
    )


def _without_labels(data: Data, spec: DataSpec) -> Data:
    """Labelled ``data`` for an auto-encoder: of the classes remains which are ``spec.anomalies``."""
    for name in spec.anomalies:
        if name not in data.class_names:
            todo = nearest(name, data.class_names)
            raise ConfigError(f"no such class: {name!r}", where="data.anomalies", todo=todo)
    odd = [data.class_names.index(name) for name in spec.anomalies]
    return replace(data, y=np.isin(data.y, odd).astype(np.int64), class_names=(), task=tasks.AUTOENCODER)


def _check(data: Data, where: str) -> None:
    if len(data.x) != len(data.y):
        raise DataError(f"{len(data.x)} inputs but {len(data.y)} labels", where=where, todo="make them agree")
    if not len(data.x):
        raise DataError("no samples", where=where)
    _check_names(data.class_names, where)
    _check_names(data.output_names, where)
    if data.classes < 2 and data.task == tasks.CLASSIFICATION:
        raise DataError("only one class", where=where, todo="a classifier needs at least two")
    if 0 in data.input_shape:
        raise DataError(f"inputs of shape {data.input_shape} are empty", where=where)
    limit = np.finfo(np.float32).max / max(1.0, abs(data.scale))
    if data.x.dtype != np.uint8 and not (np.abs(data.x) < limit).all():
        sample = int(np.flatnonzero(~(np.abs(data.x) < limit).reshape(len(data.x), -1).all(axis=1))[0])
        raise DataError(f"NaN or infinity in sample {sample}", where=where, todo="clean the data first")


def _check_names(names: tuple[str, ...], where: str) -> None:
    """Class names travel to the firmware and the report: each one text, none empty, none twice."""
    for name in names:
        if not name.strip() or "\0" in name:
            raise DataError(f"the class name {name!r} is empty or holds a NUL", where=where, todo="rename the class")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise DataError(f"the class name {name!r} is not valid Unicode", where=where, todo="rename the class")
        if names.count(name) > 1:
            raise DataError(f"two classes are named {name!r}", where=where, todo="give each a name of its own")


def _draw(
    part: NDArray[np.int8], data: Data, source: int, target: int, fraction: float, generator: np.random.Generator
) -> None:
    for label in range(data.classes if data.task == tasks.CLASSIFICATION else 1):  # anomalies are not drawn
        members = np.flatnonzero((part == source) & (data.y == label))
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        part[generator.permutation(members)[:count]] = target


def _limited(
    indices: NDArray[np.int64], y: NDArray[np.int64], limit: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    if not limit:
        return indices
    kept = [generator.permutation(indices[y[indices] == label])[:limit] for label in np.unique(y[indices])]
    return np.sort(np.concatenate(kept)) if kept else indices
