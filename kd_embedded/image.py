"""Generated C, a core and the harness -> an image that runs; what of it is the engine's, by the linker's own map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded import resources
from kd_embedded.codegen.c_source import account
from kd_embedded.cores import Core, Machine
from kd_embedded.errors import ConfigError, ToolError
from kd_embedded.toolchain import find_tool, run_tool

OPTIMIZE_FLAGS = ("-O2",)  # the flag that the figures are published with
_COMPILE_SECONDS = 300
_HARNESS_FLAGS = ("-std=gnu99", "-Os", "-ffunction-sections", "-fdata-sections")
_ENGINE_FLAGS = ("-std=c99", "-ffunction-sections", "-fdata-sections")
_NO_ROOM = re.compile(r"region `\w+' overflowed by (\d+) bytes|section `\.stack' will not fit")
_MAP_LINE = re.compile(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (.+)$", re.M)
_INVOKE = re.compile(r"^void (\w+)_invoke\(void\);", re.M)


@dataclass(frozen=True)
class Engine:
    """A generated model: ``name`` begins its symbols, ``header`` declares them, ``sources`` are all its C files."""

    name: str
    header: Path
    sources: tuple[Path, ...]

    @property
    def arena_bytes(self) -> int:
        return int(self.macro("ARENA_BYTES"))

    @property
    def output_bytes(self) -> int:
        return int(self.macro("OUTPUT_BYTES"))

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """int8, or int32 where the model gives indices."""
        declared = re.search(rf"^const (int8|int32)_t \*{self.name}_output\(void\);", self._declarations, re.M)
        if not declared:
            raise ConfigError(f"does not declare {self.name}_output", where=str(self.header))
        return np.dtype(declared[1]).newbyteorder("<")

    @property
    def _declarations(self) -> str:
        return self.header.read_text("utf-8")

    @property
    def input_bytes(self) -> int:
        return int(self.macro("INPUT_BYTES"))

    def macro(self, name: str) -> str:
        """The value of ``NAME_...`` in the header."""
        found = re.search(rf"^#define {self.name.upper()}_{name} (\S+)$", self._declarations, re.M)
        if not found:
            raise ConfigError(f"does not define {self.name.upper()}_{name}", where=str(self.header))
        return found[1]


@dataclass(frozen=True)
class Flash:
    """Bytes of flash: machine code, constants that the engine adds, and the model's own weights and biases."""

    code: int
    constants: int
    weights: int


@dataclass(frozen=True)
class Image:
    """A linked program. ``flash`` and ``static`` (bytes of RAM beside the arena) are the engine's share of it.

    ``machine`` is None for the host. ``engine_code`` and ``harness_code`` are ranges of addresses; the rest of the code
    is that of libraries.
    """

    core: Core
    machine: Machine | None
    elf: Path
    engine: Engine
    flash: Flash
    static: int
    engine_code: tuple[range, ...]
    harness_code: tuple[range, ...]


@dataclass(frozen=True)
class _Section:
    """An input section of the link: ``.text.kd_conv`` of engine.o, at an address, of a size."""

    name: str
    address: int
    bytes: int
    file: str


def find_engine(folder: Path) -> Engine:
    """The generated model below ``folder``: a folder of plain C, or a generated project. ConfigError without one."""
    if not folder.is_dir():
        raise ConfigError("no such folder", where=str(folder), todo="kd-embedded codegen --engine aot makes one")
    for header in sorted(folder.resolve().rglob("*.h")):  # the compiler runs in another folder
        found = _INVOKE.search(header.read_text("utf-8", errors="replace"))
        if found:
            sources = (header.with_suffix(".c"), *sorted(header.parent.glob("kernels/*.c")))
            return Engine(found[1], header, sources)
    raise ConfigError("holds no generated model", where=str(folder), todo="kd-embedded codegen --engine aot makes one")


def build(
    engine: Engine,
    core: Core,
    folder: Path,
    *,
    flags: Sequence[str] = OPTIMIZE_FLAGS,
    defines: Sequence[str] = (),
    profile: bool = False,
) -> Image:
    """Compiles and links ``engine`` for ``core`` in ``folder``, for the first machine of the core that has room.

    ``defines`` are further options for all sources. ``profile`` adds the calls before each op. Raises ToolError where
    a program is missing (naming its package), the C does not compile, or no machine has room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compiler = find_tool(f"{core.tools}gcc", core.packages.compiler)
    for emulator in {machine.emulator for machine in core.machines}:
        find_tool(emulator, core.packages.emulator)
    _write_model_header(engine, folder)
    common = [compiler, *core.flags, *defines, *(["-DKD_PROFILE"] if profile else [])]
    specs = ["--specs=picolibc.specs"] if core.machines else []
    harness = [*common, *specs, *_HARNESS_FLAGS, *(["-DKD_EMULATED"] if core.machines else [])]
    objects = []
    for number, source in enumerate(engine.sources):
        objects.append(f"engine{number}.o")
        _compile([*common, *specs, *_ENGINE_FLAGS, *flags, f"-I{engine.header.parent}"], source, objects[-1], folder)
    for source in _harness_sources(core, profile):
        objects.append(f"harness_{source.stem}.o")
        options = [f"-I{folder}", f"-I{source.parent}", f"-I{engine.header.parent}"]
        _compile([*harness, *options], source, objects[-1], folder)
    machine = _link([*common, *specs], core, objects, folder)
    alone = _engine_alone([*common, *specs, *_memory(machine)], engine, folder) if machine else ()
    linked = _sections(folder / "image.map") if machine else ()
    flash, static = _flash(alone), _static(alone, engine)
    return Image(
        core, machine, folder / "image.elf", engine, flash, static, _code(linked, "engine"), _code(linked, "harness_")
    )


def _write_model_header(engine: Engine, folder: Path) -> None:
    upper = engine.name.upper()
    text = f'#include "{engine.header.name}"\n'
    text += "".join(f"#define kd_engine_{verb} {engine.name}_{verb}\n" for verb in ("input", "output", "invoke"))
    text += "".join(f"#define KD_ENGINE_{what}_BYTES {upper}_{what}_BYTES\n" for what in ("INPUT", "OUTPUT", "ARENA"))
    text += f"#define kd_engine_arena() ({engine.name}_input() - {upper}_INPUT_OFFSET)\n"
    (folder / "kd_emulate_model.h").write_text(text, encoding="utf-8")


def _harness_sources(core: Core, profile: bool) -> list[Path]:
    folder = resources.templates_dir() / "aot" / "emulate"
    names = ["harness", "io_semihosting" if core.machines else "io_stdio", *(["profile"] if profile else [])]
    return [folder / f"{name}.c" for name in names]


def _compile(command: Sequence[str], source: Path, to: str, folder: Path) -> None:
    run_tool([*command, "-c", str(source), "-o", to], where=str(source), folder=folder, timeout_s=_COMPILE_SECONDS)


def _link(common: Sequence[str], core: Core, objects: Sequence[str], folder: Path) -> Machine | None:
    """Links the image for the first machine with room, and gives that machine; None on the host."""
    command = [*common, *objects, "-o", "image.elf"]
    if not core.machines:
        run_tool(command, where="the harness", folder=folder, timeout_s=_COMPILE_SECONDS)
        return None
    for machine in core.machines:
        try:
            run_tool(
                [*command, "--crt0=semihost", "--oslib=semihost", "-Wl,-Map=image.map", *_memory(machine)],
                where=f"linking for {core.name}",
                folder=folder,
                timeout_s=_COMPILE_SECONDS,
            )
        except ToolError as error:
            if not _NO_ROOM.search(error.what):
                raise
        else:
            return machine
    most = core.machines[-1]
    raise ToolError(
        f"the model does not fit the emulated machine: {most.flash_bytes} bytes of flash, {most.ram_bytes} of RAM",
        where=core.name,
        todo="choose another core with --core",
    )


def _memory(machine: Machine) -> list[str]:
    """What picolibc's linker script is told of the machine."""
    places = {
        "__flash": machine.flash_base,
        "__flash_size": machine.flash_bytes,
        "__ram": machine.ram_base,
        "__ram_size": machine.ram_bytes,
    }
    return [f"-Wl,--defsym={name}={value:#x}" for name, value in places.items()]


def _sections(path: Path) -> tuple[_Section, ...]:
    """The input sections that were linked, from the linker's map."""
    text = path.read_text("utf-8", errors="replace")
    text = text[text.index("Linker script and memory map") :]
    text = re.sub(r"^( \.\S+)\n\s+", r"\1 ", text, flags=re.M)  # a long name stands on a line of its own
    found = (_Section(m[1], int(m[2], 16), int(m[3], 16), m[4]) for m in _MAP_LINE.finditer(text))
    return tuple(section for section in found if section.bytes)


def _engine_alone(common: Sequence[str], engine: Engine, folder: Path) -> tuple[_Section, ...]:
    """What a firmware gets that calls the model, and nothing else: the engine, and of libgcc what it calls."""
    calls = [f"{engine.name}_{verb}" for verb in ("invoke", "input", "output")]
    wanted = [f"-Wl,--undefined={call}" for call in calls]
    objects = [path.name for path in sorted(folder.glob("engine*.o"))]
    linker = ["-nostartfiles", f"-Wl,--entry={calls[0]}", "-Wl,-Map=engine.map", *wanted]
    run_tool(
        [*common, *objects, *linker, "-Wl,--unresolved-symbols=ignore-all", "-o", "engine.elf"],
        where="linking the engine alone",
        folder=folder,
        timeout_s=_COMPILE_SECONDS,
    )
    return tuple(s for s in _sections(folder / "engine.map") if s.file.startswith("engine") or "/libgcc.a(" in s.file)


def _is_code(section: _Section) -> bool:
    return section.name.startswith(".text")


def _code(sections: Sequence[_Section], file: str) -> tuple[range, ...]:
    """The addresses of the code in objects whose name begins with ``file``."""
    return tuple(range(s.address, s.address + s.bytes) for s in sections if s.file.startswith(file) and _is_code(s))


def _flash(engine: Sequence[_Section]) -> Flash:
    code = sum(section.bytes for section in engine if _is_code(section))
    data = [s for s in engine if s.name.startswith((".rodata", ".srodata", ".data", ".sdata"))]
    weights = sum(s.bytes for s in data if account(s.name.rpartition(".")[2]) == "weights")
    return Flash(code, sum(section.bytes for section in data) - weights, weights)


def _static(sections: Sequence[_Section], engine: Engine) -> int:
    """Bytes of initialised and zeroed RAM of the engine beside its arena."""
    found = [s for s in sections if s.name.startswith((".data", ".sdata", ".bss", ".sbss"))]
    arena = sum(s.bytes for s in found if s.name.endswith(f".{engine.name}_arena"))
    return sum(section.bytes for section in found) - arena
