"""`kd-embedded codegen`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.codegen import Plan


@click.argument("model", metavar="MODEL.tflite", type=click.Path(path_type=Path))
@click.option("--board", "boards", multiple=True, required=True, metavar="NAME", help="The board; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The project's folder, or that of several.")
@click.option("--name", help="The project's name; otherwise the model file's.")
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="The outputs' names, one a line.")
@click.option(
    "--golden", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs x (and classes y) for the selftest."
)
@click.option("--engine", default="tflm", show_default=True, help="What runs the model on the board.")
@verb
def command(
    progress: Progress,
    model: Path,
    boards: tuple[str, ...],
    out: Path,
    name: str | None,
    labels: Path | None,
    golden: Path | None,
    engine: str,
) -> Outcome:
    """Generate firmware projects for a full-int8 MODEL.tflite: a PlatformIO project that proves itself on the board.

    Without --golden the selftest's inputs are seeded random ones.
    """
    from kd_embedded import codegen
    from kd_embedded.boards import load_board

    chosen = [load_board(board) for board in dict.fromkeys(boards)]
    plans = codegen.plan_file(
        model,
        [(board, out / board.name if len(chosen) > 1 else out) for board in chosen],
        name=name or model.stem,
        labels=labels,
        golden=golden,
        engine=engine,
    )
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
