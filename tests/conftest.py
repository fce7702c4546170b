"""What several tests need: tools that may be absent at a desk but not where KD_REQUIRE_TOOLS=1, and public models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


def require_tool(name: str) -> str:
    """The path of the program ``name``; skips the test where it is absent, or fails it under KD_REQUIRE_TOOLS=1."""
    found = shutil.which(name)
    if found is None:
        _absent(f"{name} is not installed")
    assert found is not None
    return found


def _absent(reason: str) -> None:
    if os.environ.get("KD_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def public_model() -> Callable[[str], Path]:
    """Finds one of the eight int8 models nobody here trained, in KD_DATA/models or ../shared/data/models."""
    folder = Path(os.environ.get("KD_DATA", _ROOT.parent / "shared" / "data")) / "models"

    def find(name: str) -> Path:
        path = folder / f"{name}.tflite"
        if not path.is_file():
            pytest.skip(f"{path.name} is not in {folder} (set KD_DATA to a folder that holds models/)")
        return path

    return find


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Rewrite the projects that codegen is compared with.")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))
