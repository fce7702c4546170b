"""Whole runs with teachers that are no Keras model: what the student learns of them, down to firmware."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts


def _kd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kd_embedded", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def _centres(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three overlapping classes of 4 x 4 pictures."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    centres = np.random.default_rng(7).normal(0, 1, (3, 4, 4, 1))
    return (centres[y] + generator.normal(0, 0.8, (count, 4, 4, 1))).astype(np.float32), y


def test_a_forest_is_distilled_into_firmware_from_its_example(tmp_path: Path) -> None:
    assert _kd("init", tmp_path, "--example", "forest").returncode == 0
    config = tmp_path / "kd.toml"
    quick = {
        "n_estimators = 200": "n_estimators = 20",
        "epochs = 150": "epochs = 6",
        "qat_epochs = 15": "qat_epochs = 0",
    }
    text = config.read_text()
    for old, new in {
        **quick,
        "min_accuracy = 0.95": "min_accuracy = 0.3",
        "probe_epochs = 10": "probe_epochs = 0",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
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
        "[examine]\nprobe_epochs = 0\n[distill]\nalpha = 0.9\ntemperature = 1.0\nepochs = 25\n[quantize]\nqat_epochs = 0\n"
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
