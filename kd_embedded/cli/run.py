"""`kd-embedded run`."""

from __future__ import annotations

from pathlib import Path

import click

from kd_embedded import stages
from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@_stages.CONFIG
@_stages.BOARDS
@click.option("--until", type=click.Choice(stages.ORDER), default=stages.ORDER[-1], help="Stop after this stage.")
@click.option("--fresh", is_flag=True, help="Forget what the run folder holds; your own firmware files stay.")
@_stages.WORKERS
@_stages.CLUSTER
@verb
def command(
    progress: Progress,
    config: Path,
    boards: tuple[str, ...],
    until: str,
    fresh: bool,
    workers: int,
    cluster: str,
) -> Outcome:
    """Do all stages of CONFIG (kd.toml): plan, teach, examine, distil, quantize, validate, codegen, report.

    A stage is redone only when something it reads has changed. Interrupted at any point, the same command carries on.
    """
    run = _stages.open_run(progress, config, boards)
    run.workers, run.cluster = workers, cluster
    redone = {}
    with run.opened(fresh=fresh):
        for name in stages.ORDER[: stages.ORDER.index(until) + 1]:
            redone[name] = run.execute(stages.stage(name))
        return _stages.outcome(run, redone)
