"""`kd-embedded quantize`."""

from __future__ import annotations

from pathlib import Path

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@_stages.CONFIG
@_stages.BOARDS
@_stages.FRESH
@verb
def command(progress: Progress, config: Path, boards: tuple[str, ...], fresh: bool) -> Outcome:
    """Quantize the student of CONFIG (kd.toml) to full-int8 TFLite."""
    return _stages.one_stage("quantize", progress, config, boards, fresh)
