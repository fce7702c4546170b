"""Finds ``boards/`` and ``firmware_templates/``: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name


def boards_dir() -> Path:
    """The folder of board and TFLM library files (``*.toml``)."""
    return _folder("boards")


def templates_dir() -> Path:
    """The folder of firmware templates (``*.j2`` and plain C/C++ files)."""
    return _folder("firmware_templates")
