"""The plan stage: what is refused before anything is trained, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_embedded import keras_files, students
from kd_embedded.config import StudentSpec, parse_config
from kd_embedded.errors import BudgetError, KdError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import plan


def _plan(folder: Path, **tables: Any) -> Run:
    run = Run(parse_config({"data": {"max_per_class": 10}, **tables}, "kd.toml"), folder, Progress())
    with run.opened(fresh=False):
        run.execute(plan.STAGE)
    return run


def test_what_a_library_cannot_run_is_no_matter_of_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_largest_width", lambda run: pytest.fail("widths were tried"))
    with pytest.raises(
        KdError, match=r'nano33ble: .* per-channel weights wrongly .*: quantize with dense = "per-tensor"$'
    ):
        _plan(tmp_path, project={"boards": ["nano33ble"]}, quantize={"dense": "per-channel"})


def test_a_pruned_student_over_a_budget_is_told_of_the_budget(tmp_path: Path) -> None:
    """Widths that 0.25 takes nothing off are no widths to name."""
    tables = {"project": {"boards": ["pico"]}, "student": {"width": 2.0, "prune": 0.25}}
    needs = r"student tiny_cnn at width 2 on pico: needs .* KiB, and the budget max_flash_kib is {}: {}$"
    with pytest.raises(BudgetError, match=needs.format(10, "no width of tiny_cnn fits; take another")):
        _plan(tmp_path, **tables, budgets={"max_flash_kib": 10})


def test_weights_that_begin_alike_count_as_they_will_be_trained() -> None:
    keras_files.start_tensorflow()
    student = students.build(StudentSpec(arch="ds_cnn", width=0.25), (8, 8, 1), 10, 1, Path())
    plan._part_weights(student)
    weights = [variable.numpy() for variable in student.variables if variable.dtype == "float32" and variable.shape]
    assert len({values.tobytes() for values in weights}) == len(weights)
