"""The stage between teachers and student: which recipe, from whom, and what run.json says of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_embedded import artifacts, keras_files, soft_targets, teachers, training
from kd_embedded.config import parse_config
from kd_embedded.errors import ConfigError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.recipes._auto import choose
from kd_embedded.recipes._features import connect
from kd_embedded.stages import distill, examine, plan, quantize, teach

_TEACHER = {"arch": "mlp", "width": 0.1, "epochs": 3, "learning_rate": 0.01}


class _Lines(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def _run(base: Path, classes: int, settings: dict[str, Any], teachers: int = 1, examined: bool = False) -> Run:
    """A run up to its teachers, on blobs of ``classes`` classes."""
    generator = np.random.default_rng(0)
    y = np.arange(90) % classes
    x = (generator.normal(0, 0.5, (90, 6, 6, 1)) + y[:, None, None, None]).astype(np.float32)
    np.savez(base / "data.npz", x_train=x, y_train=y)
    spec = parse_config(
        {
            "project": {"out": "out"},
            "data": {"source": "npz:data.npz"},
            "teacher": [_TEACHER] * teachers,
            "student": {"arch": "mlp", "width": 0.25},
            "examine": {"probe_epochs": 1},
            "distill": {"epochs": 2, **settings},
        },
        "kd.toml",
    )
    run = Run(spec, base, _Lines())
    run.open_folder(fresh=False)
    for stage in (plan.STAGE, teach.STAGE, *([examine.STAGE] if examined else [])):
        run.execute(stage)
    return run


def test_an_assistant_learns_first_and_then_teaches(tmp_path: Path) -> None:
    settings = {"method": "teacher_assistant", "augment_shift": 1, "assistant_width": 3.0}
    run = _run(tmp_path, 3, settings)
    run.execute(distill.STAGE)
    assert run.state["distill"]["recipe"] == "teacher_assistant"
    assert artifacts.ASSISTANT in run.state["distill"]["wrote"]
    assert len(list(run.path(artifacts.SOFT_TARGETS).iterdir())) == 2  # the teacher's and the assistant's
    assistant, student = (keras_files.load(run.path(name)) for name in (artifacts.ASSISTANT, artifacts.STUDENT))
    assert assistant.count_params() > student.count_params()
    before = run.path(artifacts.STUDENT).read_bytes()
    run.path(artifacts.STUDENT).unlink()
    run.execute(distill.STAGE)
    assert run.path(artifacts.STUDENT).read_bytes() == before


def test_a_recipe_of_feature_maps_wants_one_keras_teacher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hints compares feature maps of one Keras model"):
        _run(tmp_path, 3, {"method": "hints"}, teachers=2)
    with pytest.raises(ConfigError, match="attention compares feature maps, which have no mean over mirror images"):
        _run(tmp_path, 3, {"method": "attention", "teacher_mirror": True})


_NAMED = {"student_layers": ["conv3_relu"], "teacher_layers": ["conv3a_relu"]}  # what no recipe chooses by itself


@pytest.fixture(scope="module")
def on_digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a few digits, up to its CNN of a teacher; an epoch of distillation is a single step."""
    document = {
        "project": {"out": "out"},
        "data": {"max_per_class": 10},
        "teacher": {"arch": "cnn", "width": 0.1, "epochs": 1},
        "student": {"arch": "tiny_cnn", "width": 0.25},
        "distill": {"epochs": 1, "batch_size": 200},
        "quantize": {"qat_epochs": 1, "representative_samples": 20},
    }
    run = Run(parse_config(document, "kd.toml"), tmp_path_factory.mktemp("digits"), Progress())
    run.open_folder(fresh=False)
    for stage in (plan.STAGE, teach.STAGE):
        run.execute(stage)
    return run


def _distilled(run: Run, **settings: Any) -> float:
    """The loss of the single step of ``run`` with ``settings`` of [distill]."""
    document = run.spec.model_dump(exclude_unset=True)
    run.spec = parse_config({**document, "distill": {"epochs": 1, "batch_size": 200, **settings}}, "kd.toml")
    run.execute(distill.STAGE)
    (record,) = artifacts.read_json(run.path(artifacts.STUDENT_HISTORY))
    loss: float = record["loss"]
    return loss


def _maps_apart(method: str, student: Any, teacher: Any) -> float:
    """How far maps [N, H, W, D] of one resolution are apart by the formulas of the two papers, in NumPy."""
    if method == "hints":
        return float(np.mean((student - teacher) ** 2))
    seen = [np.mean(maps**2, axis=-1).reshape(len(maps), -1) for maps in (student, teacher)]
    ours, theirs = (energy / np.linalg.norm(energy, axis=1, keepdims=True) for energy in seen)
    return float(np.mean(0.5 * np.sum((ours - theirs) ** 2, axis=1)))


@pytest.mark.parametrize("method", ["hints", "attention"])
def test_the_maps_of_the_layers_that_are_named_are_learnt_and_fine_tuning_is_plain_distillation(
    on_digits: Run, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, student = on_digits, plan.build(on_digits, on_digits.spec.student)
    teacher = keras_files.load(run.path("teacher.keras"))
    x, y = run.data.inputs(run.splits.train), run.data.y[run.splits.train]
    found = connect(method, student, teacher, **_NAMED, seed=run.spec.project.seed)
    logits, ours = map(np.asarray, found.student(x, training=True))
    theirs = np.asarray(found.teacher(x)[1])
    assert ours.shape[1:3] == theirs.shape[1:3] == (2, 2)
    cross_entropy = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])
    loss = _distilled(run, method=method, **_NAMED, alpha=0.6, parameters={"weight": 3.0})
    assert loss == pytest.approx(0.4 * cross_entropy + 0.6 * 3.0 * _maps_apart(method, ours, theirs), rel=1e-4)
    assert (run.state["distill"]["recipe"], run.state["distill"]["why"]) == (method, "")
    assert keras_files.load(run.path(artifacts.STUDENT)).count_params() == student.count_params()  # no projector

    goals, fit = list[training.Objective](), training.fit

    def spy(model: Any, samples: Any, spec: Any, goal: training.Objective, **keys: Any) -> training.History:
        goals.append(goal)
        return fit(model, samples, spec, goal, **keys)

    monkeypatch.setattr(training, "fit", spy)
    run.execute(quantize.STAGE)
    (goal,) = goals
    assert (goal.recipe, goal.alpha, goal.features, goal.parameters) == ("kd", 0.6, None, {})
    assert goal.soft_targets is not None
    some = np.array([3, 0])
    np.testing.assert_array_equal(goal.soft_targets(some, x[some], 0), soft_targets.clean(run)[0][some])
    assert "qat" in run.state["quantize"]


def test_an_assistant_of_a_students_file_is_named_before_anything_is_trained() -> None:
    document = {"student": {"file": "own.keras"}, "distill": {"method": "teacher_assistant"}}
    with pytest.raises(ConfigError, match=r"the student is a file, so name distill\.assistant_arch"):
        parse_config(document, "kd.toml")


def test_another_weight_or_another_teacher_leaves_the_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, made, make = _run(tmp_path, 3, {}, teachers=2), list[int](), teachers.make
    monkeypatch.setattr(teachers, "make", lambda job: (made.append(job.spec.epochs), make(job))[1])
    first = [run.path(name).read_bytes() for name in teach.files(run)]
    histories = artifacts.read_json(run.path(artifacts.TEACHER_HISTORY))

    def again(*specs: dict[str, Any]) -> None:
        document = {**run.spec.model_dump(), "teacher": [{**_TEACHER, **spec} for spec in specs]}
        run.spec = parse_config(document, "kd.toml")
        run.execute(teach.STAGE)

    again({"weight": 2.0}, {})
    assert not made and [run.path(name).read_bytes() for name in teach.files(run)] == first
    again({"weight": 2.0}, {}, {"epochs": 1})
    assert made == [1] and [run.path(name).read_bytes() for name in teach.files(run)[:2]] == first
    assert artifacts.read_json(run.path(artifacts.TEACHER_HISTORY))[:2] == histories
    run.path("teacher_2.keras").write_bytes(b"damaged")
    run.execute(teach.STAGE)
    assert made == [1, 3] and run.path("teacher_2.keras").read_bytes() == first[1]
    again({"epochs": 2}, {})
    assert made == [1, 3, 2] and run.path("teacher_2.keras").read_bytes() == first[1]


def test_a_trained_student_of_a_regression_starts_from_what_it_knows(tmp_path: Path) -> None:
    import keras

    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    y = (150 + 70 * x[:, :1]).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y)
    own = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    own.set_weights([np.array([[70.0], [0], [0], [0]]), np.array([150.0])])
    own.save(tmp_path / "own.keras")
    document = {
        "project": {"out": "out"},
        "data": {"source": "npz:data.npz", "task": "regression"},
        "teacher": {"arch": "mlp", "width": 0.05, "epochs": 1, "augment_shift": 0},
        "student": {"file": "own.keras"},
        "distill": {"epochs": 1, "alpha": 0.0, "learning_rate": 1e-6},
    }
    run = Run(parse_config(document, "kd.toml"), tmp_path, Progress())
    run.open_folder(fresh=False)
    for stage in (plan.STAGE, teach.STAGE, distill.STAGE):
        run.execute(stage)
    assert np.allclose(keras_files.load(run.path(artifacts.STUDENT))(x), y, atol=0.1)


def test_with_two_classes_plain_distillation_takes_over_and_says_so(tmp_path: Path) -> None:
    run = _run(tmp_path, 2, {"method": "dkd"})
    run.execute(distill.STAGE)
    assert run.state["distill"]["recipe"] == "kd"
    assert run.state["distill"]["why"].startswith("dkd falls back to kd with two classes")
    assert any("falls back to kd" in line for line in run.progress.said)


def test_auto_picks_from_the_examination_and_says_why(tmp_path: Path) -> None:
    run = _run(tmp_path, 3, {"method": "auto"}, examined=True)
    run.execute(distill.STAGE)
    examination = artifacts.read_json(run.path(artifacts.EXAMINATION))
    name, why = choose(examination, 3, keras_files.load(run.path(artifacts.STUDENT)).count_params())
    noted = run.state["distill"]
    assert noted["recipe"] == name
    assert noted["why"] == f"picked by method = auto: {why}"
    assert artifacts.EXAMINATION in noted["read"]


def test_alpha_of_zero_reads_no_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path, 3, {"alpha": 0.0, "method": "dkd"})
    monkeypatch.setattr(teach, "load_teachers", None)
    run.execute(distill.STAGE)
    assert "recipe" not in run.state["distill"]


def _examination(**changes: Any) -> dict[str, Any]:
    found = {"confidence": 0.9, "parameters": 10_000, "accuracy": 0.79, **changes}
    return {
        "teachers": [{"parameters": found["parameters"]}],
        "ensemble": {
            "train": {"confidence": found["confidence"]},
            "val": {"confidence": 0.8, "accuracy": found["accuracy"], "samples": 1000},
        },
    }


@pytest.mark.parametrize(
    ("changes", "classes", "name", "why"),
    [
        ({}, 10, "kd_ls", "90.0 % confident"),
        ({"confidence": 0.79}, 10, "kd", "79.0 % confident of the training samples, and has 10 times"),
        ({"confidence": 0.79, "parameters": 50_000}, 10, "kd_ls", "50 times the student's parameters"),
        (
            {"confidence": 0.79, "parameters": None},
            10,
            "kd",
            "79.0 % confident of the training samples, and of unknown size",
        ),
        ({"confidence": 0.79, "accuracy": 0.69}, 10, "kd_ls", "80.0 % confident of validation samples, 69.0 % right"),
        ({"parameters": 50_000}, 2, "kd", "two classes"),
    ],
)
def test_the_rule(changes: dict[str, Any], classes: int, name: str, why: str) -> None:
    found = choose(_examination(**changes), classes, 1000)
    assert found[0] == name
    assert why in found[1]
