"""``sklearn:digits``: 1 797 real handwritten digits, 8x8, 17 grey levels, inside scikit-learn (no download)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kd_embedded.artifacts import sha256_bytes
from kd_embedded.config import DataSpec
from kd_embedded.data import FREE, Data
from kd_embedded.errors import ConfigError


def load(argument: str, spec: DataSpec, base: Path) -> Data:
    """uint8 [1797, 8, 8, 1] in 0..16, ten classes; a model sees 0..1."""
    _check(argument)
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., np.newaxis]
    y = digits.target.astype(np.int64)
    names = tuple(str(name) for name in digits.target_names)
    return Data(x, y, names, np.full(len(y), FREE, np.int8), spec.scale or 1 / 16, spec.offset)


def fingerprint(argument: str, spec: DataSpec, base: Path) -> str:
    """The data set is part of the library and has not changed in ten years."""
    _check(argument)
    return sha256_bytes(b"sklearn:digits")


def _check(argument: str) -> None:
    if argument != "digits":
        raise ConfigError(f"no data set {argument!r} here", where="data.source", todo='use "sklearn:digits"')
