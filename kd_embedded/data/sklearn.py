"""``sklearn:digits`` and ``sklearn:diabetes``: real data inside scikit-learn (no download).

1 797 handwritten digits, 8x8, 17 grey levels; 442 patients, ten measurements and how their diabetes went on in a year.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from kd_embedded import tasks
from kd_embedded.artifacts import sha256_bytes
from kd_embedded.config import DataSpec
from kd_embedded.data import FREE, Data
from kd_embedded.errors import ConfigError


def load(argument: str, spec: DataSpec, base: Path) -> Data:
    """uint8 [1797, 8, 8, 1] in 0..16, ten classes, a model sees 0..1; or float32 [442, 10], seen with variance 1."""
    _check(argument)
    return _diabetes(spec) if argument == "diabetes" else _digits(spec)


def _digits(spec: DataSpec) -> Data:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., np.newaxis]
    y = digits.target.astype(np.int64)
    names = tuple(str(name) for name in digits.target_names)
    return Data(x, y, names, np.full(len(y), FREE, np.int8), spec.scale or 1 / 16, spec.offset)


def _diabetes(spec: DataSpec) -> Data:
    """Efron et al. 2004, "Least Angle Regression", section 1; scikit-learn gives each column a sum of squares of 1."""
    from sklearn.datasets import load_diabetes

    x, targets = load_diabetes(return_X_y=True)
    count = len(x)
    return Data(
        x.astype(np.float32),
        np.zeros(count, np.int64),
        (),
        np.full(count, FREE, np.int8),
        spec.scale or math.sqrt(count),
        spec.offset,
        task=tasks.REGRESSION,
        targets=targets.astype(np.float32)[:, np.newaxis],
        output_names=("progression",),
    )


def fingerprint(argument: str, spec: DataSpec, base: Path) -> str:
    """The data sets are part of the library and have not changed in ten years."""
    _check(argument)
    return sha256_bytes(f"sklearn:{argument}".encode())


def _check(argument: str) -> None:
    if argument not in ("digits", "diabetes"):
        todo = 'use "sklearn:digits" or "sklearn:diabetes"'
        raise ConfigError(f"no data set {argument!r} here", where="data.source", todo=todo)
