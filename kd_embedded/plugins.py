"""Finds the one-file members of a folder (data sources, teachers, students) without importing them."""

from __future__ import annotations

import pkgutil


def names(package_path: list[str]) -> tuple[str, ...]:
    """The module names in a package folder, sorted; a leading underscore hides one."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package_path) if not m.name.startswith("_")))
