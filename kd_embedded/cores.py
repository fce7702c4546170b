"""Core files (``boards/cores/NAME.toml``) -> frozen objects: how code for a core is compiled, and where it runs here.

A core is added by adding one file. A wrong file is a ConfigError that names the file, the key and the nearest right
name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from kd_embedded import resources
from kd_embedded.boards import Board
from kd_embedded.errors import ConfigError
from kd_embedded.program import Family
from kd_embedded.toml_files import Frozen, Named, find_file, names_of, read_file

HOST = "host"
_FALLBACK = (HOST, "rv32imc")  # what proves code for a core that nothing here emulates: portable C on 64 and 32 bits


class Machine(Frozen):
    """A machine of QEMU. ``flash`` is where code and constants lie, whatever memory the machine has there."""

    emulator: str
    options: list[str]
    flash_base: NonNegativeInt
    flash_bytes: PositiveInt
    ram_base: NonNegativeInt
    ram_bytes: PositiveInt


class Packages(Frozen):
    """The Debian packages of what a core needs; "" where it needs none."""

    compiler: str
    libc: str = ""
    emulator: str = ""


class Core(Named):
    """A processor core.

    ``tools`` is the prefix of compiler and binutils, ``flags`` select the core. ``family`` is that of the kernels made
    for it. ``runs`` names other cores, of boards, whose code is the same. ``machines`` are tried in order until one has
    room; none means that the code runs natively. ``cycles`` names a table of ``boards/cores/cycles``, "" without one.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    runs: list[str] = Field(default_factory=list)
    family: Family
    tools: str
    flags: list[str]
    cycles: str = ""
    packages: Packages
    machines: list[Machine]

    @model_validator(mode="after")
    def _machines_or_host(self) -> Core:
        if (self.name == HOST) != (not self.machines):
            raise ValueError("only the core host has no machines")
        return self


@dataclass(frozen=True)
class Choice:
    """The cores that prove a board's firmware, and one line on why they are not the board's own ("" where they are)."""

    cores: tuple[Core, ...]
    note: str = ""


def core_names() -> tuple[str, ...]:
    """Names of all cores, sorted, without reading their files."""
    return names_of(_folder())


def load_core(name: str) -> Core:
    """The core called ``name``; ConfigError where there is none (with the nearest name) or its file is wrong."""
    return read_file(find_file(_folder(), name, "core"), Core)


def load_cores() -> tuple[Core, ...]:
    """All cores, sorted by name; ConfigError at the first wrong file."""
    return tuple(load_core(name) for name in core_names())


def of_board(board: Board) -> Choice:
    """The emulated core of ``board``, or what stands in for one that has no emulator here."""
    for core in load_cores():
        if board.core == core.name or board.core in core.runs:
            return Choice((core,))
    note = f"{board.name}: no emulator of its core {board.core} here: {' and '.join(_FALLBACK)} run the same C instead"
    return Choice(tuple(load_core(name) for name in _FALLBACK), note)


def cycles_path(core: Core) -> Path:
    """The file of the core's cycle table; ConfigError where it names none."""
    if not core.cycles:
        raise ConfigError("has no table of cycles", where=core.name)
    return find_file(_folder() / "cycles", core.cycles, "table of cycles")


def _folder() -> Path:
    return resources.boards_dir() / "cores"
