"""`kd-embedded emulate`: generated C or a model, run on an emulated core, compared and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.cli._columns import columns
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.cores import Choice, Core
    from kd_embedded.emulate import Emulation

_DEFAULT_CORE = "cortex-m4"


@click.argument("what", metavar="[DIR | MODEL.tflite]", type=click.Path(path_type=Path))
@click.option(
    "--core",
    metavar="NAME",
    help="cortex-m0 (and M0+), -m3, -m4, -m7, -m33, -m55, rv32imc, host; else that of a project's board, or cortex-m4.",
)
@click.option("--vectors", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs x; for plain C also y_q.")
@click.option("--samples", default=8, show_default=True, type=click.IntRange(1), help="Model only: random inputs.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Model only: of the random inputs.")
@click.option("--optimize", type=click.Choice(["speed", "ram", "size"]), default="speed", help="Model only: what for.")
@click.option("--profile", is_flag=True, help="Instructions and cycles of each op, too.")
@verb
def command(
    progress: Progress,
    what: Path,
    core: str | None,
    vectors: Path | None,
    samples: int,
    seed: int,
    optimize: Any,
    profile: bool,
) -> Outcome:
    """Run generated C (a DIR of codegen --engine aot), or a MODEL.tflite, on an emulated core.

    Every output byte is compared: with the golden vectors of a project, or for a model with the reference kernels on
    seeded random inputs. Flash, RAM, stack and instructions are measured. Exit code 1: a byte differs.
    """
    choice = _cores(what, core)
    if choice.note:
        progress.say(choice.note)
    if what.is_dir():
        _stages.refuse(click.get_current_context(), what, "goes with a MODEL.tflite", "samples", "seed", "optimize")
        done = [_of_folder(what, chosen, vectors, profile) for chosen in choice.cores]
    else:
        from kd_embedded.emulate import emulate_model
        from kd_embedded.tflite.read import read_bytes

        if vectors is not None:
            why = "goes with random inputs, not with --vectors"
            _stages.refuse(click.get_current_context(), what, why, "samples", "seed")
        data = read_bytes(what)
        inputs = samples if vectors is None else vectors
        done = [
            emulate_model(data, str(what), chosen, inputs, seed=seed, optimize=optimize, profile=profile)
            for chosen in choice.cores
        ]
    documents = [document(emulation) for emulation in done]
    # The board's core, or the nearest to it: the last. What else stood in for it is told beside.
    whole = documents[-1] if len(documents) == 1 else {**documents[-1], "also": documents[:-1]}
    text = "\n\n".join(_text(str(what), emulation) for emulation in done)
    return Outcome(whole, text, 0 if all(emulation.equal for emulation in done) else 1)


def _cores(what: Path, core: str | None) -> Choice:
    """The core asked for, or that of the project's board."""
    from kd_embedded.boards import load_board
    from kd_embedded.codegen.folder import MARKER, read_marker
    from kd_embedded.cores import Choice, load_core, of_board

    if core is None and (what / MARKER).is_file():
        board = read_marker(what).get("board")
        if board:
            return of_board(load_board(board))
    return Choice((load_core(core or _DEFAULT_CORE),))


def _of_folder(folder: Path, core: Core, vectors: Path | None, profile: bool) -> Emulation:
    from kd_embedded.emulate import emulate_folder, load_vectors
    from kd_embedded.image import find_engine

    given = None if vectors is None else load_vectors(vectors, find_engine(folder))
    return emulate_folder(folder, core, given, profile=profile)


def document(emulation: Emulation) -> dict[str, Any]:
    """What ``--json`` prints; null stands for what was not or cannot be measured."""
    from dataclasses import asdict

    per_mac = None
    if emulation.instructions is not None and emulation.macs:
        per_mac = round(emulation.instructions / emulation.macs, 4)
    return {
        "equal": emulation.equal,
        "bytes_compared": emulation.compared.bytes_compared,
        "core": emulation.core,
        "flash": asdict(emulation.flash) if emulation.flash else dict.fromkeys(("code", "constants", "weights")),
        "ram": {"arena": emulation.arena, "static": emulation.static, "stack": emulation.stack},
        "instructions": emulation.instructions,
        "macs": emulation.macs,
        "instructions_per_mac": per_mac,
        "cycles": emulation.cycles,
        "ops": [asdict(op) for op in emulation.ops],
        "machine": emulation.machine,
        "oracle": emulation.oracle,
        "bytes_different": emulation.compared.bytes_different,
        "first_difference": asdict(emulation.first) if emulation.first else None,
    }


def _text(what: str, done: Emulation) -> str:
    from kd_embedded.cores import load_core

    lines = [f"{what} on {done.core}" + (f" (QEMU {done.machine})" if done.machine else "")]
    if done.machine and done.machine != " ".join(load_core(done.core).machines[0].options):
        lines.append("(too large for the core's own machine: its code ran on one with more memory)")
    if done.equal:
        lines.append(f"equal         all {done.compared.bytes_compared:,} output bytes ({done.oracle})")
    else:
        lines += [_differs(done)]
    if done.flash:
        flash, total = done.flash, done.flash.code + done.flash.constants + done.flash.weights
        parts = f"{flash.code:,} code + {flash.constants:,} constants + {flash.weights:,} weights"
        lines.append(f"flash         {total:,} bytes: {parts}")
    ram = {"arena": done.arena, "static": done.static, "stack": done.stack}
    known = {name: size for name, size in ram.items() if size is not None}
    sizes = " + ".join(f"{size:,} {name}" for name, size in known.items())
    lines.append(f"RAM           {sum(known.values()):,} bytes: {sizes}")
    if done.instructions is not None:
        lines.append(f"instructions  {done.instructions:,}{_per_mac(done.instructions, done.macs)}")
    if done.cycles is not None:
        lines.append(f"cycles        about {done.cycles:,}{_per_mac(done.cycles, done.macs)}, with zero wait states")
    return "\n".join([*lines, *_ops(done)])


def _differs(done: Emulation) -> str:
    compared, first = done.compared, done.first
    line = f"NOT EQUAL     {compared.bytes_different:,} of {compared.bytes_compared:,} output bytes ({done.oracle})"
    if first is None:
        return line
    place = f"op {first.op_index} ({first.op_name}), tensor {first.tensor}" if first.op_index >= 0 else "the output"
    return f"{line}\nfirst         {place}: value {first.index} should be {first.expected} and is {first.got}"


def _per_mac(count: int, macs: int) -> str:
    return f", {count / macs:.3f} per MAC of {macs:,}" if macs else ""


def _ops(done: Emulation) -> list[str]:
    if not done.ops:
        return []
    head = ("OP", "", "MACS", "INSTRUCTIONS", "PER MAC", "CYCLES", "PER MAC")
    rows = [
        (
            str(op.index),
            op.name,
            f"{op.macs:,}",
            f"{op.instructions:,}",
            _ratio(op.instructions, op.macs),
            "" if op.cycles is None else f"{op.cycles:,}",
            _ratio(op.cycles, op.macs),
        )
        for op in done.ops
    ]
    return ["", *columns([head, *rows], right=(0, 2, 3, 4, 5, 6))]


def _ratio(count: int | None, macs: int) -> str:
    return f"{count / macs:.2f}" if macs and count is not None else ""
