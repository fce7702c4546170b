"""`kd-embedded codegen`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.errors import ConfigError
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.codegen import Plan


@click.argument("what", metavar="[CONFIG | MODEL.tflite]", type=click.Path(path_type=Path), default="kd.toml")
@_stages.BOARDS
@_stages.FRESH
@click.option("--out", type=click.Path(path_type=Path), help="Model only: the project's folder, or that of several.")
@click.option("--name", help="Model only: the project's name; otherwise the file's.")
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="Model only: output names, one a line.")
@click.option(
    "--golden", type=click.Path(path_type=Path), metavar="FILE.npz", help="Model only: inputs x (and classes y)."
)
@click.option("--engine", default="tflm", show_default=True, help="Model only: what runs it on the board.")
@verb
def command(
    progress: Progress,
    what: Path,
    boards: tuple[str, ...],
    fresh: bool,
    out: Path | None,
    name: str | None,
    labels: Path | None,
    golden: Path | None,
    engine: str,
) -> Outcome:
    """Generate PlatformIO projects for the student of CONFIG (kd.toml), or for any full-int8 MODEL.tflite.

    A model needs --board and --out. Without --golden the vectors of its selftest are seeded random inputs.
    """
    if what.suffix == ".toml":
        options = ("out", "name", "labels", "golden", "engine")
        _stages.refuse_model_options(click.get_current_context(), what, *options)
        return _stages.one_stage("codegen", progress, what, boards, fresh)
    if not boards or out is None:
        missing = "--out" if boards else "--board"
        raise ConfigError(f"a model needs {missing}", where=str(what), todo="see kd-embedded codegen --help")
    return _of_model(progress, what, boards, out, name=name or what.stem, labels=labels, golden=golden, engine=engine)


def _of_model(progress: Progress, model: Path, boards: tuple[str, ...], out: Path, **options: Any) -> Outcome:
    from kd_embedded import codegen
    from kd_embedded.boards import load_board

    chosen = [load_board(board) for board in dict.fromkeys(boards)]
    outs = [(board, out / board.name if len(chosen) > 1 else out) for board in chosen]
    plans = codegen.plan_file(model, outs, **options)
    for plan in plans:
        plan.write()
        if not plan.project.arena_probed:
            progress.say(f"{plan.out}: the arena is an estimate, as no TensorFlow Lite Micro interpreter is here")
    return Outcome({"projects": [_document(plan) for plan in plans]}, "\n".join(_line(plan) for plan in plans))


def _document(plan: Plan) -> dict[str, Any]:
    project = plan.project
    return {
        "board": plan.about["board"],
        "folder": str(plan.out),
        "files": list(project.files),
        "flash_bytes": project.flash_bytes,
        "ram_bytes": project.ram_bytes,
        "arena_bytes": project.arena_bytes,
        "arena_probed": project.arena_probed,
    }


def _line(plan: Plan) -> str:
    flash, ram = f"{plan.project.flash_bytes / 1024:.1f} KiB flash", f"{plan.project.ram_bytes / 1024:.1f} KiB RAM"
    return f"{plan.out}: firmware for {plan.about['board']}, {flash}, {ram}; next: kd-embedded flash {plan.out}"
