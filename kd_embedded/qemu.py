"""Runs an image in QEMU, or natively, on inputs: outputs, stack, and what its profile wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.errors import ToolError
from kd_embedded.image import Image
from kd_embedded.toolchain import find_tool, run_tool

RUN_SECONDS = 300.0
_SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")


@dataclass(frozen=True, eq=False)
class Ran:
    """``outputs`` [N, values], of the engine's type; ``stack`` bytes of the first run, None where not measured."""

    outputs: NDArray[Any]
    stack: int | None


def command(image: Image) -> list[str]:
    """What starts the image."""
    if image.machine is None:
        return [str(image.elf)]
    emulator = find_tool(image.machine.emulator, image.core.packages.emulator)
    quiet = ("-nographic", "-monitor", "none", "-serial", "none")
    return [emulator, *image.machine.options, *quiet, *_SEMIHOSTING, "-kernel", str(image.elf)]


def run(image: Image, inputs: NDArray[Any], *, timeout_s: float = RUN_SECONDS) -> Ran:
    """Runs ``inputs``, int8 [N, ...]; ToolError where the image dies, hangs, or does not run each of them."""
    folder = image.elf.parent
    write_inputs(image, inputs)
    run_tool(command(image), where=f"the model on {image.core.name}", folder=folder, timeout_s=timeout_s)
    return read_outputs(image, len(inputs))


def write_inputs(image: Image, inputs: NDArray[Any]) -> None:
    """The file that the harness reads; removes what an earlier run wrote, so that nothing stale is read back."""
    folder = image.elf.parent
    data = np.ascontiguousarray(inputs, np.int8).tobytes()
    if not len(inputs) or len(data) != len(inputs) * image.engine.input_bytes:
        raise ToolError(
            f"inputs of shape {list(inputs.shape)} are no runs of {image.engine.input_bytes} bytes",
            where=f"the model on {image.core.name}",
            todo="give at least one, of the model's input shape",
        )
    for name in ("outputs", "report", "ops", "arenas"):
        (folder / name).unlink(missing_ok=True)
    (folder / "inputs").write_bytes(data)


def read_outputs(image: Image, count: int) -> Ran:
    """What the harness wrote for ``count`` inputs; ToolError where that is not all."""
    folder, size = image.elf.parent, image.engine.output_bytes
    report = _read(folder / "report", np.int32)
    outputs = _read(folder / "outputs", np.int8)
    if report.size != 2 or report[0] != count or outputs.size != count * size:
        ran = int(report[0]) if report.size else 0
        raise ToolError(
            f"ran {ran} of {count} inputs", where=f"the model on {image.core.name}", todo="nothing is proven"
        )
    return Ran(outputs.reshape(count, size).view(image.engine.output_dtype), int(report[1]) if report[1] >= 0 else None)


def read_profile(image: Image) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """What ``profile.c`` wrote: op indices [K], and arenas int8 [K, ARENA_BYTES] where it was told to dump them."""
    ops = _read(image.elf.parent / "ops", np.int32)
    arenas = _read(image.elf.parent / "arenas", np.int8)
    return ops, arenas.reshape(-1, image.engine.arena_bytes)


def _read(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    return np.fromfile(path, dtype) if path.is_file() else np.zeros(0, dtype)
