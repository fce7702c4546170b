"""The command line as a user types it, from a config to firmware and report, on digits with few epochs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import needs_reference

from kd_embedded import artifacts, interpreters
from kd_embedded.pipeline import hash_path

_CONFIG = """
[project]
name = "digits"
out = "run"
{project}
[[teacher]]
epochs = 4
width = 0.25
[student]
width = {width}
[distill]
epochs = 4
{more}
"""
_STAGES = ("plan", "teach", "examine", "distill", "quantize", "validate", "codegen", "report")


def _config(folder: Path, project: str = "", width: float = 0.5, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kd.toml"
    path.write_text(_CONFIG.format(project=project, width=width, more=more))
    return path


def _kd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kd_embedded", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a config whose run is finished."""
    folder = tmp_path_factory.mktemp("finished")
    done = _kd("run", _config(folder), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [stage["redone"] for stage in document["stages"]] == [True] * len(_STAGES)
    assert "teach: working" in done.stderr
    assert "\r" not in done.stderr and "\x1b" not in done.stderr  # plain lines in a pipe
    return folder


def test_a_run_leaves_every_artifact(finished: Path) -> None:
    names = ("splits.npz", "teacher.keras", "student.keras", "student_int8.tflite", "validation.json", "report.html")
    for name in (*names, "run.json", "firmware/esp32/platformio.ini", "firmware/nano33ble/src/model.cpp"):
        assert (finished / "run" / name).is_file(), name
    validation = artifacts.read_json(finished / "run" / "validation.json")
    assert validation["oracle"] == (interpreters.oracle() or None)
    tflm = validation["interpreters"]["tflm"]
    assert tflm["bytes_compared"] == (None if interpreters.available()["tflm"] else 359 * 10)
    if interpreters.oracle() == "builtin_ref" and not interpreters.available()["tflm"]:
        assert tflm["bytes_different"] == 0 and validation["missing_proof"] == []
    else:
        assert validation["missing_proof"]
    assert validation["accuracy"]["student_int8"] > 0.3
    run = artifacts.read_json(finished / "run" / "run.json")
    assert run["stages"]["quantize"]["converter"]["per_tensor_dense"] is True  # the Nano's library needs it
    assert not list((finished / "run").glob(".*"))


def test_a_second_run_does_nothing_and_imports_no_tensorflow(finished: Path) -> None:
    before = hash_path(finished / "run")
    script = (
        "import sys; from kd_embedded.cli import group; "
        f"group.main(['run', {str(finished / 'kd.toml')!r}, '-q'], standalone_mode=False); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all up to date" in done.stdout
    assert done.stderr == ""
    assert hash_path(finished / "run") == before


def test_stages_one_by_one_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    config = _config(tmp_path)
    refused = _kd("distill", config)
    assert refused.returncode == 2
    assert f"plan is missing or out of date: `kd-embedded run {config} --until plan` does it" in refused.stderr
    assert _kd("run", config, "--until", "plan").returncode == 0
    for verb in ("teach", "examine", "distill", "quantize", "validate", "codegen", "report"):
        done = _kd(verb, config, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    assert hash_path(tmp_path / "run") == hash_path(finished / "run")


def test_a_run_killed_in_every_stage_ends_in_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    config = _config(tmp_path)
    for stage in _STAGES:
        _kill_in(stage, config)
    done = _kd("run", config)
    assert done.returncode == 0, done.stderr
    assert hash_path(tmp_path / "run") == hash_path(finished / "run")


_DIES_AT = """
import os, signal, sys
from kd_embedded import cli, progress, training
say = progress.PlainProgress.say
def say_and_die(self, line):
    say(self, line)
    if line.startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
progress.PlainProgress.say = say_and_die
training.CHECKPOINT_SECONDS = 0
cli.main(sys.argv[2:])
"""


def test_a_fit_killed_between_two_epochs_is_taken_up_there(finished: Path, tmp_path: Path) -> None:
    """The child kills itself where the second epoch is told: the checkpoint of the first is on the disk."""
    config = _config(tmp_path)
    for title, checkpoint in (("teacher", ".teach0.checkpoint.npz"), ("student", ".distill0.checkpoint.npz")):
        command = [sys.executable, "-c", _DIES_AT, f"  {title} 2/4", "run", str(config)]
        died = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert (tmp_path / "run" / checkpoint).is_file()
        resumed = _kd("run", config, "--until", "teach" if title == "teacher" else "report")
        assert resumed.returncode == 0, resumed.stderr
        epochs = [line.split()[1] for line in resumed.stderr.splitlines() if line.startswith(f"  {title} ")]
        assert epochs == ["2/4", "3/4", "4/4"]
    assert hash_path(tmp_path / "run") == hash_path(finished / "run")


def _kill_in(stage: str, config: Path) -> None:
    """Starts a run, and kills it and its children as soon as ``stage`` begins."""
    command = [sys.executable, "-m", "kd_embedded", "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"{stage}: working"):
                time.sleep(0.05)
                break
        else:
            pytest.fail(f"the run ended before {stage}")
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_missed_budget_is_a_line_and_exit_code_1(tmp_path: Path) -> None:
    more = "learning_rate = 1e-6\n[budgets]\nmin_accuracy = 0.9999\nmax_accuracy_drop = 0.0\n"  # it learns nothing
    config = _config(tmp_path, project='boards = ["pico"]', more=more)
    done = _kd("run", config, "--json")
    assert done.returncode == 1
    missed = [line for line in done.stderr.splitlines() if line.startswith("error: budget")]
    assert len(missed) == 2
    assert "min_accuracy" in missed[0] and "max_accuracy_drop" in missed[1]
    budgets = json.loads(done.stdout)["budgets"]
    assert [budget["met"] for budget in budgets] == [False, False]
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_student_over_a_budget_is_refused_before_training(tmp_path: Path) -> None:
    more = "[budgets]\nmax_ram_kib = 70\n"
    done = _kd("run", _config(tmp_path, project='boards = ["pico"]', width=8.0, more=more), "-q")
    assert done.returncode == 1
    assert "student tiny_cnn at width 8 on pico: needs" in done.stderr
    assert "KiB, and the budget max_ram_kib is 70: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_student_too_large_is_refused_before_training_with_the_largest_width(tmp_path: Path) -> None:
    config = tmp_path / "kd.toml"
    config.write_text('[project]\nboards = ["esp32"]\nout = "run"\n[student]\narch = "resnet8"\nwidth = 8.0\n')
    done = _kd("run", config)
    assert done.returncode == 2
    error = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(error) == 1
    assert "student resnet8 at width 8 on esp32: needs" in error[0]
    assert "the largest width that fits is" in error[0]
    assert not (tmp_path / "run").exists()
    largest = float(error[0].rsplit(" ", 1)[1])
    config.write_text(config.read_text().replace("8.0", str(largest)))
    assert _kd("run", config, "--until", "plan").returncode == 0


def test_an_ensemble_with_a_frozen_teacher_of_the_users_own(finished: Path, tmp_path: Path) -> None:
    own = finished / "run" / "teacher.keras"
    config = tmp_path / "kd.toml"
    config.write_text(
        '[project]\nboards = ["esp32"]\nout = "run"\n'
        f'[[teacher]]\nfile = "{own}"\nmode = "frozen"\n[[teacher]]\narch = "mlp"\nepochs = 2\naugment_shift = 0\n'
        "[student]\nwidth = 0.5\n[distill]\nepochs = 2\naugment_shift = 1\n"
    )
    done = _kd("run", config)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "teacher_2.keras").is_file()
    assert [len(history) for history in artifacts.read_json(tmp_path / "run" / "teacher_history.json")] == [0, 2]
    assert _weights(tmp_path / "run" / "teacher.keras") == _weights(own)


def _weights(model: Path) -> list[bytes]:
    from kd_embedded import keras_files

    return [value.tobytes() for value in keras_files.load(model).get_weights()]


@needs_reference
def test_no_firmware_where_tflm_computes_other_bytes(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    config = _config(tmp_path)
    path = tmp_path / "run" / "validation.json"
    document = artifacts.read_json(path)
    document["interpreters"]["tflm"] |= {"bytes_different": 7, "max_difference": 3}
    document["first_difference"] = {"op_index": 2, "op_name": "RELU6", "tensor": "t"}
    artifacts.write_json(path, document)
    record = artifacts.read_json(tmp_path / "run" / "run.json")
    record["stages"]["validate"]["wrote"]["validation.json"] = hash_path(path)  # as if validate had found it so
    artifacts.write_json(tmp_path / "run" / "run.json", record)
    done = _kd("codegen", config, "-q")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: student_int8.tflite: no firmware is made: BUILTIN_REF and TFLM differ in 7 of"
    )
    assert "op 2 (RELU6, tensor t) is the first to differ" in done.stderr


def test_a_student_of_the_users_own_is_distilled_into_firmware(finished: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    own = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10, activation="softmax")])
    own.save(tmp_path / "own.keras")
    teacher = finished / "run" / "teacher.keras"
    config = tmp_path / "kd.toml"
    config.write_text(
        '[project]\nboards = ["pico"]\nout = "run"\n'
        f'[[teacher]]\nfile = "{teacher}"\nmode = "frozen"\n'
        '[student]\nfile = "own.keras"\n[distill]\nepochs = 3\n[quantize]\noutput = "softmax"\n'
    )
    done = _kd("run", config, "--json")
    assert done.returncode == 0, done.stderr
    accuracy = json.loads(done.stdout)["accuracy"]
    assert abs(accuracy["student_float"] - accuracy["student_int8"]) < 0.05
    assert accuracy["student_float"] > 0.3
    assert "FULLY_CONNECTED" in (tmp_path / "run/firmware/pico/src/engine_tflm.cpp").read_text()
    assert "SOFTMAX" in (tmp_path / "run/firmware/pico/src/engine_tflm.cpp").read_text()


@needs_reference
def test_the_other_engine_needs_no_training_anew(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    done = _kd("run", _config(tmp_path, more='[codegen]\nengine = "aot"\noptimize = "ram"'), "--json")
    assert done.returncode == 0, done.stderr
    redone = {stage["name"]: stage["redone"] for stage in json.loads(done.stdout)["stages"]}
    assert redone == {name: name not in ("teach", "examine", "distill") for name in _STAGES}
    validation = artifacts.read_json(tmp_path / "run" / artifacts.VALIDATION)
    assert validation["engine"] == "aot" and validation["interpreters"]["reference"]["bytes_different"] == 0
    for board, family in (("esp32", "portable C"), ("nano33ble", "DSP extension")):
        source = tmp_path / "run/firmware" / board / "src"
        assert "void digits_invoke_in(int8_t *arena) {" in (source / "aot/network.c").read_text()
        assert f"aot ({family}, for ram)" in (source / "engine_aot.cpp").read_text()
        assert not (source / "engine_tflm.cpp").exists() and not (source / "model_data.cpp").exists()
    report = (tmp_path / "run" / artifacts.REPORT).read_text()
    assert "BUILTIN_REF and the integer references of the aot engine both ran the int8 model" in report
    assert "is what the plan of each board's program takes" in report
    assert all(f'aria-label="The arena on {board}: ' in report for board in ("esp32", "nano33ble"))
    old = artifacts.read_json(finished / "run" / artifacts.PLAN)["boards"]
    new = artifacts.read_json(tmp_path / "run" / artifacts.PLAN)["boards"]
    assert all(new[board][key] < old[board][key] for board in new for key in ("flash_bytes", "ram_bytes"))


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]).save(tmp_path / "t.keras")
    config = tmp_path / "kd.toml"
    config.write_text('[project]\nout = "run"\n[[teacher]]\nfile = "t.keras"\nmode = "frozen"\n')
    done = _kd("run", config, "-q")
    assert done.returncode == 2
    assert done.stderr == "error: t.keras: gives 3 classes, the data has 10: use a model of the same classes\n"
