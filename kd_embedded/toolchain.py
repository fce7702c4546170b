"""PlatformIO, found and run. Every subprocess of a build passes here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kd_embedded.codegen.folder import read_marker
from kd_embedded.errors import ToolError


def find_pio() -> tuple[str, ...]:
    """The command that starts PlatformIO: the one beside this package, else ``pio`` on the PATH; ToolError without."""
    if importlib.util.find_spec("platformio"):
        return (sys.executable, "-m", "platformio")
    found = shutil.which("pio")
    if not found:
        raise ToolError("PlatformIO (pio) is not installed", todo='pip install "kd-embedded[pio]"')
    return (found,)


def run_pio(project: Path, arguments: Sequence[str], *, output_to_stderr: bool = True) -> tuple[str, ...]:
    """Runs PlatformIO with ``arguments`` on the generated ``project`` and gives back the whole command.

    What it prints goes to stderr, or to stdout for a monitor. Raises KdError where ``project`` is not a generated one,
    ToolError where PlatformIO is absent or fails.
    """
    read_marker(project)
    command = (*find_pio(), *arguments, "-d", str(project))
    code = subprocess.run(command, stdout=sys.stderr if output_to_stderr else None, check=False).returncode
    if code:
        raise ToolError(f"pio {' '.join(arguments)} failed with exit code {code}", where=str(project), todo="see above")
    return command
