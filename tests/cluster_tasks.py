"""Tasks for test_cluster.py; a worker process imports this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded.errors import ModelError


def draw(seed: int) -> dict[str, Any]:
    """Arrays that follow from ``seed``; what it prints must not disturb the answer."""
    print("chatter", flush=True)
    generator = np.random.default_rng(seed)
    return {"logits": generator.normal(size=(50, 3)).astype(np.float32), "labels": generator.integers(0, 3, 50)}


def draw_or_die(seed: int, doomed: int, marks: str) -> dict[str, Any]:
    """As ``draw``; the process is killed within the task ``doomed`` the first time it comes to it."""
    mark = Path(marks) / "died"
    if seed == doomed and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(seed)


def draw_or_kill_parent(seed: int, doomed: int, marks: str, results: str) -> dict[str, Any]:
    """As ``draw``; the first time, ``doomed`` kills the process that asked once it has stored what came before."""
    mark = Path(marks) / "worker"
    if seed == doomed and not mark.exists():
        mark.write_text(str(os.getpid()))
        while len(list(Path(results).glob("*.npz"))) < doomed:
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    return draw(seed)


def die(seed: int) -> None:
    """Never ends well."""
    os.kill(os.getpid(), signal.SIGKILL)


def once(seed: int, marks: str) -> dict[str, Any]:
    """The seed and the process; leaves a file each time it is called."""
    Path(marks, f"{seed}-{time.time_ns()}").touch()
    return {"seed": seed, "process": os.getpid()}


def refuse(seed: int) -> None:
    """Raises what a user can act on."""
    raise ModelError("is no model", where=f"model {seed}", todo="train it")


def divide(by: int) -> float:
    """Raises what Python does."""
    return 1 / by


def total(values: Any, weight: float) -> float:
    """Takes an array."""
    return float(values.sum() * weight)
