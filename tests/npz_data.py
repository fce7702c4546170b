"""Data that a test gives as arrays, read and split as a user's .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded import data
from kd_embedded.config import DataSpec

Arrays = dict[str, Any]


def load(folder: Path, arrays: Arrays, **keys: Any) -> tuple[data.Data, data.Splits]:
    """``arrays`` through ``folder``/data.npz, with ``keys`` of [data]."""
    np.savez(folder / "data.npz", **arrays)
    spec = DataSpec(source="npz:data.npz", **keys)
    found = data.load(spec, folder)
    return found, data.split(found, spec, seed=1)
