"""Whole runs with teachers that are no Keras model: what the student learns of them, down to firmware."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, data, distill, keras_files, soft_targets, students, teachers, training
from kd_embedded.config import DataSpec, DistillSpec, StudentSpec, TeacherSpec, parse_config
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import teach


def _kd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kd_embedded", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def _centres(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three overlapping classes of 4 x 4 pictures."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    centres = np.random.default_rng(7).normal(0, 1, (3, 4, 4, 1))
    return (centres[y] + generator.normal(0, 0.8, (count, 4, 4, 1))).astype(np.float32), y


def _few_labels() -> tuple[data.Data, data.Splits]:
    """Digits: 20 training samples of a class, a quarter of their labels drawn anew; the rest is for the test."""
    spec = DataSpec(max_per_class=20)
    digits = data.load(spec, Path())
    parts = data.split(digits, spec, 1)
    generator = np.random.default_rng(0)
    drawn = np.where(generator.random(len(digits.y)) < 0.25, generator.integers(0, 10, len(digits.y)), digits.y)
    labels = digits.y.copy()
    labels[parts.train] = drawn[parts.train]
    test = np.setdiff1d(np.arange(len(labels)), np.concatenate([parts.train, parts.val]))
    return replace(digits, y=labels), data.Splits(parts.train, parts.val, test)


def _student_accuracy(found: data.Data, parts: data.Splits, logits: Any, seed: int, folder: Path) -> float:
    """On the test split, after 25 epochs of the noisy labels and, where there are any, a teacher's ``logits``."""
    train, val = found.inputs(parts.train), found.inputs(parts.val)
    weights = np.ones(len(train), np.float32)
    samples = training.Samples(lambda i: train[i], found.y[parts.train], weights, lambda i: val[i], found.y[parts.val])
    soft = None if logits is None else soft_targets.cached(logits)
    alpha = 0.0 if logits is None else 0.8
    spec = DistillSpec(epochs=25, learning_rate=0.01, batch_size=32, alpha=alpha, temperature=2.0)
    student = students.build(StudentSpec(arch="tiny_cnn", width=0.5), found.input_shape, 10, seed, folder)
    training.fit(
        *(student, samples, spec, training.Objective(soft, alpha, 2.0)),
        seed=seed,
        checkpoint=folder / f"{seed} {alpha} {time.monotonic()}.npz",
        key="",
        title="student",
        progress=Progress(),
    )
    forward = distill.forward(student)
    right: NDArray[np.bool_] = forward(found.inputs(parts.test)).numpy().argmax(1) == found.y[parts.test]
    return float(right.mean())


def test_a_forest_and_boosted_trees_teach_a_tiny_cnn_more_than_the_labels_do(tmp_path: Path) -> None:
    """Same seeds, samples and epochs; trees average wrong labels out, and what they say of a sample shows that."""
    keras_files.start_tensorflow()
    found, parts = _few_labels()
    seeds = (1, 2, 3)
    alone = np.mean([_student_accuracy(found, parts, None, seed, tmp_path) for seed in seeds])
    for estimator, parameters in (
        ("RandomForestClassifier", {"n_estimators": 100}),
        ("GradientBoostingClassifier", {"n_estimators": 30, "subsample": 0.5}),
    ):
        spec = TeacherSpec(kind="sklearn", estimator=f"sklearn.ensemble.{estimator}", parameters=parameters)
        job = teachers.Job(spec, tmp_path, tmp_path / f"{estimator}.skops", 1, found, parts, "", lambda *_: [])
        teachers.make(job)
        logits = distill.predict(teachers.load(job).logits, found.inputs, parts.train)
        taught = np.mean([_student_accuracy(found, parts, logits, seed, tmp_path) for seed in seeds])
        assert taught > alone, (estimator, taught, alone)


def test_a_forest_is_distilled_into_firmware_from_its_example(tmp_path: Path) -> None:
    assert _kd("init", tmp_path, "--example", "forest").returncode == 0
    config = tmp_path / "kd.toml"
    text = config.read_text().replace("n_estimators = 200", "n_estimators = 20")
    for key, quick in {"epochs": "6", "qat_epochs": "0", "probe_epochs": "0", "min_accuracy": "0.3"}.items():
        text, count = re.subn(rf"^{key} = [-\d.]+", f"{key} = {quick}", text, flags=re.MULTILINE)
        assert count == 1, key
    config.write_text(text)
    done = _kd("run", config, "--json")
    assert done.returncode == 0, done.stderr
    accuracy = json.loads(done.stdout)["accuracy"]
    assert accuracy["teacher"] > 0.9
    assert accuracy["student_int8"] > 0.3
    run = tmp_path / "runs" / "forest"
    for board in ("esp32", "nano33ble"):
        assert (run / "firmware" / board / "platformio.ini").is_file()
    before = artifacts.sha256_file(run / "teacher.skops")
    assert _kd("teach", config, "--fresh", "-q").returncode == 0  # another process, other addresses, other hashes
    assert artifacts.sha256_file(run / "teacher.skops") == before


def test_a_teacher_elsewhere_teaches_by_file_unlabelled_samples_too(tmp_path: Path) -> None:
    """The labels alone are few and half of them wrong, with weight 0; all that is right comes from the teacher."""
    x, y = _centres(60, 1)
    more, _ = _centres(400, 2)
    x_val, y_val = _centres(60, 4)
    x_test, y_test = _centres(300, 3)
    wrong = np.arange(60) % 2 == 0
    arrays: dict[str, Any] = {"x_train": x, "y_train": np.where(wrong, (y + 1) % 3, y), "w_train": ~wrong}
    np.savez(tmp_path / "data.npz", **arrays, x_val=x_val, y_val=y_val, x_test=x_test, y_test=y_test)
    np.savez(tmp_path / "more.npz", x=more)
    config = tmp_path / "kd.toml"
    config.write_text(
        '[project]\nboards = ["pico"]\nout = "run"\n[data]\nsource = "npz:data.npz"\nunlabelled = "npz:more.npz"\n'
        '[[teacher]]\nkind = "logits"\nfile = "logits.npz"\n[student]\narch = "mlp"\nwidth = 0.25\n'
        "[examine]\nprobe_epochs = 0\n[distill]\nalpha = 0.9\ntemperature = 1.0\nepochs = 25\n"
        "[quantize]\nqat_epochs = 0\n"
    )
    done = _kd("inputs", config, "--out", tmp_path / "inputs.npz", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["samples"] == 820 and told["splits"]["unlabelled"] == 400 and told["splits"]["test"] == 300
    with np.load(tmp_path / "inputs.npz") as stored:
        seen = {name: stored[name] for name in stored.files}
    assert np.array_equal(seen["x"][:60], x) and (seen["y"][seen["split"] == "unlabelled"] == -1).all()
    assert seen["class_names"].tolist() == ["0", "1", "2"]
    centres = np.random.default_rng(7).normal(0, 1, (3, 4, 4, 1))
    distances = ((seen["x"][:, None] - centres) ** 2).sum((2, 3, 4))
    logits = -distances / (2 * 0.8**2)  # Bayes' rule: the best teacher there can be
    np.savez(tmp_path / "logits.npz", logits=logits, data_sha256=seen["data_sha256"])
    done = _kd("run", config, "--until", "validate", "--json")
    assert done.returncode == 0, done.stderr
    accuracy = json.loads(done.stdout)["accuracy"]
    assert accuracy["teacher"] == (logits[-700:-400].argmax(1) == y_test).mean()
    assert accuracy["student_float"] > accuracy["teacher"] - 0.04
    np.savez(tmp_path / "more.npz", x=more[1:])  # other data: the file of logits is told, not used
    done = _kd("run", config, "--until", "validate")
    assert done.returncode == 2
    assert "logits.npz: was made for other data, by its data_sha256" in done.stderr


def _answers(folder: Path, unlabelled: str) -> tuple[list[NDArray[np.float32]], tuple[NDArray[np.float32], ...]]:
    """Of a forest, of a Keras teacher and of both together: logits of the labelled samples; kept ones of the splits."""
    document = {
        "project": {"out": f"with {unlabelled}" if unlabelled else "without"},
        "data": {"source": "npz:data.npz", "unlabelled": unlabelled},
        "teacher": [
            {"kind": "sklearn", "estimator": "sklearn.ensemble.RandomForestClassifier", "weight": 2.0},
            {"arch": "mlp", "width": 0.05, "epochs": 2, "augment_shift": 0},
        ],
    }
    run = Run(parse_config(document, "kd.toml"), folder, Progress())
    run.open_folder(fresh=False)
    artifacts.write_npz(run.path(artifacts.SPLITS), **vars(run.splits))
    run.execute(teach.STAGE)
    ensemble, labelled = teach.load_teachers(run), np.flatnonzero(run.data.y >= 0)
    x = run.data.inputs(labelled)
    return [each.logits(x, labelled) for each in (*ensemble.members, ensemble)], soft_targets.clean(run)


def test_unlabelled_samples_change_no_teacher(tmp_path: Path) -> None:
    x, y = _centres(120, 1)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "more.npz", x=_centres(90, 2)[0])
    (alone, (train, val)), (beside, (more_train, more_val)) = (_answers(tmp_path, "npz:more.npz" * no) for no in (0, 1))
    for one, other in zip(alone, beside, strict=True):
        assert one.shape == (120, 3)
        np.testing.assert_array_equal(one, other)
    assert len(more_train) == len(train) + 90
    np.testing.assert_allclose(more_train[:-90], train, atol=1e-5)
    np.testing.assert_allclose(more_val, val, atol=1e-5)
