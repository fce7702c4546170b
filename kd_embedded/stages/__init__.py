"""The stages of a run, one file each, in this order. Each ends in one ``STAGE``; ``pipeline`` keeps the account."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kd_embedded.pipeline import Stage

ORDER = ("plan", "teach", "examine", "distill", "quantize", "validate", "codegen", "report")


def stage(name: str) -> Stage:
    """The stage of that name."""
    found: Stage = importlib.import_module(f"{__name__}.{name}").STAGE
    return found
