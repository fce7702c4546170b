"""What `run` and the stage verbs share: open the run folder of a kd.toml and do stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kd_embedded.cli import Outcome
from kd_embedded.progress import Progress

CONFIG = click.argument("config", type=click.Path(path_type=Path), default="kd.toml")
BOARDS = click.option("--board", "boards", multiple=True, metavar="NAME", help="Instead of project.boards; repeatable.")
WORKERS = click.option(
    "--workers", type=click.IntRange(0), default=0, help="Processes for the teachers' logits; 0: none beside this one."
)
CLUSTER = click.option(
    "--cluster", metavar="ADDRESS", default="", help="A Dask scheduler whose workers compute the teachers' logits."
)
FRESH = click.option("--fresh", is_flag=True, help="Do it again, whatever is there.")


def one_stage(
    name: str,
    progress: Progress,
    config: Path,
    boards: tuple[str, ...],
    fresh: bool,
    workers: int = 0,
    cluster: str = "",
) -> Outcome:
    """Does the stage ``name`` alone, on the artifacts of those before it, which must be there and current."""
    from kd_embedded import stages

    run = open_run(progress, config, boards)
    run.workers, run.cluster = workers, cluster
    with run.opened(fresh=False):
        for earlier in stages.ORDER[: stages.ORDER.index(name)]:
            run.require(stages.stage(earlier))
        if fresh:
            run.state.pop(name, None)
        return outcome(run, {name: run.execute(stages.stage(name))})


def refuse_model_options(ctx: click.Context, config: Path, *names: str) -> None:
    """Raises ConfigError where an option that goes with a model was given with a kd.toml."""
    refuse(ctx, config, "goes with a MODEL.tflite", *names)


def refuse(ctx: click.Context, where: Path, why: str, *names: str) -> None:
    """Raises ConfigError, telling ``why``, where one of the parameters ``names`` was given."""
    from click.core import ParameterSource

    from kd_embedded.errors import ConfigError

    for parameter in ctx.command.params:
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT:
            raise ConfigError(f"{parameter.opts[0]} {why}", where=str(where), todo="leave it out")


def open_run(progress: Progress, config: Path, boards: tuple[str, ...]) -> Any:
    """The Run of ``config``, its boards replaced where ``boards`` are given."""
    from kd_embedded.config import load_config
    from kd_embedded.pipeline import Run

    spec = load_config(config)
    if boards:
        project = spec.project.model_copy(update={"boards": tuple(dict.fromkeys(boards))})
        spec = spec.model_copy(update={"project": project})
    run = Run(spec, config.resolve().parent, progress, str(config))
    _ = run.boards  # a wrong board name is told before anything is done
    return run


def outcome(run: Any, redone: dict[str, bool]) -> Outcome:
    """The document and the words of a run; exit code 1 where the result misses a budget or is not the device's."""
    from kd_embedded import artifacts
    from kd_embedded.tasks import told
    from kd_embedded.validate import failures

    document: dict[str, Any] = {
        "folder": str(run.folder),
        "stages": [{"name": name, "redone": was} for name, was in redone.items()],
        "artifacts": sorted(name for stage in run.state.values() for name in stage["wrote"]),
    }
    lines = [f"{run.folder}: {', '.join(name for name, was in redone.items() if was) or 'all up to date'}"]
    problems: list[str] = []
    if "examine" in redone:
        document["warnings"] = artifacts.read_json(run.path(artifacts.EXAMINATION))["warnings"]
        for warning in () if redone["examine"] else document["warnings"]:  # the stage itself has told them
            run.progress.say(f"warning: {warning}")
    if "validate" in redone or "report" in redone:
        validation = artifacts.read_json(run.path(artifacts.VALIDATION))
        which = "errors" if "errors" in validation else "accuracy"
        document |= {which: validation[which], "budgets": validation["budgets"]}
        shown = {name: value for name, value in validation[which].items() if value is not None}
        if which == "errors":
            lines += [f"{name}: {told(errors)}" for name, errors in shown.items()]
        else:
            lines += ["accuracy: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in shown.items())]
        problems = failures(validation)
        for problem in problems:
            click.echo(f"error: {problem}", err=True)
    if "codegen" in redone:
        lines += [f"firmware: {run.path(artifacts.FIRMWARE) / board.name}" for board in run.boards]
    if "report" in redone:
        lines += [f"report: {run.path(artifacts.REPORT)}"]
    return Outcome(document, "\n".join(lines), 1 if problems else 0)
