"""What the ahead-of-time engine compiles a graph to: kernel calls on values of the arena, and constants in flash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from numpy.typing import NDArray

Family = Literal["c", "dsp", "helium"]
Optimize = Literal["speed", "ram", "size"]


@dataclass(frozen=True)
class Target:
    """What the code is made for. ``family``: portable C99, the Armv7E-M/v8-M DSP extension, or Helium (MVE integer)."""

    family: Family = "c"
    optimize: Optimize = "speed"


@dataclass(frozen=True, eq=False)
class Array:
    """A constant in flash, one-dimensional in C. ``kind`` is for the account: the model's values, or what we add."""

    role: str  # ends the C name: "weights", "bias", "multipliers", "table"
    data: NDArray[Any]  # int8, uint8, int16, int32 or uint32
    kind: Literal["weights", "constants"] = "constants"


@dataclass(frozen=True)
class Overlap:
    """How the output of a call may share memory with input ``input`` (a position), if that input dies there.

    forward:  safe where ``address(input) - address(output) >= gap`` (the kernel writes ascending, behind its reading)
    backward: safe where ``end(output) - end(input) >= gap`` (it writes descending)
    same:     safe where both addresses are equal (element by element, or a plane at a time); ``gap`` is 0
    """

    input: int
    kind: Literal["forward", "backward", "same"]
    gap: int = 0


@dataclass(frozen=True, eq=False)
class Call:
    """One call of ``void kd_KERNEL(const kd_KERNEL_args *, inputs..., outputs...[, void *scratch])``.

    ``inputs`` are tensor indices of the graph, or Arrays where the operand is a constant; ``outputs`` are tensor
    indices. A tensor in both is updated in place. Several calls may write parts of one output. ``args`` are the fields
    of the struct in its order; a field that is an Array becomes a pointer to it. ``scratch`` is None where the kernel
    takes none, else its bytes (4-byte aligned, live during this call only).
    """

    kernel: str  # firmware_templates/aot/kernels/KERNEL.h and .c
    op: int  # index of the op it comes from
    inputs: tuple[int | Array, ...]
    outputs: tuple[int, ...]
    args: Mapping[str, int | Array] = field(default_factory=lambda: MappingProxyType({}))
    scratch: int | None = None
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True)
class Alias:
    """``output`` has the bytes of ``input``, both tensor indices: a reshape. No code."""

    op: int
    input: int
    output: int


@dataclass(frozen=True)
class Place:
    """Where a row lies: in ``tensor``, or in the stream's own memory (None), ``step`` bytes further each time round."""

    tensor: int | None
    offset: int
    step: int = 0


@dataclass(frozen=True, eq=False)
class RowCall:
    """``call`` on rows: its ``inputs`` and ``outputs`` are replaced by these places (or constants)."""

    call: Call
    inputs: tuple[Place | Array, ...]
    outputs: tuple[Place, ...]


@dataclass(frozen=True)
class Repeat:
    """``body`` done ``count`` times."""

    count: int
    body: tuple[RowCall, ...]


@dataclass(frozen=True, eq=False)
class Stream:
    """Several ops computed row by row, so that the tensors between them never exist whole (``streaming.py``).

    To a planner it is one call: it reads the tensors ``inputs``, writes the tensors ``outputs``, and needs ``scratch``
    bytes: the rows kept of each tensor between (``rows_bytes``), then the scratch of the call that wants most.
    """

    op: int  # the first op
    ops: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    repeats: tuple[Repeat, ...]
    rows_bytes: int
    scratch: int
    overlaps: tuple[Overlap, ...] = ()


Step = Call | Alias | Stream
