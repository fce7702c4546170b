"""Board files (``boards/NAME.toml``) and TFLM library files (``boards/tflm/NAME.toml``) -> frozen objects.

A board is added by adding one file; ``boards/TEMPLATE.toml.example`` tells what each key means. A wrong file is a
ConfigError that names the file, the key and the nearest right name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from kd_embedded import resources
from kd_embedded.toml_files import Frozen, Named, find_file, names_of, nearest, read_all, read_file, short_path

# fmt: off
Core = Literal["cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33",
               "xtensa-lx6", "xtensa-lx7", "rv32imc", "rv32imac"]
# fmt: on
Kernels = Literal["cmsis-nn", "esp-nn", "reference"]

_NAME = r"^[a-z][a-z0-9_]*$"
# platform = "nordicnrf52@10.11.0", or an archive whose address holds the version.
_PINNED_PLATFORM = re.compile(r"^([\w.-]+/)?[\w-]+@\d+\.\d+\.\d+$|^https://\S*/\d+\.\d+\.\d+[\w.+-]*/\S+$")
_PINNED_LIBRARY = re.compile(r"^[\w-]+/[\w .-]+@\d+\.\d+\.\d+$|^https://\S+#([0-9a-f]{40}|v?\d+\.\d+\.\d+)$")
_RESOLVER_METHOD = re.compile(r"^Add[A-Z]\w*$")
_REGISTRATION = re.compile(r"^Register_[A-Z0-9_]+$")


class TflmLibrary(Named):
    """A packaged TensorFlow Lite Micro, as it is at one commit.

    ``per_channel_dense`` is False where int8 FULLY_CONNECTED with per-channel weights is silently wrong;
    ``include`` is the header by which PlatformIO's dependency finder finds the library ("" where TFLM's own headers are
    enough); ``lib_dep`` is what a board lists in ``lib_deps`` ("" where the framework bundles the library),
    ``build_flags`` what it lists in its own, so that library and sketch agree. Another engine goes without both.
    ``resolver_methods`` maps a builtin op to its method of MicroMutableOpResolver, ``int8_registrations`` to the
    registration whose kernel has int8 code alone.
    """

    name: str = Field(pattern=_NAME)
    title: str
    url: str = Field(pattern=r"^https://")
    version: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    kernels: Kernels
    per_channel_dense: bool
    include: str = ""
    lib_dep: str = ""
    build_flags: list[str] = Field(default_factory=list)
    resolver_methods: dict[str, str] = Field(min_length=1)
    int8_registrations: dict[str, str] = Field(default_factory=dict)


class Platformio(Frozen):
    """What goes into ``platformio.ini``, word for word. ``extra`` holds further options of the environment."""

    platform: str
    board: str
    framework: Literal["arduino"] = "arduino"
    lib_deps: list[str] = Field(default_factory=list)
    build_flags: list[str] = Field(default_factory=list)
    build_unflags: list[str] = Field(default_factory=list)
    monitor_speed: PositiveInt = 115200
    extra: dict[str, str] = Field(default_factory=dict)


class TflmChoice(Frozen):
    """Which file of ``boards/tflm`` the board builds with."""

    library: str


class Allowance(Frozen):
    """Bytes that the framework, the TFLM runtime and the harness take beside the model and the arena.

    ``runtime_flash_bytes`` and ``runtime_ram_bytes`` are the runtime's part, which another engine goes without.
    ``measured`` is True where framework and runtime were linked for this very board and measured; all else is an
    estimate, and users are told so.
    """

    flash_bytes: PositiveInt
    ram_bytes: PositiveInt
    runtime_flash_bytes: NonNegativeInt = 0
    runtime_ram_bytes: NonNegativeInt = 0
    measured: bool = False


class Firmware(Frozen):
    """Quirks of the board that the generated sketch and its README mind.

    ``loop_stack_bytes``: stack that the Arduino loop task must be given (0: the framework's own is enough).
    ``rx_buffer_bytes``: receive buffer that ``Serial`` must be given before it begins (0: the framework's own; only
    ESP32 cores can be told). ``native_usb``: ``Serial`` is the chip's own USB, so wait for the host, with a time limit.
    ``flash_hint``: one sentence on what a person must do for the first upload ("": nothing).
    """

    loop_stack_bytes: NonNegativeInt = 0
    rx_buffer_bytes: NonNegativeInt = 0
    native_usb: bool = False
    flash_hint: str = Field("", pattern=r"^([A-Z][^\r\n]*\.)?$")


class Board(Named):
    """A development board. Sizes are in bytes, and those that a program can really use.

    ``flash_bytes`` is the app partition or what the linker script leaves; ``ram_bytes`` is what static data, heap and
    stack share (on the ESP32: what static data may take). ``arch_flash_attribute`` is what a ``const`` array needs so
    that it stays in flash ("": nothing).
    """

    name: str = Field(pattern=_NAME)
    title: str
    mcu: str
    core: Core
    clock_mhz: PositiveInt
    flash_bytes: PositiveInt
    ram_bytes: PositiveInt
    psram_bytes: NonNegativeInt = 0
    arch_flash_attribute: str = ""
    platformio: Platformio
    tflm: TflmChoice
    allowance: Allowance
    firmware: Firmware = Firmware()
    sources: list[str] = Field(min_length=1)

    @property
    def library(self) -> TflmLibrary:
        """The TFLM library the board builds with; ConfigError where its file is absent or wrong."""
        return load_library(self.tflm.library)

    @property
    def platformio_alone(self) -> Platformio:
        """``platformio`` without what is there for the TFLM library."""
        library, settings = self.library, self.platformio
        dependencies = [dependency for dependency in settings.lib_deps if dependency != library.lib_dep]
        flags = [flag for flag in settings.build_flags if flag not in library.build_flags]
        return settings.model_copy(update={"lib_deps": dependencies, "build_flags": flags})


def board_names() -> tuple[str, ...]:
    """Names of all boards, sorted, without reading their files."""
    return names_of(resources.boards_dir())


def library_names() -> tuple[str, ...]:
    """Names of all TFLM libraries, sorted, without reading their files."""
    return names_of(resources.boards_dir() / "tflm")


def load_board(name: str) -> Board:
    """The board called ``name``; ConfigError where there is none (with the nearest name) or its file is wrong."""
    path = find_file(resources.boards_dir(), name, "board", "kd-embedded boards")
    return read_file(path, Board)


def load_boards() -> tuple[Board, ...]:
    """All boards, sorted by name; ConfigError at the first wrong file."""
    return tuple(load_board(name) for name in board_names())


def load_library(name: str) -> TflmLibrary:
    """The TFLM library called ``name``; ConfigError as for ``load_board``."""
    path = find_file(resources.boards_dir() / "tflm", name, "TFLM library", "")
    return read_file(path, TflmLibrary)


def check_files() -> tuple[str, ...]:
    """One line for each problem of any board or library file; empty when all are right.

    Beyond the schema: each file is called by its name, no two boards are the same PlatformIO board, every PlatformIO
    platform and library is pinned, the TFLM library exists and stands in ``lib_deps``, and the allowance leaves room.
    """
    folder = resources.boards_dir()
    problems: list[str] = []
    libraries = dict(read_all(folder / "tflm", TflmLibrary, problems))
    boards = dict(read_all(folder, Board, problems))
    for path, library in libraries.items():
        problems += [f"{short_path(path)}: {line}" for line in _library_problems(library)]
    known = {library.name: library for library in libraries.values()}
    seen: dict[tuple[str, str], str] = {}
    for path, board in boards.items():
        problems += [f"{short_path(path)}: {line}" for line in _board_problems(board, known)]
        key = (board.platformio.platform, board.platformio.board)
        if key in seen:
            problems.append(f"{short_path(path)}: platformio.board: {key[1]!r} is also {seen[key]}")
        seen.setdefault(key, board.name)
    return tuple(problems)


def _library_problems(library: TflmLibrary) -> Iterator[str]:
    for op, method in library.resolver_methods.items():
        if not _RESOLVER_METHOD.match(method):
            yield f"resolver_methods.{op}: {method!r} is no method of MicroMutableOpResolver (AddConv2D)"
    for op, registration in library.int8_registrations.items():
        if not _REGISTRATION.match(registration):
            yield f"int8_registrations.{op}: {registration!r} is no registration (Register_CONV_2D_INT8)"
        if op not in library.resolver_methods:
            yield f"int8_registrations.{op}: resolver_methods has no such op{nearest(op, library.resolver_methods)}"


def _board_problems(board: Board, libraries: dict[str, TflmLibrary]) -> Iterator[str]:
    settings = board.platformio
    if not _PINNED_PLATFORM.match(settings.platform):
        yield f"platformio.platform: {settings.platform!r} is not pinned: write name@x.y.z or an address with a version"
    for dependency in settings.lib_deps:
        if not _PINNED_LIBRARY.match(dependency):
            yield f"platformio.lib_deps: {dependency!r} is not pinned: write owner/name@x.y.z"
    for key, flags in (("build_flags", settings.build_flags), ("build_unflags", settings.build_unflags)):
        for flag in flags:
            if not flag.startswith("-"):
                yield f"platformio.{key}: {flag!r} is no compiler option: begin it with -"
    library = libraries.get(board.tflm.library)
    if library is None:
        yield f"tflm.library: no file tflm/{board.tflm.library}.toml{nearest(board.tflm.library, libraries)}"
    elif library.lib_dep and library.lib_dep not in settings.lib_deps:
        yield f"platformio.lib_deps: the TFLM library is missing: add {library.lib_dep!r}"
    for flag in library.build_flags if library else ():
        if flag not in settings.build_flags:
            yield f"platformio.build_flags: the TFLM library was built with {flag!r}: add it"
    if board.allowance.flash_bytes >= board.flash_bytes:
        yield f"allowance.flash_bytes: {board.allowance.flash_bytes} leaves nothing of {board.flash_bytes}"
    if board.allowance.ram_bytes >= board.ram_bytes:
        yield f"allowance.ram_bytes: {board.allowance.ram_bytes} leaves nothing of {board.ram_bytes}"
    for key, part, whole in (
        ("flash", board.allowance.runtime_flash_bytes, board.allowance.flash_bytes),
        ("ram", board.allowance.runtime_ram_bytes, board.allowance.ram_bytes),
    ):
        if part >= whole:
            yield f"allowance.runtime_{key}_bytes: {part} is not a part of {whole}"
