"""The bench of students: statistics, rows, and cells for real, resumed."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from kd_embedded import bench, keras_files, training
from kd_embedded.artifacts import read_json
from kd_embedded.config import StudentSpec, parse_config
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.teachers import zoo

_ROOT = Path(__file__).resolve().parent.parent
_CASES = bench.CASES
_TINY = bench.Case(
    sections={"data": {"max_per_class": 12}},
    teachers=({"arch": "mlp", "width": 0.1, "epochs": 2},),
    students={"mlp": 0.25},
    recipes=("alone", "kd"),
    epochs=2,
    qat_epochs=1,
    seeds=1,
    seconds={"mlp": 0.1},
    seconds_beside=5.0,
)


def _cell(recipe: str, seed: int, *accuracy: float, **changed: Any) -> dict[str, Any]:
    return {
        **{"data": "digits", "student": "mlp", "recipe": recipe, "seed": seed, "epochs": 60, "qat_epochs": 15},
        **{"used": recipe, "parameters": 100, "accuracy": dict(zip(bench.FORMS, accuracy, strict=False))},
        **{"data_sha256": "d", "teacher_sha256": "t", "settings_sha256": "s"},
        "bytes": {"int8_ptq": 7000 + seed, "int8_qat": 7500},
        **changed,
    }


@pytest.mark.parametrize(
    ("values", "quantile"), [([0.5, 0.6], 12.7062), ([0.9, 0.92, 0.94], 4.30265), ([0.1, 0.2, 0.3, 0.2, 0.2], 2.77645)]
)
def test_the_interval_is_students(values: list[float], quantile: float) -> None:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert bench.half_width(values) == pytest.approx(quantile * (variance / len(values)) ** 0.5, rel=1e-5)


def test_one_seed_has_no_interval() -> None:
    assert bench.half_width([0.9]) is None


def test_rows_are_in_the_order_of_recipes_and_forms_and_seeds_ascend() -> None:
    cells = [
        _cell("auto", 1, 0.9, 0.9, 0.9, used="dkd"),
        _cell("kd", 2, 0.8, 0.7, 0.75),
        _cell("alone", 1, 0.5, 0.5, 0.5, epochs=75, qat_epochs=0),
        _cell("kd", 1, 0.6, 0.5, 0.55),
        _cell("alone", 1, 0.4),
        {**_cell("attention", 1), "refused": "it has no maps"},
    ]
    rows = bench.rows(cells, 0.99)
    assert [(row["recipe"], row["form"], row["epochs"], row["qat_epochs"]) for row in rows[:7]] == [
        ("alone", "float", 60, 0),
        ("kd", "float", 60, 0),
        ("kd", "int8_ptq", 60, 0),
        ("kd", "int8_qat", 60, 15),
        ("auto", "float", 60, 0),
        ("auto", "int8_ptq", 60, 0),
        ("auto", "int8_qat", 60, 15),
    ]
    assert [row["epochs"] for row in rows[7:]] == [75] * 3
    assert rows[1]["seeds"] == [0.6, 0.8] and rows[1]["mean"] == pytest.approx(0.7)
    assert rows[1]["ci95"] == pytest.approx(12.7062 * 0.1, rel=1e-5)
    assert [row["bytes"] for row in rows[:7]] == [None, None, 7002, 7500, None, 7001, 7500]
    assert rows[0]["seed_numbers"] == sorted(rows[0]["seed_numbers"]) and len(rows[0]["seeds"]) == len(
        rows[0]["seed_numbers"]
    )
    assert rows[4]["used"] == ["dkd"] and rows[4]["ci95"] is None and rows[4]["teacher"] == 0.99


def test_new_rows_take_the_place_of_old_ones() -> None:
    old = bench.rows([_cell("kd", 1, 0.6, 0.5), _cell("dkd", 1, 0.6)], 0.9)
    new = bench.rows([_cell("kd", 1, 0.7)], 0.9)
    others = bench.rows([_cell("kd", 1, 0.2, data="cifar10")], 0.8)
    assert bench.merged(others, new) == [*new, *others]
    for name in ("data_sha256", "teacher_sha256", "settings_sha256"):
        assert bench.merged(bench.rows([_cell("dkd", 1, 0.6, **{name: "other"})], 0.9), new) == new
    assert bench.merged(bench.rows([_cell("dkd", 1, 0.6, parameters=99)], 0.9), new) == new  # of another width
    merged = bench.merged(old, new)
    assert [(row["recipe"], row["form"], row["mean"]) for row in merged] == [
        ("dkd", "float", 0.6),
        ("kd", "float", 0.7),
        ("kd", "int8_ptq", 0.5),
    ]


def test_auto_is_the_recipe_that_it_picks_for_the_student() -> None:
    cells = [_cell("kd", 1, 0.6), _cell("dkd", 1, 0.7), _cell("dkd", 1, 0.5, student="tiny_cnn")]
    auto = bench.of_auto(cells, {"mlp": "dkd", "tiny_cnn": "kd"})
    assert auto == [{**cells[1], "recipe": "auto"}]
    assert [(row["recipe"], row["used"], row["mean"]) for row in bench.rows([*cells[:2], *auto], 0.9)] == [
        ("dkd", ["dkd"], 0.7),
        ("kd", ["kd"], 0.6),
        ("auto", ["dkd"], 0.7),
    ]


def test_an_assistant_counts_as_a_second_fit() -> None:
    cells = [{**_cell(recipe, 1), "student": "mlp"} for recipe in ("kd", "teacher_assistant")]
    once, twice = (60 * bench.minutes([cell]) for cell in cells)
    assert twice - once == pytest.approx(60 * bench.CASES["digits"].seconds["mlp"])


def test_every_student_and_recipe_of_a_case_is_known() -> None:
    from kd_embedded import students

    for case in bench.CASES.values():
        assert {*case.students} <= {*students.names()} and {*case.students} == {*case.seconds}
        assert {*case.recipes} <= {*bench.RECIPES}


@pytest.mark.parametrize("arch", bench.CASES["digits"].students)
def test_students_of_digits_are_the_widest_under_8_kib(arch: str, tmp_path: Path) -> None:
    from kd_embedded.stages import plan

    run = Run(parse_config({"data": {"source": "sklearn:digits"}}, "digits"), tmp_path, Progress())
    width = bench.CASES["digits"].students[arch]
    specs = [StudentSpec(arch=arch, width=width + step / 16) for step in range(9)]
    parameters = [plan.build(run, spec).count_params() for spec in specs]
    wider = next(spec for spec, count in zip(specs, parameters, strict=True) if count > parameters[0])
    sizes = [plan.measure(run, spec)[0]["model_bytes"] for spec in (specs[0], wider)]
    assert sizes[0] < 8 * 1024 <= sizes[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/bench_students as a module, its digits a tiny case."""
    loader = SourceFileLoader("bench_students", str(_ROOT / "scripts" / "bench_students"))
    spec = importlib.util.spec_from_loader("bench_students", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_students", module)
    loader.exec_module(module)
    monkeypatch.setattr(bench, "CASES", {**bench.CASES, "digits": _TINY})
    return module


def test_cells_are_measured_once_and_a_lost_one_comes_back_in_the_same_bytes(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    first = CliRunner().invoke(script.main, ["--recipes", "attention", "--recipes", "kd", *places])
    assert first.exit_code == 0, first.output
    cells = {path: path.read_bytes() for path in (tmp_path / "work" / "digits" / "cells").glob("*.json")}
    assert len(cells) == 2
    rows = read_json(tmp_path / "results" / "students.json")
    assert [(row["recipe"], row["form"], row["epochs"]) for row in rows] == [("kd", form, 2) for form in bench.FORMS]
    assert all(0.0 < row["mean"] <= 1.0 and row["seeds"] == [row["mean"]] for row in rows)
    assert (tmp_path / "results" / "students.svg").read_text().count("kd, 2 epochs")

    (lost,) = (path for path, found in cells.items() if b"refused" not in found)
    kept = ({*cells} - {lost}).pop()
    before = kept.stat().st_mtime_ns
    lost.unlink()
    again = CliRunner().invoke(script.main, ["--recipes", "attention", "--recipes", "kd", *places])
    assert again.exit_code == 0, again.output
    assert lost.read_bytes() == cells[lost] and kept.stat().st_mtime_ns == before
    assert read_json(tmp_path / "results" / "students.json") == rows

    other = dataclasses.replace(_TINY, sections={**_TINY.sections, "distill": {"learning_rate": 0.02}})
    monkeypatch.setattr(bench, "CASES", {**bench.CASES, "digits": other})
    third = CliRunner().invoke(script.main, ["--recipes", "kd", *places])
    assert third.exit_code == 0, third.output
    assert len([*(tmp_path / "work" / "digits" / "cells").glob("*.json")]) == 3  # other settings are other cells
    assert [len(row["seeds"]) for row in read_json(tmp_path / "results" / "students.json")] == [1] * 3


def test_auto_and_an_ensemble(script: ModuleType, tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = CliRunner().invoke(
        script.main, ["--recipes", "alone", "--work", str(work), "--results", str(tmp_path / "alone")]
    )
    assert first.exit_code == 0, first.output
    teacher = work / "digits" / "shared" / "teacher.keras"
    places = ["--work", str(tmp_path / "more"), "--results", str(tmp_path / "results")]
    given = ["--teacher", str(teacher), "--teacher", str(teacher), "--weight", "0.5", "--qat-epochs", "0"]
    done = CliRunner().invoke(script.main, [*given, "--recipes", "auto", "--recipes", "hints", *places])
    assert done.exit_code == 0, done.output
    cells = [read_json(path) for path in (tmp_path / "more" / "digits" / "cells").glob("*.json")]
    (cell,), (refused,) = ([each for each in cells if ("refused" in each) is no] for no in (False, True))
    assert refused["recipe"] == "hints" and "feature maps of one Keras model" in refused["refused"]
    (half, first_member), (whole, second_member) = (each.split("*") for each in cell["teacher_sha256"].split("+"))
    assert (half, whole) == ("0.5", "1") and first_member == second_member
    rows = read_json(tmp_path / "results" / "students.json")
    assert {row["recipe"] for row in rows} == {"auto", cell["recipe"]}
    assert all(row["used"] == [cell["recipe"]] for row in rows)


def test_cells_of_worker_processes_are_the_same_files(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CASES", _CASES)  # as worker processes know them
    keras_files.start_tensorflow()
    keras_files.save(zoo.build("mlp", (8, 8, 1), 10, 0.05, 1), tmp_path / "teacher.keras")
    asked = ["--teacher", str(tmp_path / "teacher.keras"), "--students", "mlp", "--seeds", "1"]
    asked += ["--recipes", "alone", "--recipes", "kd", "--epochs", "1", "--qat-epochs", "1"]
    found = []
    for workers in (0, 2):
        work = tmp_path / f"{workers} workers"
        places = ["--work", str(work), "--results", str(tmp_path / "results"), "--workers", str(workers)]
        done = CliRunner().invoke(script.main, [*asked, *places])
        assert done.exit_code == 0, done.output
        files = [*work.glob("digits/cells/*.json"), *work.glob("digits/mlp-*/student.keras")]
        found.append({str(path.relative_to(work)): path.read_bytes() for path in files})
        monkeypatch.setattr(training, "fit", None)  # from here on nothing is trained in this process
    assert len(found[0]) == 4 and found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "cifar10"], "--cifar goes with --data cifar10"),
        (["--weight", "2"], "more --weight than --teacher"),
        (["--recipes", "kdd"], "kdd is none of"),
        (["--students", "resnet8"], "resnet8 is none of"),
    ],
)
def test_wrong_options_are_told(script: ModuleType, arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(script.main, arguments)
    assert done.exit_code == 2 and said in done.output
