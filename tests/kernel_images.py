"""Kernel calls on an emulated core: their arguments as C, and an image of them compiled and run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conftest import require_tool
from numpy.typing import NDArray

from kd_embedded.cores import load_core
from kd_embedded.program import Array, Call
from kd_embedded.resources import templates_dir

_KERNELS = templates_dir() / "aot" / "kernels"
_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wundef", "-Wstack-usage=512", "-pedantic"]
_TYPES = {"int8": "int8_t", "int32": "int32_t", "uint32": "uint32_t"}

DIFFERS = """
/* The first byte of count that differs, or -1. */
static int differs(const int8_t *got, const int8_t *expected, int count) {
  for (int i = 0; i < count; i++) {
    if (got[i] != expected[i]) {
      return i;
    }
  }
  return -1;
}
"""


def constant(name: str, values: NDArray[Any]) -> str:
    """The array ``name``."""
    flat = ", ".join(map(str, values.ravel().tolist()))
    return f"static const {_TYPES[str(values.dtype)]} {name}[] = {{{flat}}};\n"


def arguments(call: Call, number: int) -> str:
    """The struct ``a<number>`` of a call, behind its arrays."""
    text, fields = "", []
    for name, value in call.args.items():
        if isinstance(value, Array):
            text += constant(f"{name}{number}", value.data)
        fields.append(f".{name} = {f'{name}{number}' if isinstance(value, Array) else value}")
    return f"{text}static const kd_{call.kernel}_args a{number} = {{{', '.join(fields)}}};\n"


def run(folder: Path, source: str, kernels: Sequence[str], core_name: str, flags: Sequence[str]) -> list[str]:
    """Compiles ``source`` and, without a warning, ``kernels`` in ``folder``; the lines that the image prints."""
    core = load_core(core_name)
    machine = core.machines[0]
    compiler, emulator = require_tool(f"{core.tools}gcc"), require_tool(machine.emulator)
    (folder / "main.c").write_text(source, "utf-8")
    compile_c = [compiler, *core.flags, "-std=c99", *flags, "--specs=picolibc.specs", f"-I{_KERNELS}"]
    for kernel in kernels:
        command = [*compile_c, *_WARNINGS, "-c", str(_KERNELS / f"{kernel}.c"), "-o", f"{kernel}.o"]
        subprocess.run(command, cwd=folder, check=True)
    memory = {"flash": machine.flash_base, "flash_size": machine.flash_bytes}
    memory |= {"ram": machine.ram_base, "ram_size": machine.ram_bytes}
    link = ["--crt0=semihost", "--oslib=semihost", *(f"-Wl,--defsym=__{k}={v:#x}" for k, v in memory.items())]
    objects = [f"{kernel}.o" for kernel in kernels]
    subprocess.run([*compile_c, *link, "main.c", *objects, "-o", "image.elf"], cwd=folder, check=True)
    semihosting = ["-nographic", "-semihosting-config", "enable=on,target=native"]
    command = [emulator, *machine.options, *semihosting, "-kernel", "image.elf"]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=folder, text=True, timeout=60, check=False, **pipes).stdout.splitlines()
