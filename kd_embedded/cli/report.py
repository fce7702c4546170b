"""`kd-embedded report`."""

from __future__ import annotations

from pathlib import Path

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@_stages.CONFIG
@_stages.BOARDS
@_stages.FRESH
@verb
def command(progress: Progress, config: Path, boards: tuple[str, ...], fresh: bool) -> Outcome:
    """Write report.html of the run of CONFIG (kd.toml)."""
    return _stages.one_stage("report", progress, config, boards, fresh)
