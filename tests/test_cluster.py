"""Tasks in worker processes and on Dask: results as files, a killed worker, a killed run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_tasks
import numpy as np
import pytest

from kd_embedded import artifacts, soft_targets
from kd_embedded.cluster import TRIES, run_tasks
from kd_embedded.config import parse_config
from kd_embedded.errors import KdError, ModelError, ToolError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import plan, teach

_SEEDS = [{"seed": seed} for seed in range(9)]


@pytest.fixture(scope="module")
def dask() -> Iterator[str]:
    """The address of a Dask cluster of three worker processes on this machine."""
    import distributed

    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=2, processes=True, dashboard_address=None, silence_logs="CRITICAL"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(params=["processes", "dask"])
def how(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Three worker processes, ours and Dask's."""
    return {"workers": 3} if request.param == "processes" else {"cluster": request.getfixturevalue("dask")}


def _contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.iterdir())


def test_results_are_the_same_files_in_the_order_asked_for(tmp_path: Path, how: dict[str, Any]) -> None:
    here = run_tasks(cluster_tasks.draw, _SEEDS, folder=tmp_path / "here")
    there = run_tasks(cluster_tasks.draw, _SEEDS, folder=tmp_path / "there", **how)
    names = [sorted(path.name for path in (tmp_path / where).iterdir()) for where in ("here", "there")]
    assert names[0] == names[1] and len(names[0]) == 9
    assert _contents(tmp_path / "here") == _contents(tmp_path / "there")
    for seed, (one, other) in enumerate(zip(here, there, strict=True)):
        np.testing.assert_array_equal(one["logits"], cluster_tasks.draw(seed)["logits"])
        np.testing.assert_array_equal(other["logits"], one["logits"])


def test_a_worker_killed_midway_changes_no_byte(tmp_path: Path, how: dict[str, Any]) -> None:
    run_tasks(cluster_tasks.draw, _SEEDS, folder=tmp_path / "whole")
    marks = tmp_path / "marks"
    marks.mkdir()
    arguments = [{**each, "doomed": 4} for each in _SEEDS]
    run_tasks(cluster_tasks.draw_or_die, arguments, folder=tmp_path / "killed", places={"marks": str(marks)}, **how)
    assert (marks / "died").exists()
    assert _contents(tmp_path / "killed") == _contents(tmp_path / "whole")


def test_a_task_that_always_kills_its_worker_is_one_error(tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(KdError, match=r"task die-\w+: its worker.* died") as caught:
        run_tasks(cluster_tasks.die, [{"seed": 1}], folder=tmp_path, **how)
    if "workers" in how:
        assert f"{TRIES} times (signal 9)" in caught.value.what


def test_what_a_task_raises_is_raised_here(tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        run_tasks(cluster_tasks.refuse, [{"seed": 7}], folder=tmp_path, **how)
    assert (caught.value.what, caught.value.where, caught.value.todo) == ("is no model", "model 7", "train it")
    with pytest.raises((RuntimeError, ZeroDivisionError), match="division"):
        run_tasks(cluster_tasks.divide, [{"by": 0}], folder=tmp_path, **how)


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    places, results = {"marks": str(marks)}, tmp_path / "results"
    first = list(run_tasks(cluster_tasks.once, [*_SEEDS[:2], _SEEDS[0]], folder=results, places=places))
    assert [each["seed"] for each in first] == [0, 1, 0]
    places["marks"] = f"{marks}/"  # another word for the same place changes nothing
    again = list(run_tasks(cluster_tasks.once, _SEEDS[:4], folder=results, places=places, workers=2))
    assert again[:2] == first[:2] and [each["seed"] for each in again] == [0, 1, 2, 3]
    assert {each["process"] for each in again[2:]}.isdisjoint({os.getpid()})
    assert sorted(path.name.partition("-")[0] for path in marks.iterdir()) == ["0", "1", "2", "3"]


def test_a_killed_run_carries_on_and_leaves_no_worker(tmp_path: Path) -> None:
    marks, results = tmp_path / "marks", tmp_path / "results"
    marks.mkdir()
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import cluster_tasks
        from kd_embedded.cluster import run_tasks
        places = dict(marks={str(marks)!r}, results={str(results)!r})
        arguments = [dict(seed=seed, doomed=2, **places) for seed in range(4)]
        run_tasks(cluster_tasks.draw_or_kill_parent, arguments, folder=Path(places["results"]), workers=1)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=60).returncode == -9
    kept = {path.name: path.stat().st_mtime_ns for path in results.glob("*.npz")}
    assert len(kept) == 2
    assert subprocess.run(command, check=False, timeout=60, stderr=subprocess.DEVNULL).returncode == 0
    after = {path.name: path.stat().st_mtime_ns for path in results.glob("*.npz")}
    assert len(after) == 4 and kept.items() <= after.items()
    worker = int((marks / "worker").read_text())
    with pytest.raises(ProcessLookupError):
        _wait_for_end_of(worker)


def _wait_for_end_of(process: int) -> None:
    """Raises ProcessLookupError once ``process`` is gone; returns after half a minute."""
    import time

    for _ in range(300):
        os.kill(process, 0)
        time.sleep(0.1)


def test_arrays_are_arguments_by_their_contents(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    arguments = [
        {"values": values, "weight": 2.0},
        {"values": values.T, "weight": 2.0},
        {"values": values, "weight": 2.0},
    ]
    assert list(run_tasks(cluster_tasks.total, arguments, folder=tmp_path, workers=1)) == [30.0, 30.0, 30.0]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    run_tasks(cluster_tasks.draw, _SEEDS[:1], folder=tmp_path)
    next(tmp_path.iterdir()).write_bytes(b"PK")
    with pytest.raises(KdError, match="delete it and run again"):
        list(run_tasks(cluster_tasks.draw, _SEEDS[:1], folder=tmp_path))


def test_no_scheduler_and_no_dask_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_embedded.cluster._CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(ToolError, match="no Dask scheduler answers"):
            run_tasks(cluster_tasks.draw, _SEEDS, folder=tmp_path, cluster=address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ToolError, match=r"pip install 'kd-embedded\[cluster\]'"):
        run_tasks(cluster_tasks.draw, _SEEDS, folder=tmp_path, cluster="tcp://127.0.0.1:1")


def test_workers_without_kd_embedded_or_with_another_are_one_line(
    tmp_path: Path, dask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value, says in (
        ("__version__", "9.9", r"its worker tcp://\S+ has kd-embedded \S+, and this is 9\.9: install the same"),
        ("_DISTRIBUTION", "kd-none", r"its worker tcp://\S+ has kd-embedded none, and this is"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"kd_embedded.cluster.{name}", value)
            with pytest.raises(ToolError, match=says):
                run_tasks(cluster_tasks.draw, _SEEDS, folder=tmp_path, cluster=dask)
    assert not list(tmp_path.iterdir())


def _taught(base: Path, *more: dict[str, Any]) -> Run:
    """Digits, a tiny teacher and ``more`` of them; nothing is distilled yet."""
    spec = parse_config(
        {
            "project": {"out": "out"},
            "data": {"max_per_class": 30},
            "teacher": [{"arch": "mlp", "width": 0.05, "epochs": 1}, *more],
            "student": {"arch": "mlp", "width": 0.25},
            "distill": {"epochs": 2, "augment_shift": 1},
        },
        "kd.toml",
    )
    run = Run(spec, base, Progress())
    run.open_folder(fresh=False)
    for stage in (plan.STAGE, teach.STAGE):
        run.execute(stage)
    return run


def _logits(run: Run) -> list[bytes]:
    """The teacher's logits of all epochs of augmented inputs, and of the inputs as stored, made anew."""
    shutil.rmtree(run.path(artifacts.SOFT_TARGETS), ignore_errors=True)
    run.path(artifacts.TEACHER_LOGITS).unlink(missing_ok=True)
    soft_targets.of_run(run)
    soft_targets.clean(run)
    (epochs,) = run.path(artifacts.SOFT_TARGETS).iterdir()
    return [*_contents(epochs), run.path(artifacts.TEACHER_LOGITS).read_bytes()]


def test_the_teachers_logits_are_the_same_bytes_by_a_worker_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[int] = []

    def counting(function: Any, arguments: Any, **how: Any) -> Iterator[Any]:
        tasks.append(len(arguments))
        return run_tasks(function, arguments, **how)

    monkeypatch.setattr(soft_targets.cluster, "run_tasks", counting)
    monkeypatch.setattr(soft_targets, "_SHARD", 1)
    run = _taught(tmp_path)
    here = _logits(run)
    run.workers = 1
    assert _logits(run) == here and len(here) == 3
    assert tasks == [3, 2, 3]  # as stored: two batches of the training split, one of the validation split; two epochs


def test_what_the_workers_of_a_killed_run_left_is_not_computed_again_without_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _taught(tmp_path)
    here = _logits(run)
    shutil.rmtree(run.path(artifacts.SOFT_TARGETS))

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    run.workers = 1
    with monkeypatch.context() as patch:
        patch.setattr(soft_targets, "_store", stopped)
        with pytest.raises(KeyboardInterrupt):
            soft_targets.of_run(run)
    run.workers = 0
    monkeypatch.setattr(soft_targets, "_of_epoch", stopped)
    soft_targets.of_run(run)
    (epochs,) = run.path(artifacts.SOFT_TARGETS).iterdir()
    assert _contents(epochs) == here[:-1]


# Asked twice as it is loaded, then for one batch after another.
_FATAL = """
import contextlib, os, pathlib, signal
asked = 0
def logits(x):
    global asked
    asked += 1
    if asked == 4:
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path(__file__).with_name("doomed").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return 8 * x.reshape(len(x), -1)[:, :10]
"""


def test_a_worker_killed_between_two_batches_of_the_teachers_changes_no_byte(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    (tmp_path / "own.py").write_text(_FATAL)
    run = _taught(tmp_path, {"kind": "python", "function": "own:logits"})
    here = _logits(run)
    doomed = tmp_path / "doomed"
    doomed.touch()
    run.workers, run.cluster = how.get("workers", 0), how.get("cluster", "")
    assert _logits(run) == here and len(here) == 3
    assert not doomed.exists()
