"""Whole runs without classes: numbers, and inputs again; to the same bytes in all interpreters, and to firmware."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_embedded import artifacts

_REGRESSION = """
[project]
name = "diabetes"
out = "run"
boards = ["pico"]
[data]
source = "sklearn:diabetes"
task = "regression"
[[teacher]]
arch = "mlp"
width = 0.25
epochs = 8
[[teacher]]
kind = "sklearn"
estimator = "sklearn.linear_model.Ridge"
[student]
arch = "mlp"
width = 0.5
[distill]
epochs = 8
[quantize]
qat_epochs = 2
[codegen]
engine = "tflm"
[budgets]
max_mse = 5000.0
"""

_AUTOENCODER = """
[project]
out = "run"
boards = ["pico"]
[data]
source = "npz:data.npz"
task = "autoencoder"
[[teacher]]
arch = "mlp"
width = 0.25
epochs = 15
[student]
arch = "autoencoder"
width = 0.25
[distill]
method = "auto"
epochs = 15
augment_noise = 0.02
[quantize]
qat_epochs = 1
[codegen]
engine = "aot"
[budgets]
min_auc = 0.9
"""


def _kd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kd_embedded", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def _config(folder: Path, text: str) -> Path:
    path = folder / "kd.toml"
    path.write_text(text)
    return path


def _proven(run: Path, engine: str) -> dict[str, Any]:
    """validation.json, once the engine's bytes are those of another interpreter and the firmware is there."""
    found: dict[str, Any] = artifacts.read_json(run / artifacts.VALIDATION)
    entry = found["interpreters"]["tflm" if engine == "tflm" else "reference"]
    assert entry["refused"] or (entry["bytes_compared"] and not entry["bytes_different"])
    assert set(found["accuracy"].values()) == {None} and found["per_class"] is None
    sources = run / "firmware" / "pico" / "src"
    assert "kLabelCount = 0;" in (sources / "model.h").read_text()
    assert '{"test", "MSE ' in (sources / "model.cpp").read_text()
    return found


def test_a_regression_is_distilled_into_firmware_of_both_engines(tmp_path: Path) -> None:
    config, run = _config(tmp_path, _REGRESSION), tmp_path / "run"
    done = _kd("run", config, "--json")
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)["errors"]
    assert errors["teacher"]["r2"] > 0.4 and errors["student_int8"]["r2"] > 0.3
    assert errors["student_int8"]["mae"] == pytest.approx(errors["student_float"]["mae"], rel=0.1)  # in real units
    assert artifacts.read_json(run / artifacts.STUDENT_HISTORY)[0].keys() - {"kept"} == {"loss", "val_loss"}
    assert artifacts.read_json(run / artifacts.EXAMINATION)["teachers"][1]["val"]["r2"] > 0.3
    assert _proven(run, "tflm")["errors"] == errors
    page = (run / artifacts.REPORT).read_text()
    assert "R²" in page and 'id="classes"' not in page and ">Accuracy<" not in page
    shown = _kd("validate", config)
    assert "student int8   MSE" in shown.stdout and "accuracy" not in shown.stdout

    before = artifacts.sha256_file(run / artifacts.STUDENT)
    config = _config(tmp_path, _REGRESSION.replace('"tflm"', '"aot"').replace("5000.0", "1.0"))
    done = _kd("run", config)
    assert done.returncode == 1 and "error: budget max_mse is missed: " in done.stderr
    assert artifacts.sha256_file(run / artifacts.STUDENT) == before
    _proven(run, "aot")
    page = (run / artifacts.REPORT).read_text()
    assert "Mean squared error, at most" in page


def test_an_auto_encoder_finds_anomalies_after_it_was_quantized(tmp_path: Path) -> None:
    """Normal samples lie near a plane, anomalies anywhere in the cube around it."""
    generator = np.random.default_rng(0)
    plane = generator.normal(0, 1, (2, 12))
    normal = (generator.uniform(-1, 1, (600, 2)) @ plane / 2).astype(np.float32)
    normal += generator.normal(0, 0.02, normal.shape).astype(np.float32)
    odd = generator.uniform(-1, 1, (100, 12)).astype(np.float32)
    test = np.concatenate([normal[500:], odd])
    np.savez(tmp_path / "data.npz", x_train=normal[:500], x_test=test, y_test=np.arange(200) >= 100)
    config, run = _config(tmp_path, _AUTOENCODER), tmp_path / "run"
    done = _kd("run", config)
    assert done.returncode == 0, done.stderr
    assert "mse: picked by method = auto" in done.stderr and "student_int8: MSE " in done.stdout
    found = _proven(run, "aot")
    for figures in found["errors"].values():
        assert figures["auc"] > 0.9 and figures["mse"] < figures["mse_anomalies"]
    assert found["samples"] == 200 and found["budgets"][0]["met"]
    page = (run / artifacts.REPORT).read_text()
    assert "AUC" in page and 'id="classes"' not in page


def test_what_does_not_go_together_is_one_line(tmp_path: Path) -> None:
    config = _config(tmp_path, _REGRESSION.replace("epochs = 8\n[quantize]", 'method = "dkd"\n[quantize]'))
    done = _kd("run", config)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and 'distill.method = "dkd" is about classes' in done.stderr
    done = _kd("run", _config(tmp_path, _REGRESSION.replace("sklearn:diabetes", "sklearn:digits")))
    assert done.returncode == 2 and "error: sklearn:digits: it gives a classification" in done.stderr


def test_the_anomaly_example_is_whole(tmp_path: Path) -> None:
    assert _kd("init", tmp_path, "--example", "anomaly").returncode == 0
    done = _kd("run", tmp_path / "kd.toml", "--until", "plan", "-q", "--json")
    assert done.returncode == 0, done.stderr
    assert "plan.json" in json.loads(done.stdout)["artifacts"]
