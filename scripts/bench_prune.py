#!/usr/bin/env python3
"""What pruning of channels saves, and what it costs: a student of several widths and shares, distilled on digits.

A narrower student from the start is what pruning has to beat, so both are in the table: the int8 model's bytes, MACs,
the instructions of one inference on an emulated Cortex-M4, and accuracy on the test split, means over the seeds.

    scripts/bench_prune.py [--arch tiny_cnn] [--width 1] [--share 0.25 --share 0.5] [--seeds 5] [--json FILE]

The folder --work keeps the runs, so that a killed bench carries on.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import click

from kd_embedded import artifacts, emulate, metrics, stages, students
from kd_embedded.config import RunSpec, parse_config
from kd_embedded.cores import load_core
from kd_embedded.errors import KdError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import quantize, teach

_STAGES = ("plan", "teach", "distill", "quantize")
_SIZES = ("bytes", "macs", "instructions")
_ROOT = Path(__file__).resolve().parent.parent


def _spec(arch: str, width: float, prune: float, seed: int, epochs: int, out: str) -> RunSpec:
    document = {
        "project": {"seed": seed, "out": out, "boards": ["nano33ble"]},
        "student": {"arch": arch, "width": width, "prune": prune},
        "distill": {"epochs": epochs},
        "quantize": {"qat_epochs": max(1, epochs // 10)},
        "codegen": {"engine": "aot"},
    }
    return parse_config(document, out)


def _measure(spec: RunSpec, work: Path) -> dict[str, float]:
    """One run; the teacher of a seed is trained once, as each run of it is in the same folder."""
    run = Run(spec, work, Progress())
    with run.opened(fresh=False):
        for name in _STAGES:
            run.execute(stages.stage(name))
        model = run.path(artifacts.STUDENT_INT8).read_bytes()
        test = teach.splits(run).test
        outputs = quantize.real_outputs(run, model, test)
        right = metrics.accuracy(metrics.predicted_classes(outputs), run.data.y[test])
    emulated = emulate.emulate_model(model, "student", load_core("cortex-m4"), 1)
    return {
        "bytes": len(model),
        "macs": emulated.macs,
        "instructions": emulated.instructions or 0,
        "accuracy": right,
    }


def _point(work: Path, arch: str, epochs: int, seeds: int, width: float, prune: float) -> dict[str, Any]:
    """Means over the seeds, and each seed's accuracy; a seed's figures are kept in a file of their own."""
    found = []
    for seed in range(1, seeds + 1):
        kept = work / f"{arch}-{width:g}-{prune:g}-{epochs}-{seed}.json"
        if not kept.is_file():
            artifacts.write_json(kept, _measure(_spec(arch, width, prune, seed, epochs, f"seed{seed}"), work))
        found.append(artifacts.read_json(kept))
    means = {name: statistics.mean(each[name] for each in found) for name in _SIZES}
    accuracy = [each["accuracy"] for each in found]
    return {"width": width, "prune": prune, **means, "accuracy": accuracy, "mean": statistics.mean(accuracy)}


@click.command(help=__doc__)
@click.option("--arch", default="tiny_cnn", type=click.Choice(students.names()), show_default=True)
@click.option("--width", type=click.FloatRange(0.0, min_open=True), default=1.0, show_default=True)
@click.option("--share", "shares", type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True), multiple=True)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True)
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), default=_ROOT / "runs" / "bench_prune")
@click.option("--json", "kept", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(
    arch: str, width: float, shares: tuple[float, ...], seeds: int, epochs: int, work: Path, kept: Path | None
) -> None:
    shares = shares or (0.25, 0.5)
    narrow = [(round(width * (1.0 - share), 6), 0.0) for share in shares]
    rows = []
    print("| width | pruned | bytes | MACs | instructions | accuracy |\n|---|---|---|---|---|---|")
    for point in [(width, 0.0), *((width, share) for share in shares), *narrow]:
        try:
            row = _point(work, arch, epochs, seeds, *point)
        except KdError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        rows.append(row)
        sizes = " | ".join(f"{row[name]:.0f}" for name in _SIZES)
        print(f"| {point[0]:g} | {point[1]:.0%} | {sizes} | {100 * row['mean']:.2f} % |", flush=True)
    if kept:
        artifacts.write_json(kept, {"data": "digits", "arch": arch, "epochs": epochs, "seeds": seeds, "rows": rows})


if __name__ == "__main__":
    main()
