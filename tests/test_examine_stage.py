"""The examine stage on a small set of pictures with planted faults, and a teacher that is the exact posterior."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_embedded import artifacts, data, training
from kd_embedded.config import parse_config
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import examine, teach

_TEACHER = """
import numpy as np
CENTERS = np.random.default_rng(1).normal(size=(4, 16))
def logits(x):
    return -((x.reshape(len(x), 1, 16) - CENTERS) ** 2).sum(-1) / 1.2
def shifted(x):
    return np.roll(logits(x), 1, axis=1)
"""


def _arrays(seed: int = 3) -> dict[str, NDArray[Any]]:
    """float32 [N, 4, 4, 1] around the teacher's centers, all of their own class."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(1).normal(size=(4, 16))
    arrays: dict[str, NDArray[Any]] = {}
    for name, count in (("train", 400), ("val", 120), ("test", 80)):
        y = np.arange(count) % 4
        points = centers[y] + 0.7 * generator.normal(size=(count, 16))
        arrays |= {f"x_{name}": points.reshape(-1, 4, 4, 1).astype(np.float32), f"y_{name}": y}
    return arrays


class _Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def _run(folder: Path, arrays: dict[str, NDArray[Any]], **tables: Any) -> Run:
    """Up to the teachers; no plan, which would quantize a student."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "data.npz", **arrays)
    (folder / "own.py").write_text(_TEACHER)
    document = {
        "project": {"out": "out"},
        "data": {"source": "npz:data.npz"},
        "teacher": {"kind": "python", "function": "own:logits"},
        "student": {"arch": "mlp"},
        "distill": {"epochs": 20, "batch_size": 32},
        **tables,
    }
    run = Run(parse_config(document, "kd.toml"), folder, _Told())
    run.open_folder(fresh=False)
    parts = data.split(run.data, run.spec.data, 1)
    artifacts.write_npz(run.path(artifacts.SPLITS), train=parts.train, val=parts.val, test=parts.test)
    run.execute(teach.STAGE)
    return run


def _examine(run: Run) -> dict[str, Any]:
    assert run.execute(examine.STAGE)
    document: dict[str, Any] = artifacts.read_json(run.path(artifacts.EXAMINATION))
    return document


def test_planted_faults_are_found_and_told(tmp_path: Path) -> None:
    arrays = _arrays()
    planted = np.random.default_rng(4).choice(390, 24, replace=False)
    arrays["y_train"][planted] = (arrays["y_train"][planted] + 1) % 4
    arrays["x_train"][399] = arrays["x_train"][398]  # labelled 3 and 2
    arrays["x_test"][:5] = arrays["x_train"][391:396]
    run = _run(tmp_path, arrays)
    document = _examine(run)
    found, told = document["data"], "\n".join(document["warnings"])
    assert found["duplicates"]["between"] == {
        **dict.fromkeys(("train_unlabelled", "train_val", "unlabelled_val", "unlabelled_test", "val_test"), 0),
        "train_test": 5,
    }
    names = ["x_train[398]", "x_train[399]"]
    assert found["conflicts"]["examples"] == [{"indices": [398, 399], "labels": [2, 3], "names": names}]
    worst = found["suspects"]["worst"]
    assert len(worst) == 12 and {entry["index"] for entry in worst} <= {399, *planted.tolist()}
    assert all(entry["confidence"] > 0.9 for entry in worst)
    assert all(entry["label"] == (entry["teacher"] + 1) % 4 for entry in worst if entry["index"] != 399)
    assert base64.b64decode(worst[0]["png"]).startswith(b"\x89PNG") and "values" not in worst[0]
    assert all(entry["name"] == f"x_train[{entry['index']}]" for entry in worst)
    assert "5 of 80 test samples are exact copies of training samples" in told
    assert "keep copies in one split only (x_test[0] is x_train[391])." in told
    assert "1 input has more than one label, 2 samples in all (x_train[398] is '2' and x_train[399] is '3')" in told
    assert "Of the 200 training samples that the teacher is surest of" in told and len(document["warnings"]) == 3
    assert isinstance(run.progress, _Told) and f"  warning: {document['warnings'][0]}" in run.progress.lines
    assert document["student_probe"]["epochs"] == 2
    assert document["teachers"][0] == {
        **{"name": "own:logits", "parameters": None},
        **{name: document["ensemble"][name] for name in ("train", "val", "lineup")},
    }


def test_clean_data_and_an_honest_teacher_give_no_warning_and_test_labels_are_not_read(tmp_path: Path) -> None:
    arrays = _arrays()
    document = _examine(_run(tmp_path / "one", arrays))
    assert document["warnings"] == []
    arrays["y_test"] = arrays["y_test"][::-1].copy()
    other = _examine(_run(tmp_path / "other", arrays))
    assert {**other, "student_probe": None} == {**document, "student_probe": None}
    assert other["student_probe"]["val_accuracy"] == document["student_probe"]["val_accuracy"]


def test_a_member_whose_classes_are_shifted_is_named(tmp_path: Path) -> None:
    functions = ("own:logits", "own:shifted")
    teachers = [{"kind": "python", "function": function, "weight": 3.0 - i} for i, function in enumerate(functions)]
    document = _examine(_run(tmp_path, _arrays(), teacher=teachers, examine={"probe_epochs": 0}))
    (warning,) = document["warnings"]
    assert warning.startswith("Teacher 2 (own:shifted) counts the classes in another order: '0' is called '1', '1' is")
    assert document["student_probe"] is None and document["ensemble"]["val"]["accuracy"] > 0.9
    assert [entry["val"]["accuracy"] > 0.5 for entry in document["teachers"]] == [True, False]


def test_a_decision_tree_that_repeats_its_labels_is_warned_of_and_a_forest_is_not(tmp_path: Path) -> None:
    told = []
    for name in ("tree.DecisionTreeClassifier", "ensemble.RandomForestClassifier"):
        teacher = {"kind": "sklearn", "estimator": f"sklearn.{name}"}
        run = _run(tmp_path / name, _arrays(), teacher=teacher, examine={"probe_epochs": 0})
        told.append(_examine(run)["warnings"])
    ((warning,), none) = told
    assert warning.startswith("The teacher has memorised the training samples: 100.00 % of them right") and none == []


def test_a_probe_is_kept_until_something_of_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path, _arrays())
    first = _examine(run)["student_probe"]

    def again(**settings: float) -> dict[str, Any]:
        run.spec = run.spec.model_copy(update={"distill": run.spec.distill.model_copy(update=settings)})
        return _examine(run)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", None)  # nothing is trained
        document = again(temperature=2.0)
        assert document["student_probe"] == first and document["ensemble"]["soft_targets"]["temperature"] == 2.0
        assert again(alpha=0.0)["student_probe"] is None
    changed = again(alpha=0.7, epochs=40)["student_probe"]
    assert changed["epochs"] == 4 and changed["key"] != first["key"]


def test_the_verb_gives_the_warnings_and_repeats_those_of_before(tmp_path: Path) -> None:
    arrays = _arrays()
    arrays["x_test"][0] = arrays["x_train"][0]
    run = _run(tmp_path, arrays)
    run.execute(examine.STAGE)
    from kd_embedded.cli import _stages

    for redone, lines in ((True, 0), (False, 1)):
        run.progress = _Told()
        document = _stages.outcome(run, {"examine": redone}).document
        assert document["warnings"][0].startswith("1 of 80 test samples are exact copies")
        assert len(run.progress.lines) == lines


def test_the_verb_wants_the_teachers_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **_arrays())
    config = '[project]\nout = "out"\n[data]\nsource = "npz:data.npz"\n[teacher]\narch = "mlp"\naugment_shift = 0\n'
    (tmp_path / "kd.toml").write_text(config)
    command = [sys.executable, "-m", "kd_embedded", "examine", str(tmp_path / "kd.toml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["what"] == "plan is missing or out of date"


def test_a_teacher_of_numbers_in_other_units_is_told(tmp_path: Path) -> None:
    """One gives standard deviations where the targets are real; the other is right, and nothing is said of it."""
    generator = np.random.default_rng(5)
    arrays: dict[str, NDArray[Any]] = {}
    for name, count in (("train", 300), ("val", 60), ("test", 40)):
        x = generator.normal(size=(count, 4)).astype(np.float32)
        arrays |= {f"x_{name}": x, f"y_{name}": 500 + 100 * x.sum(1) + generator.normal(0, 40, count)}
    (tmp_path / "mine.py").write_text(
        "def right(x):\n    return 500 + 100 * x.sum(1, keepdims=True)\n"
        "def other(x):\n    return x.sum(1, keepdims=True) / 2\n"
    )
    task = {"data": {"source": "npz:data.npz", "task": "regression"}, "distill": {"method": "mse", "epochs": 20}}
    told = {}
    for function in ("right", "other"):
        teacher = {"kind": "python", "function": f"mine:{function}"}
        run = _run(tmp_path, arrays, project={"out": function}, teacher=teacher, **task)
        document = _examine(run)
        told[function] = document["warnings"]
        assert (document["student_probe"]["mse"] > document["teachers"][0]["val"]["mse"]) == (function == "right")
    assert told["right"] == []
    (text,) = told["other"]
    assert text.startswith("The teacher is no better than a constant: its mean squared error on validation samples is")


def test_samples_that_weigh_more_balance_classes(tmp_path: Path) -> None:
    arrays = _arrays()
    kept = np.concatenate([np.flatnonzero(arrays["y_train"] != 2), np.flatnonzero(arrays["y_train"] == 2)[:8]])
    arrays |= {f"{kind}_train": arrays[f"{kind}_train"][kept] for kind in "xy"}
    document = _examine(_run(tmp_path / "alike", arrays, examine={"probe_epochs": 0}))
    assert document["data"]["imbalance"] == 12.5 and "imbalanced" in document["warnings"][0]
    arrays["w_train"] = np.where(arrays["y_train"] == 2, 12.5, 1.0)
    document = _examine(_run(tmp_path / "weighed", arrays, examine={"probe_epochs": 0}))
    assert document["data"]["imbalance"] == pytest.approx(1.0) and document["warnings"] == []
    arrays = _arrays()
    arrays["w_train"] = np.where(arrays["y_train"] == 2, 20.0, 1.0)  # costs, of classes that are balanced
    document = _examine(_run(tmp_path / "costs", arrays, examine={"probe_epochs": 0}))
    assert document["data"]["imbalance"] == 1.0 and document["warnings"] == []
