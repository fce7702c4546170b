"""A progress that ends a fit between two epochs, as a kill would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kd_embedded.progress import Progress, Task


class KilledError(Exception):
    pass


class KillAfter(Progress):
    """Ends the fit after ``epochs``."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        yield _KillTask(self._epochs)


class _KillTask(Task):
    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def advance(self, **figures: float) -> None:
        self._left -= 1
        if self._left < 0:
            raise KilledError
