"""PlatformIO, compilers and emulators, found and run. Every subprocess of a build passes here."""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kd_embedded.codegen.folder import read_marker
from kd_embedded.errors import ToolError

_SAID = 300  # characters of what a failing program said
_PIECE = 1 << 20  # bytes read from a pipe at once


def find_tool(program: str, package: str) -> str:
    """The path of ``program``; ToolError that names the Debian ``package`` where it is not installed."""
    found = shutil.which(program)
    if not found:
        raise ToolError(f"{program} is not installed", todo=f"apt-get install {package}")
    return found


def run_tool(command: Sequence[str], *, where: str, folder: Path, timeout_s: float) -> str:
    """What ``command`` prints on stdout, run in ``folder``; ToolError where it fails or takes longer than that."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{Path(command[0]).name} took longer than {timeout_s:g} s", where=where) from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:_SAID] or "it said nothing"
        raise ToolError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {said}", where=where)
    return done.stdout


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


def stream_tool(command: Sequence[str], fifo: Path, *, where: str, timeout_s: float) -> Iterator[bytes]:
    """What ``command``, run in the folder of ``fifo``, writes into that file, piece by piece, as it writes it.

    Nothing of it is kept on disk. Raises ToolError as ``run_tool`` does, and on Windows, which has no such files.
    """
    if sys.platform == "win32":
        raise ToolError("Windows has no named pipes in folders", where=where, todo="use Linux or macOS, or WSL")
    import fcntl  # not on Windows

    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    ends = time.monotonic() + timeout_s
    # Not blocking: the command may die before it opens the file.
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux: as much room as anybody may ask for, so that neither side waits often
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIECE)
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, cwd=fifo.parent, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            done = False
            while not done:
                done = child.poll() is not None  # asked first, so that what it wrote last is still read below
                while piece := _read_some(reader):
                    yield piece
                    if time.monotonic() > ends:
                        break
                if time.monotonic() > ends:
                    raise ToolError(f"{Path(command[0]).name} took longer than {timeout_s:g} s", where=where)
        finally:
            child.kill()
            child.wait()
            os.close(reader)
            fifo.unlink(missing_ok=True)
        if child.returncode:
            said.seek(0)
            text = " ".join(said.read().decode(errors="replace").split())[:_SAID] or "it said nothing"
            raise ToolError(f"{Path(command[0]).name} failed with exit code {child.returncode}: {text}", where=where)


def _read_some(reader: int) -> bytes:
    """What stands in the pipe, after a short wait at most; b"" where that is nothing."""
    ready, _, _ = select.select([reader], [], [], 0.05)
    try:
        piece = os.read(reader, _PIECE) if ready else b""
    except BlockingIOError:
        return b""
    if not piece:
        time.sleep(0.002)  # no writer yet, or none any more: select does not wait for one
    return piece
