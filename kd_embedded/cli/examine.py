"""`kd-embedded examine`."""

from __future__ import annotations

from pathlib import Path

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@_stages.CONFIG
@_stages.BOARDS
@_stages.WORKERS
@_stages.CLUSTER
@_stages.FRESH
@verb
def command(
    progress: Progress, config: Path, boards: tuple[str, ...], fresh: bool, workers: int, cluster: str
) -> Outcome:
    """Examine the teacher and the data of CONFIG (kd.toml), and warn where distilling cannot help."""
    return _stages.one_stage("examine", progress, config, boards, fresh, workers, cluster)
