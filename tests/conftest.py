"""What several tests need: tools that may be absent at a desk but not under KD_REQUIRE_TOOLS=1; models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from kd_embedded import interpreters

_ROOT = Path(__file__).resolve().parent.parent

# The tflite-micro wheel exists for Linux on x86-64 only, tflite-runtime for Python 3.11 on Linux only; LiteRT, which
# stands in for the latter, does not compute what the device does. test_interpreters sees to it that both are there
# where they exist, so that these skip nothing by accident.
needs_tflm = pytest.mark.skipif(bool(interpreters.available()["tflm"]), reason="needs the tflite-micro wheel")
needs_builtin_ref = pytest.mark.skipif(interpreters.oracle() != "builtin_ref", reason="needs tflite-runtime")
needs_reference = pytest.mark.skipif(
    bool(interpreters.available()["tflm"]) or interpreters.oracle() != "builtin_ref",
    reason="needs tflite-runtime and the tflite-micro wheel",
)


def require_tool(name: str) -> str:
    """The path of the program ``name``; skips the test where it is absent, or fails it under KD_REQUIRE_TOOLS=1."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed")
    return found


def absent(reason: str) -> NoReturn:
    """Skips the test for ``reason``, or fails it under KD_REQUIRE_TOOLS=1."""
    if os.environ.get("KD_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def public_model() -> Callable[[str], Path]:
    """Finds one of the eight int8 models nobody here trained, in the folder ``models`` of the data folder.

    That is the folder that the environment variable KD_DATA names, and otherwise ``shared/data`` beside the checkout.
    The test is skipped where there is none: it adds to what the committed models prove.
    """
    folder = Path(os.environ.get("KD_DATA", _ROOT.parent / "shared" / "data")) / "models"

    def find(name: str) -> Path:
        path = folder / f"{name}.tflite"
        if not path.is_file():
            pytest.skip(f"{path.name} is not here (KD_DATA can name a folder that holds models/{path.name})")
        return path

    return find


@pytest.fixture
def model_file(public_model: Callable[[str], Path]) -> Callable[[str], Path]:
    """Finds a model by name: a committed one of tests/data, else a public one."""

    def find(name: str) -> Path:
        committed = _ROOT / "tests" / "data" / f"{name}.tflite"
        return committed if committed.is_file() else public_model(name)

    return find


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Rewrite the projects that codegen is compared with.")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))
