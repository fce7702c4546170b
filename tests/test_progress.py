"""Progress: plain lines in a pipe, bars on a terminal, nothing when quiet; libraries silenced."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kd_embedded.progress import PlainProgress, Progress, silenced


def _lines(progress: PlainProgress, stream: io.StringIO, total: int, done: int = 0) -> list[str]:
    with progress.task("student", total, done) as task:
        for _ in range(total - done):
            task.advance(loss=0.5, accuracy=0.987654)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(("total", "done", "count"), [(3, 0, 3), (150, 0, 10), (25, 20, 3), (0, 0, 0)])
def test_plain_progress_is_about_ten_lines_with_figures(total: int, done: int, count: int) -> None:
    stream = io.StringIO()
    lines = _lines(PlainProgress(0, stream), stream, total, done)
    assert len(lines) == count
    assert all(line.startswith("  student ") and "loss=0.5 accuracy=0.9877" in line for line in lines)
    if lines:
        assert f"{total}/{total}" in lines[-1] and "(0 s left)" in lines[-1]


def test_quiet_and_verbose() -> None:
    for verbosity, expected in ((-1, ""), (0, "said\n"), (1, "said\ndetail\n")):
        stream = io.StringIO()
        progress = PlainProgress(verbosity, stream)
        progress.say("said")
        progress.detail("detail")
        assert stream.getvalue() == expected
    with Progress().task("nothing", 2) as task:
        task.advance(loss=1.0)


def test_a_terminal_gets_bars_with_figures_and_time_left(tmp_path: Path) -> None:
    script = (
        "from kd_embedded.progress import for_terminal\n"
        "for verbosity in (1, -1):\n"
        "    progress = for_terminal(verbosity)\n"
        "    progress.say('teach: [working]'); progress.detail('detail')\n"
        "    with progress.task('teacher', 4, 1) as task:\n"
        "        for _ in range(3): task.advance(loss=0.25, accuracy=0.5)\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs, env={**os.environ, "TERM": "xterm"}):
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so when the other side has closed
                break
            if not piece:
                break
            shown += piece
    text = shown.decode()
    assert "teach: [working]" in text and "detail" in text
    assert "4/4" in text and "loss=0.25 accuracy=0.5" in text
    assert text.count("teach: [working]") == 1  # the quiet half says nothing


def test_silenced_keeps_the_words_of_python_and_of_native_code(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced() as said:
        print("python")
        os.write(2, b"native\n")
    assert said.getvalue() == "native\n"
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")
