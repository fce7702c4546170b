"""`kd-embedded codegen`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.errors import ConfigError
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.codegen import Plan
    from kd_embedded.codegen.plain import Sources

_PROJECT_ONLY = ("boards", "labels", "golden")


@click.argument("what", metavar="[CONFIG | MODEL.tflite]", type=click.Path(path_type=Path), default="kd.toml")
@_stages.BOARDS
@_stages.FRESH
@click.option("--out", type=click.Path(path_type=Path), help="Model only: the project's folder, or that of several.")
@click.option("--name", help="Model only: the project's name; otherwise the file's.")
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="Model only: output names, one a line.")
@click.option(
    "--golden", type=click.Path(path_type=Path), metavar="FILE.npz", help="Model only: inputs x (and classes y)."
)
@click.option(
    "--engine",
    type=click.Choice(["tflm", "aot"]),
    default="tflm",
    show_default=True,
    help="Model only: what runs it, TensorFlow Lite Micro or C compiled from it ahead of time.",
)
@click.option(
    "--optimize",
    type=click.Choice(["speed", "ram", "size"]),
    default="speed",
    show_default=True,
    help="Engine aot only: for few instructions, few bytes of RAM or little code.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["project", "c"]),
    default="project",
    show_default=True,
    help="Engine aot only: a PlatformIO project, or NAME.c and NAME.h alone, without a board.",
)
@click.option("--core", metavar="NAME", help="Format c only: the core it is for; without one it is portable C.")
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
    optimize: str,
    form: str,
    core: str | None,
) -> Outcome:
    """Generate PlatformIO projects for the student of CONFIG (kd.toml), or for any full-int8 MODEL.tflite.

    A model needs --board and --out. Without --golden the vectors of its selftest are seeded random inputs.
    With --engine aot --format c it needs --out alone, and plain C is written for a build of your own.
    """
    context = click.get_current_context()
    if what.suffix == ".toml":
        _stages.refuse_model_options(
            context, what, "out", "name", "labels", "golden", "engine", "optimize", "form", "core"
        )
        return _stages.one_stage("codegen", progress, what, boards, fresh)
    _stages.refuse(context, what, "goes with a kd.toml", "fresh")
    _check_options(context, what, engine, form)
    if out is None:
        raise ConfigError("a model needs --out", where=str(what), todo="see kd-embedded codegen --help")
    if form == "c":
        return _as_c(what, out, name or what.stem, core, optimize)
    if not boards:
        raise ConfigError("a model needs --board", where=str(what), todo="see kd-embedded codegen --help")
    options = {"labels": labels, "golden": golden, "engine": engine, "optimize": optimize}
    return _of_model(progress, what, boards, out, name=name or what.stem, **options)


def _check_options(context: click.Context, model: Path, engine: str, form: str) -> None:
    """Raises ConfigError where an option goes with another engine or format than the one chosen."""
    if engine != "aot":
        _stages.refuse(context, model, "goes with --engine aot", "optimize", "form", "core")
    if form == "c":
        _stages.refuse(context, model, "goes with --format project", *_PROJECT_ONLY)
    else:
        _stages.refuse(context, model, "goes with --format c", "core")


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
    out = shlex.quote(str(plan.out))
    return f"{plan.out}: firmware for {plan.about['board']}, {flash}, {ram}; next: kd-embedded flash {out}"


def _as_c(model: Path, out: Path, name: str, core: str | None, optimize: Any) -> Outcome:
    from kd_embedded.codegen import plain
    from kd_embedded.cores import load_core
    from kd_embedded.program import Target

    made = plain.sources(model, name, Target(load_core(core).family if core else "c", optimize))
    plain.write(out, made.texts)
    return Outcome(_c_document(out, made), _c_line(out, made))


def _c_document(out: Path, made: Sources) -> dict[str, Any]:
    program = made.program
    return {
        "folder": str(out),
        "files": sorted(made.texts),
        "name": made.name,
        "kernels": list(program.kernels),
        "weights_bytes": program.flash.weights,
        "constants_bytes": program.flash.constants,
        "arena_bytes": program.arena_bytes,
        "macs": sum(program.macs.values()),
    }


def _c_line(out: Path, made: Sources) -> str:
    flash = made.program.flash
    return (
        f"{' and '.join(str(out / name) for name in sorted(made.texts))}: {flash.weights + flash.constants:,} bytes of "
        f"constants, {made.program.arena_bytes:,} of RAM; how to call it stands in {made.name}.h"
    )
