"""Runs kernel calls on the host under AddressSanitizer and UBSan, many in one process: ``Runner(folder, kernels)``."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.program import Array, Call
from kd_embedded.resources import templates_dir
from tests.conftest import require_tool

_FLAGS = ["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
_POINTER = 8


@dataclass(frozen=True, eq=False)
class Job:
    """One call: memory areas with what is in them before, and where in them (area, offset) each operand lies."""

    call: Call
    areas: tuple[NDArray[Any], ...]
    operands: tuple[tuple[int, int], ...]


class Runner:
    """The ``kernels`` compiled into a program in ``folder``, with more ``flags`` if need be."""

    def __init__(self, folder: Path, kernels: Sequence[str], flags: Sequence[str] = ()) -> None:
        self._kernels = sorted(kernels)
        self._program = folder / "runner"
        sources = templates_dir() / "aot" / "kernels"
        includes = "".join(f'#include "{kernel}.h"\n' for kernel in self._kernels)
        table = ", ".join(f"(void (*)(void))kd_{kernel}" for kernel in self._kernels)
        (folder / "kernel_table.h").write_text(
            f"{includes}static void (*const kernels[])(void) = {{{table}}};\n", encoding="utf-8"
        )
        files = [Path(__file__).with_suffix(".c"), *(sources / f"{kernel}.c" for kernel in self._kernels)]
        command = [require_tool("gcc"), *_FLAGS, *flags, f"-I{folder}", f"-I{sources}", *map(str, files), "-o"]
        subprocess.run([*command, str(self._program)], check=True)

    def run(self, jobs: Sequence[Job]) -> list[tuple[NDArray[Any], ...]]:
        """The areas (int8) of each job after its call."""
        request = struct.pack("<I", len(jobs)) + b"".join(map(self._packed, jobs))
        answer = subprocess.run([str(self._program)], input=request, capture_output=True, check=False)
        assert answer.returncode == 0, answer.stderr.decode("utf-8", errors="replace")
        values, at, results = np.frombuffer(answer.stdout, np.int8), 0, []
        for job in jobs:
            sizes = [area.nbytes for area in job.areas]
            ends = at + np.cumsum(sizes)
            results.append(tuple(values[end - size : end] for end, size in zip(ends, sizes, strict=True)))
            at = int(ends[-1])
        assert at == len(values)
        return results

    def _packed(self, job: Job) -> bytes:
        args, pointers = _struct(job.call.args)
        parts = [struct.pack("<I", self._kernels.index(job.call.kernel)), _sized(args)]
        parts.append(struct.pack("<I", len(pointers)))
        parts += [struct.pack("<I", offset) + _sized(data.tobytes()) for offset, data in pointers]
        parts.append(struct.pack("<I", len(job.areas)))
        parts += [_sized(area.tobytes()) for area in job.areas]
        parts.append(struct.pack("<I", len(job.operands)))
        parts += [struct.pack("<II", *operand) for operand in job.operands]
        return b"".join(parts)


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _struct(args: Mapping[str, int | Array]) -> tuple[bytes, list[tuple[int, NDArray[Any]]]]:
    """The struct as a 64-bit compiler lays it out, and the arrays whose addresses belong at its offsets."""
    packed, pointers = bytearray(), []
    for value in args.values():
        if isinstance(value, Array):
            packed += bytes(-len(packed) % _POINTER)
            pointers.append((len(packed), value.data))
            packed += bytes(_POINTER)
        else:
            packed += struct.pack("<i", value)
    return bytes(packed + bytes(-len(packed) % _POINTER)), pointers
