"""Runs with ``student.prune``: the student that was planned is the one that is trained, cut and exported."""

from __future__ import annotations

from typing import Any

import pytest

from kd_embedded import artifacts, keras_files
from kd_embedded.config import parse_config
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import distill, plan, quantize, teach


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    document = {
        "project": {"out": "out"},
        "data": {"max_per_class": 10},
        "teacher": {"arch": "cnn", "width": 0.1, "epochs": 1},
        "student": {"arch": "tiny_cnn"},
        "distill": {"epochs": 2},
        "quantize": {"qat_epochs": 1, "representative_samples": 20},
    }
    run = Run(parse_config(document, "kd.toml"), tmp_path_factory.mktemp("pruned"), Progress())
    run.open_folder(fresh=False)
    return run


def _channels(run: Run, prune: float, **settings: Any) -> list[int]:
    """Those of the student's convolutions, once ``run`` has come to student_int8.tflite."""
    sections = {"student": {"arch": "tiny_cnn", "prune": prune}, "distill": {"epochs": 2, **settings}}
    run.spec = parse_config({**run.spec.model_dump(exclude_unset=True), **sections}, "kd.toml")
    for stage in (plan.STAGE, teach.STAGE, distill.STAGE, quantize.STAGE):
        run.execute(stage)
    student = keras_files.load(run.path(artifacts.STUDENT))
    assert student.count_params() == artifacts.read_json(run.path(artifacts.PLAN))["parameters"]
    return [student.get_layer(f"conv{number}").filters for number in (1, 2, 3)]


def test_half_the_channels_are_gone_as_planned_and_the_tflite_is_smaller(run: Run) -> None:
    assert _channels(run, 0.0) == [8, 16, 24]
    whole, planned = run.path(artifacts.STUDENT_INT8).stat().st_size, artifacts.read_json(run.path(artifacts.PLAN))
    assert _channels(run, 0.5) == [4, 8, 12]
    assert run.state["distill"]["unpruned_parameters"] == planned["parameters"]
    size = run.path(artifacts.STUDENT_INT8).stat().st_size
    assert size < 0.7 * whole
    pruned = artifacts.read_json(run.path(artifacts.PLAN))["model_bytes"]
    assert size < 1.02 * pruned < 0.7 * planned["model_bytes"]  # the converter's tensors may have longer names


@pytest.mark.parametrize("method", ["hints", "attention"])
def test_a_student_that_learns_from_feature_maps_is_pruned_all_the_same(run: Run, method: str) -> None:
    assert _channels(run, 0.5, method=method) == [4, 8, 12]
    assert run.state["distill"]["recipe"] == method
