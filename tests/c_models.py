"""Generated C on the host: compiled as a user would, strictly and sanitized, and run on int8 inputs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from conftest import require_tool
from numpy.typing import NDArray

C99 = ("-std=c99", "-pedantic")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wundef")
STACK = ("-Wstack-usage=512",)  # gcc alone
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ARM = {
    "c": ("-mcpu=cortex-m0", "-mthumb"),
    "dsp": ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    "helium": ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
}

# Inputs from stdin to outputs on stdout, until there are no more.
_MAIN = """
#include "{name}.h"
#include <stdio.h>
#include <string.h>

int main(void) {{
  while (fread({name}_input(), 1, {upper}_INPUT_BYTES, stdin) == {upper}_INPUT_BYTES) {{
    {name}_invoke();
    if (fwrite({name}_output(), 1, {upper}_OUTPUT_BYTES, stdout) != {upper}_OUTPUT_BYTES) {{
      return 1;
    }}
  }}
  return 0;
}}
"""


def write(folder: Path, texts: Mapping[str, str]) -> Path:
    """Writes ``texts`` by their paths below ``folder``."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def compile_c(source: Path, flags: Sequence[str] = (), *, compiler: str = "gcc") -> Path:
    """The object of one C99 source, without a warning."""
    strict = (*C99, *WARNINGS, *(STACK if "gcc" in compiler else ()))
    made = source.with_suffix(f".{compiler}.o")
    run([require_tool(compiler), *strict, *flags, "-c", str(source), "-o", str(made)])
    return made


def build(folder: Path, name: str, flags: Sequence[str] = SANITIZED) -> Path:
    """The program of every ``.c`` below ``folder`` that runs the model ``name``."""
    (folder / "main_.c").write_text(_MAIN.format(name=name, upper=name.upper()), encoding="utf-8")
    sources = [str(path) for path in sorted(folder.rglob("*.c"))]
    run([require_tool("gcc"), *C99, "-O1", *WARNINGS, *flags, *sources, "-o", str(folder / "program")])
    return folder / "program"


def infer(program: Path, inputs: NDArray[np.int8], output_shape: Sequence[int]) -> NDArray[np.int8]:
    """The outputs int8 [N, *output_shape[1:]] for ``inputs`` int8 [N, ...]."""
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return np.frombuffer(done.stdout, np.int8).reshape(-1, *output_shape[1:])


def run(command: Sequence[str]) -> str:
    """What ``command`` prints; a failure shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
