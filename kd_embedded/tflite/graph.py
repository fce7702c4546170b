"""The frozen graph of a one-subgraph TFLite model, as every later stage sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class QuantParams:
    """``real = scale * (q - zero_point)``; one entry per tensor, or one per index of ``axis`` (per channel)."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        return len(self.scale) > 1


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor. ``data`` is the constant's value with ``shape`` and ``dtype``, or None for an activation.

    ``dynamic_axes`` are those whose size the converter left open (-1 in the signature); ``shape`` has 1 there.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str  # NumPy's name: "int8", "int32", "float32"...
    quant: QuantParams | None
    data: NDArray[Any] | None
    dynamic_axes: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """Size in bytes of the dense tensor."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Op:
    """One operator: ``name`` is the schema's builtin name ("CONV_2D"), ``options`` its attributes in snake_case.

    ``inputs`` and ``outputs`` are tensor indices; -1 stands for an optional input left out.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Graph:
    """A whole model. ``model_bytes`` is the size of the flatbuffer file, ``sha256`` its hash."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    model_bytes: int
    sha256: str

    @property
    def input(self) -> Tensor:
        return self.tensors[self.inputs[0]]

    @property
    def output(self) -> Tensor:
        return self.tensors[self.outputs[0]]
