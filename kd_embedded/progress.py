"""What long work tells its user, always on stderr: live bars on a terminal, a few plain lines in a pipe."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO


class Task:
    """One piece of work of ``total`` steps; ``advance`` after each, with the figures worth showing."""

    def advance(self, **figures: float) -> None:
        """One more step is done. ``figures`` are shown beside the bar, as ``loss=0.123``."""


class Progress:
    """Tells nothing. The base of the others, and what a library caller gets by default."""

    def say(self, line: str) -> None:
        """One line that every user wants to see (a stage begins, a budget is missed)."""

    def detail(self, line: str) -> None:
        """One line for ``-v``."""

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        """Work of ``total`` steps, ``done`` of them before now (a resumed fit)."""
        yield Task()


def figures_text(figures: dict[str, float]) -> str:
    """``loss=0.123 accuracy=0.945``."""
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())


class PlainProgress(Progress):
    """Plain lines, at most about ten for each task."""

    def __init__(self, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self._verbosity = verbosity
        self._stream = stream or sys.stderr

    def say(self, line: str) -> None:
        if self._verbosity >= 0:
            print(line, file=self._stream, flush=True)

    def detail(self, line: str) -> None:
        if self._verbosity >= 1:
            print(line, file=self._stream, flush=True)

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        yield _PlainTask(self, title, total, done)


class _PlainTask(Task):
    def __init__(self, progress: PlainProgress, title: str, total: int, done: int) -> None:
        self._progress, self._title, self._total, self._done = progress, title, total, done
        self._every = max(1, -(-total // 10))
        self._started, self._from = time.monotonic(), done

    def advance(self, **figures: float) -> None:
        self._done += 1
        if self._done % self._every and self._done != self._total:
            return
        spent = time.monotonic() - self._started
        left = spent / (self._done - self._from) * (self._total - self._done)
        self._progress.say(f"  {self._title} {self._done}/{self._total} {figures_text(figures)} ({left:.0f} s left)")


class RichProgress(PlainProgress):
    """Live bars: title, done of total, figures, time left."""

    def __init__(self, verbosity: int = 0) -> None:
        super().__init__(verbosity)
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        if self._verbosity >= 0:
            self._console.print(line, markup=False)

    def detail(self, line: str) -> None:
        if self._verbosity >= 1:
            self._console.print(line, markup=False, style="dim")

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        if self._verbosity < 0:
            yield Task()
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console) as bars:
            yield _RichTask(bars, bars.add_task(title, total=total, completed=done, figures=""))


class _RichTask(Task):
    def __init__(self, bars, task) -> None:  # type: ignore[no-untyped-def]  # rich is imported late
        self._bars, self._task = bars, task

    def advance(self, **figures: float) -> None:
        self._bars.update(self._task, advance=1, figures=figures_text(figures))


def for_terminal(verbosity: int) -> Progress:
    """Bars where stderr is a terminal, plain lines elsewhere."""
    return RichProgress(verbosity) if sys.stderr is not None and sys.stderr.isatty() else PlainProgress(verbosity)


@contextmanager
def silenced() -> Iterator[io.StringIO]:
    """Keeps what libraries print off stdout and stderr, their C++ parts too; yields it once the block has ended."""
    said = io.StringIO()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            with redirect_stdout(io.StringIO()):
                yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sink.seek(0)
            said.write(sink.read().decode(errors="replace"))
