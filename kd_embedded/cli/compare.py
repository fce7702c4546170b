"""`kd-embedded compare`: what a model takes, by engine and core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.cli._columns import columns
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.tflite.graph import Graph

_CORES = ("cortex-m0", "cortex-m4", "cortex-m55", "rv32imc")


@click.argument("models", metavar="MODEL.tflite...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--core", "cores", multiple=True, metavar="NAME", help="Repeatable; cortex-m0, -m4, -m55, rv32imc if not."
)
@verb
def command(progress: Progress, models: tuple[Path, ...], cores: tuple[str, ...]) -> Outcome:
    """Measure the aot engine on each MODEL, core by core, beside TFLM's arena.

    The aot engine is emulated: flash, RAM, instructions, and its bytes compared with the reference kernels. TFLM is not
    built here: told are the arena that its interpreter runs with, and which ops it computes otherwise. Exit code 1: a
    byte differs.
    """
    from kd_embedded.cores import load_core

    chosen = [load_core(name) for name in dict.fromkeys(cores or _CORES)]
    compared = []
    with progress.task("emulation", len(models) * len(chosen)) as task:
        for model in models:
            compared.append(_model(model, chosen, task))
    text = "\n\n".join(_text(entry) for entry in compared)
    differs = any(row["equal"] is False for entry in compared for row in entry["rows"])
    return Outcome({"models": compared}, text, 1 if differs else 0)


def _model(path: Path, cores: list[Any], task: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from kd_embedded.tflite.check import reference_departures, tflm_departures
    from kd_embedded.tflite.read import parse_model, read_bytes

    data = read_bytes(path)
    graph = parse_model(data, str(path))
    rows = [_tflm(data, graph)]
    for core in cores:
        rows.append(_aot(data, path, core))
        task.advance()
    return {
        "model": str(path),
        "sha256": graph.sha256,
        "rows": rows,
        "tflm_departures": [asdict(departure) for departure in tflm_departures(graph)],
        "reference_departures": [asdict(departure) for departure in reference_departures(graph)],
    }


def _tflm(data: bytes, graph: Graph) -> dict[str, Any]:
    """What is known of TFLM without building it: the model in flash, and its arena."""
    from kd_embedded import interpreters
    from kd_embedded.errors import KdError

    row = {"engine": "tflm", "core": "", "equal": None, "flash": {"weights": len(data)}, "instructions": None}
    try:
        return {**row, "ram": {"arena": interpreters.probe_arena(data)}, "refused": ""}
    except KdError as error:
        return {**row, "ram": {"arena": None}, "refused": error.what}


def _aot(data: bytes, path: Path, core: Any) -> dict[str, Any]:
    from kd_embedded.cli.emulate import document
    from kd_embedded.emulate import emulate_model
    from kd_embedded.errors import ModelError

    try:
        done = document(emulate_model(data, str(path), core))
    except ModelError as error:
        none: dict[str, Any] = {"equal": None, "flash": {}, "ram": {}, "instructions": None}
        return {"engine": "aot", "core": core.name, **none, "refused": error.what}
    return {"engine": "aot", **done, "refused": ""}


def _text(entry: dict[str, Any]) -> str:
    head = ("ENGINE", "CORE", "BYTES", "FLASH", "CODE", "CONSTANTS", "WEIGHTS", "RAM", "ARENA", "STACK", "INSTRUCTIONS")
    rows = [_row(row) for row in entry["rows"]]
    refused = [f"{_who(row)}: {row['refused']}" for row in entry["rows"] if row["refused"]]
    departures = [
        f"{who} at op {d['op_index']} ({d['op_name']}): {d['why']}"
        for who, key in (("TFLM departs", "tflm_departures"), ("BUILTIN_REF is wrong", "reference_departures"))
        for d in entry[key]
    ]
    notes = ["tflm: the model file and the arena alone; its code is not built here, and the arena is a 64-bit host's"]
    return "\n".join(
        [entry["model"], *columns([head, *rows], right=range(3, len(head))), *notes, *refused, *departures]
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    flash, ram = row["flash"], row["ram"]
    equal = {True: "equal", False: "DIFFER", None: ""}[row["equal"]]
    whole = row["engine"] == "aot" and not row["refused"]
    return (
        row["engine"],
        row["core"],
        equal,
        _sum(flash) if whole else "",
        *(_number(flash.get(name)) for name in ("code", "constants", "weights")),
        _sum(ram) if whole else "",
        *(_number(ram.get(name)) for name in ("arena", "stack")),
        _number(row["instructions"]),
    )


def _who(row: dict[str, Any]) -> str:
    return f"{row['engine']} on {row['core']}" if row["core"] else str(row["engine"])


def _sum(parts: dict[str, int | None]) -> str:
    known = [size for size in parts.values() if size is not None]
    return f"{sum(known):,}" if known else ""


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
