"""Work done one item ahead, so that NumPy prepares while TensorFlow computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(prepare: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """``prepare`` of each item in turn, the next one already in work in a thread; its errors are raised here."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for item in items:
            following = pool.submit(prepare, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
