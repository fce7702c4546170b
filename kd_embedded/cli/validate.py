"""`kd-embedded validate`: of a run's kd.toml, or of any full-int8 .tflite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@click.argument("what", metavar="[CONFIG | MODEL.tflite]", type=click.Path(path_type=Path), default="kd.toml")
@_stages.BOARDS
@_stages.FRESH
@click.option("--golden", type=click.Path(path_type=Path), metavar="FILE.npz", help="Model only: inputs x, classes y.")
@click.option("--samples", default=100, show_default=True, type=click.IntRange(1), help="Model only: random inputs.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Model only: of the random inputs.")
@verb
def command(
    progress: Progress,
    what: Path,
    boards: tuple[str, ...],
    fresh: bool,
    golden: Path | None,
    samples: int,
    seed: int,
) -> Outcome:
    """Measure the int8 student of CONFIG (kd.toml), or any full-int8 MODEL.tflite, in four interpreters.

    A model is run on FILE.npz (x int8 as it is, or real values; y for its accuracy), or on seeded random inputs. Exit
    code 1: a budget is missed, or the reference kernels and the firmware's engine (TensorFlow Lite Micro for a model)
    compute different bytes.
    """
    if what.suffix == ".toml":
        _stages.refuse_model_options(click.get_current_context(), what, "golden", "samples", "seed")
        return _of_run(progress, what, boards, fresh)
    context = click.get_current_context()
    _stages.refuse(context, what, "goes with a kd.toml", "boards", "fresh")
    if golden is not None:
        _stages.refuse(context, what, "goes with random inputs, not with --golden", "samples", "seed")
    return _of_model(progress, what, golden, samples, seed)


def _of_run(progress: Progress, config: Path, boards: tuple[str, ...], fresh: bool) -> Outcome:
    from kd_embedded import artifacts

    done = _stages.one_stage("validate", progress, config, boards, fresh)
    document = artifacts.read_json(Path(done.document["folder"]) / artifacts.VALIDATION)
    return Outcome(document, f"{config} on the test split\n{_text(document)}", done.exit_code)


def _of_model(progress: Progress, model: Path, golden: Path | None, samples: int, seed: int) -> Outcome:
    from kd_embedded.golden import load_samples, random_inputs
    from kd_embedded.tflite.check import check_full_int8
    from kd_embedded.tflite.read import read_model
    from kd_embedded.validate import failures, validate

    graph = read_model(model)
    check_full_int8(graph, str(model))
    if golden is None:
        x_q, y = random_inputs(graph.input.shape[1:], samples, seed), None
        source = f"{samples} random inputs (seed {seed})"
    else:
        x_q, y = load_samples(golden, graph)
        source = f"{len(x_q)} inputs of {golden}"
    document = {"inputs": source, **validate(model, x_q, y, progress=progress)}
    lines = failures(document)
    for line in lines:
        click.echo(f"error: {model}: {line}", err=True)
    return Outcome(document, f"{model} on {source}\n{_text(document)}", 1 if lines else 0)


def _text(document: Mapping[str, Any]) -> str:
    from kd_embedded.tasks import told

    accuracy = [
        f"  {name.replace('_', ' '):14} {100 * value:6.2f} %"
        for name, value in document["accuracy"].items()
        if value is not None
    ]
    errors = [
        f"  {name.replace('_', ' '):14} {told(found)}" for name, found in document.get("errors", {}).items() if found
    ]
    if document["interval95"]:
        low, high = document["interval95"]
        accuracy.append(f"  {'95 % interval':14} {100 * low:6.2f} to {100 * high:.2f} %")
    proof = [f"  {_proof(name, entry)}" for name, entry in document["interpreters"].items()]
    oracle = document["oracle"] or "none here"
    wrong = [f"op {d['op_index']} ({d['op_name']}) is {d['why']}" for d in document["reference_departures"]]
    blocks = [
        *(["accuracy:", *accuracy] if accuracy else []),
        *(["errors:", *errors] if errors else []),
        f"interpreters (reference: {oracle}):",
        *proof,
        *wrong,
        *(f"not proven: {line}" for line in document["missing_proof"]),
    ]
    return "\n".join(blocks)


def _proof(name: str, entry: Mapping[str, Any]) -> str:
    if entry["refused"]:
        return f"{name:12} did not run: {entry['refused']}"
    if entry["against"] is None:
        return f"{name:12} ran alone"
    figures = f"{entry['bytes_different']} of {entry['bytes_compared']} bytes differ"
    by = f", by up to {entry['max_difference']}" if entry["bytes_different"] else ""
    return f"{name:12} against {entry['against']}: {figures}{by}"
