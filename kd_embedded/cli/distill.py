"""`kd-embedded distill`."""

from __future__ import annotations

from pathlib import Path

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@_stages.CONFIG
@_stages.BOARDS
@_stages.FRESH
@_stages.WORKERS
@_stages.CLUSTER
@verb
def command(
    progress: Progress, config: Path, boards: tuple[str, ...], fresh: bool, workers: int, cluster: str
) -> Outcome:
    """Distil the teacher into the student of CONFIG (kd.toml)."""
    return _stages.one_stage("distill", progress, config, boards, fresh, workers, cluster)
