#!/usr/bin/env python3
"""What pruning of channels saves, and what it costs: a student of several widths and shares, distilled on digits.

A narrower student from the start is what pruning has to beat, so both are in the table: the int8 model's bytes, MACs,
the instructions of one inference on an emulated Cortex-M4, and accuracy on the test split, means over the seeds.

    scripts/bench_prune.py [--arch ds_cnn] [--width 0.5] [--shares 0 0.25 0.5 0.75] [--seeds 3] [--epochs 60]

The folder --work keeps the runs, so that a killed bench carries on. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from kd_embedded import artifacts, emulate, metrics, stages
from kd_embedded.config import RunSpec, parse_config
from kd_embedded.cores import load_core
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import quantize, teach

_STAGES = ("plan", "teach", "distill", "quantize")
_FIGURES = ("bytes", "macs", "instructions", "accuracy")


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


def _point(options: argparse.Namespace, width: float, prune: float) -> dict[str, Any]:
    """Means over the seeds; each seed's figures are kept in a file of their own."""
    found = []
    for seed in range(1, options.seeds + 1):
        stem = f"{options.arch}-{width:g}-{prune:g}-{options.epochs}-{seed}"
        kept = options.work / f"{stem}.json"
        if not kept.is_file():
            spec = _spec(options.arch, width, prune, seed, options.epochs, f"seed{seed}")
            artifacts.write_json(kept, _measure(spec, options.work))
        found.append(artifacts.read_json(kept))
    means = {name: statistics.mean(each[name] for each in found) for name in _FIGURES}
    return {"width": width, "prune": prune, **means, "seeds": [each["accuracy"] for each in found]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="ds_cnn")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--work", type=Path, default=Path("bench_prune"))
    options = parser.parse_args()
    narrow = [options.width * (1.0 - share) for share in options.shares if share]
    points = [(options.width, share) for share in options.shares] + [(width, 0.0) for width in narrow]
    rows = []
    print("| width | pruned | bytes | MACs | instructions | accuracy |\n|---|---|---|---|---|---|")
    for width, prune in points:
        row = _point(options, width, prune)
        rows.append(row)
        print(
            f"| {width:g} | {prune:.0%} | {row['bytes']:.0f} | {row['macs']:.0f} | {row['instructions']:.0f} "
            f"| {100 * row['accuracy']:.2f} % |",
            flush=True,
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
