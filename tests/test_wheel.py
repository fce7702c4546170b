"""The wheel carries boards and templates: built, installed elsewhere, and used from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent
# What PYTHONPATH names here would come before the wheel.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
_PARTS = ("pyproject.toml", "README.md", "LICENSE", "kd_embedded", "boards", "firmware_templates")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a new environment that holds the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for part in _PARTS:
        copy = shutil.copytree if (_ROOT / part).is_dir() else shutil.copy
        copy(_ROOT / part, folder / "source" / part)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(folder / "source")]
    subprocess.run(build, check=True, capture_output=True, env=_ENVIRONMENT)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", "--quiet", wheel]
    subprocess.run(install, check=True, capture_output=True, env=_ENVIRONMENT)
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
        env=_ENVIRONMENT,
    ).stdout.strip()
    # The libraries of this environment come after the wheel; .pth files among them (an editable install) are not read.
    (Path(purelib) / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "env" / "bin" / "kd-embedded"


def test_boards_and_codegen_work_from_another_folder(installed: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        command = [installed, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=_ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "nano33ble" in run("boards")
    run("boards", "--check")
    shutil.copy(_ROOT / "tests" / "data" / "tiny.tflite", tmp_path / "model.tflite")
    run("codegen", "model.tflite", "--board", "esp32", "--out", "firmware")
    assert (tmp_path / "firmware" / "src" / "main.cpp").is_file()
    where = subprocess.run(
        [installed.with_name("python"), "-c", "import kd_embedded; print(kd_embedded.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=_ENVIRONMENT,
    ).stdout
    assert str(installed.parent.parent) in where
