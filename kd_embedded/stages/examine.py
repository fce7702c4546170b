"""Examine: the teachers and the data, before anything is distilled; warnings in plain sentences."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, examine, keras_files, metrics, soft_targets, tasks, teachers, training
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.config import FitSpec, TeacherSpec
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import plan, teach

_FORM = 2  # of examination.json: another is made anew

Logits = Mapping[str, NDArray[np.float32]]
Positions = Mapping[str, NDArray[np.int64]]


def work(run: Run) -> None:
    """Writes examination.json."""
    keras_files.start_tensorflow()
    parts = teach.splits(run)
    splits = {"train": parts.train, "val": parts.val}
    kept = {name: np.flatnonzero(run.data.y[part] >= 0) for name, part in splits.items()}
    labelled = {name: part[kept[name]] for name, part in splits.items()}
    loaded = teach.load_teachers(run)
    found = soft_targets.members(run, loaded)
    members = {name: split[:, kept[name]] for name, split in zip(splits, found, strict=True)}
    logits = {name: soft_targets.mean(run, split) for name, split in members.items()}
    if run.data.task != tasks.CLASSIFICATION:
        _tell(run, _of_numbers(run, loaded, members, logits, labelled))
        return
    soft = examine.soft_targets(logits["train"], run.data.y[labelled["train"]], run.spec.distill.temperature)
    ensemble = {**_figures(logits, labelled, run), "soft_targets": soft}
    document: dict[str, Any] = {
        "teachers": _teachers(run, loaded, members, lambda logits: _figures(logits, labelled, run)),
        "ensemble": ensemble,
        "student_probe": _probe(run),
        "data": _data(run, logits, labelled, ensemble),
    }
    document["warnings"] = examine.warnings(document, run.data.class_names, run.spec.distill)
    _tell(run, document)


def _tell(run: Run, document: dict[str, Any]) -> None:
    artifacts.write_json(run.path(artifacts.EXAMINATION), document)
    for warning in document["warnings"]:
        run.progress.say(f"  warning: {warning}")


def _of_numbers(
    run: Run, loaded: teachers.Ensemble, members: Logits, logits: Logits, labelled: Positions
) -> dict[str, Any]:
    """The document where there are no classes: the teachers' errors, and samples that are in the data twice."""
    found, units = run.data, None if run.data.targets is None else teach.units(run)

    def figures(outputs: Logits) -> dict[str, Any]:
        return {name: _errors(run, outputs[name], part, units) for name, part in labelled.items()}

    parts = _parts(run, labelled)
    copies, _ = _duplicates(run, np.zeros_like(found.y), parts)
    document: dict[str, Any] = {
        "task": found.task,
        "teachers": _teachers(run, loaded, members, figures),
        "ensemble": figures(logits),
        "student_probe": _probe(run),
        "data": {
            "samples": {name: len(part) for name, part in parts.items()},
            "spread": float(_wanted(run, labelled["val"], units).var(axis=0).mean()),
            "duplicates": copies,
        },
    }
    coarse: list[str] = []
    if units and found.targets is not None:
        coarse = list(tasks.coarse(units, found.targets[labelled["train"]], found.output_names))
    return {**document, "warnings": [*examine.number_warnings(document, run.spec.distill), *coarse]}


def _wanted(run: Run, part: NDArray[np.int64], units: tasks.Units | None) -> NDArray[np.float64]:
    """What models should give for the samples ``part`` [n], as training has it: float64 [n, D]."""
    numbers = run.data.numbers(part)
    return (units.standardized(numbers) if units else numbers).astype(np.float64)


def _parts(run: Run, labelled: Positions) -> dict[str, NDArray[np.int64]]:
    """The positions in Data.x of all samples, in the order of the pipeline."""
    parts = teach.splits(run)
    return {"train": labelled["train"], "unlabelled": run.data.unlabelled, "val": parts.val, "test": parts.test}


def _errors(run: Run, outputs: NDArray[Any], part: NDArray[np.int64], units: tasks.Units | None) -> dict[str, Any]:
    """Samples, loss and figures of ``outputs`` [N, D], as training has them, for the samples ``part``."""
    wanted = _wanted(run, part, units)
    loss = float(np.square(outputs.reshape(wanted.shape) - wanted).mean())
    real = units.real(outputs) if units else outputs
    found = tasks.figures(run.data.task, real, run.data.numbers(part), run.data.output_names)
    return {"samples": len(part), "loss": loss, **found}


def _figures(logits: Logits, indices: Positions, run: Run) -> dict[str, Any]:
    """Of one teacher: its figures on training and validation samples, and how its classes line up on both."""
    labels = {name: run.data.y[indices[name]] for name in logits}
    whole = np.concatenate([metrics.predicted_classes(logits[name]) for name in logits])
    matrix = metrics.confusion(whole, np.concatenate(list(labels.values())), run.data.classes)
    return {
        **{name: examine.figures(logits[name], labels[name]) for name in logits},
        "lineup": examine.lineup(matrix),
    }


def _teachers(
    run: Run, loaded: teachers.Ensemble, members: Logits, figures: Callable[[Logits], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Name, parameters and ``figures`` of each, whose logits for a split are those in ``members`` [M, n, C]."""
    return [
        {
            "name": _name(spec),
            "parameters": None if member.model is None else int(member.model.count_params()),
            **figures({name: logits[number] for name, logits in members.items()}),
        }
        for number, (spec, member) in enumerate(zip(run.spec.teacher, loaded.members, strict=True))
    ]


def _name(spec: TeacherSpec) -> str:
    return spec.file or spec.trunk or spec.function or ", ".join(spec.estimator) or spec.arch


def _probe(run: Run) -> dict[str, Any] | None:
    """What the student reaches in a few epochs on the labels alone: a lower bound of what it reaches in all of them.

    It is the last epoch's, for the best one is picked on the very samples. The last examination's is
    kept where nothing that it follows from has changed. None where it was not asked for, or where the teacher has no
    say anyway.
    """
    spec, seed = run.spec.distill, run.spec.project.seed
    epochs = min(run.spec.examine.probe_epochs, -(-spec.epochs // 10))
    if not epochs or spec.alpha == 0.0:
        return None
    shared = {name: getattr(spec, name) for name in FitSpec.model_fields}
    settings = FitSpec.model_validate({**shared, "epochs": epochs, "patience": 0})
    read = [
        *(settings.model_dump(mode="json"), run.spec.student.model_dump(mode="json"), seed),
        teach.data_key(run),
        *(sha256_file(artifacts.locate(run.base, name)) for name in plan.own_files(run)),
    ]
    key = sha256_bytes(json.dumps(read, sort_keys=True).encode())
    known = _known_probe(run)
    if known and known["key"] == key:
        return known
    history = teach.fit(
        run,
        plan.build(run, run.spec.student),
        settings,
        training.Objective(),
        fresh=not run.spec.student.file,
        seed=seed,
        checkpoint=run.checkpoint(STAGE),
        key=key,
        title="probe on labels alone",
    )
    return {"epochs": epochs, **_last(run, history[-1]), "key": key}


def _last(run: Run, record: Mapping[str, float]) -> dict[str, float]:
    """What the ``record`` of an epoch says of validation samples; of a single output its error in real units, too."""
    if run.data.task == tasks.CLASSIFICATION:
        return {"val_accuracy": record["val_accuracy"]}
    if run.data.targets is None:
        return {"val_loss": record["val_loss"], "mse": record["val_loss"]}
    real = {"mse": record["val_loss"] * float(teach.units(run).std[0]) ** 2} if run.data.outputs == 1 else {}
    return {"val_loss": record["val_loss"], **real}


def _known_probe(run: Run) -> dict[str, Any] | None:
    """The probe of the last examination, if run.json still knows the file as it is."""
    path, entry = run.path(artifacts.EXAMINATION), run.state.get(STAGE.name)
    if not entry or not path.is_file() or entry["wrote"].get(path.name) != sha256_file(path):
        return None
    probe: dict[str, Any] | None = artifacts.read_json(path)["student_probe"]
    return probe


def _data(run: Run, logits: Logits, labelled: Positions, ensemble: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, copies and doubtful labels. Of the test split the stored bytes are hashed, and no label is read."""
    found, splits = run.data, _parts(run, labelled)
    counts = {name: np.bincount(found.y[part], minlength=found.classes).tolist() for name, part in labelled.items()}
    copies, conflicts = _duplicates(run, found.y, splits)
    return {
        "samples": {name: len(part) for name, part in splits.items()},
        "classes": [
            {"name": name, "train": counts["train"][label], "val": counts["val"][label]}
            for label, name in enumerate(found.class_names)
        ],
        "imbalance": _imbalance(run, labelled["train"]),
        "duplicates": copies,
        "conflicts": conflicts,
        "suspects": _suspects(run, logits, labelled, ensemble),
    }


def _imbalance(run: Run, train: NDArray[np.int64]) -> float:
    """How many times the smallest class the largest one is, by samples or by their weights, whichever is less."""
    y, weights, classes = run.data.y[train], run.data.weights, run.data.classes
    found = [np.bincount(y, minlength=classes).astype(float)]
    if weights is not None:
        found.append(np.bincount(y, weights[train], minlength=classes))
    return float(min(shares.max() / shares.min() for shares in found if shares.min() > 0))


def _duplicates(run: Run, y: NDArray[np.int64], splits: Positions) -> tuple[dict[str, Any], dict[str, Any]]:
    """``examine.duplicates``, its examples with their names."""
    copies, conflicts = examine.duplicates(run.data.x, y, splits)
    for example in (*copies["examples"], *conflicts["examples"]):
        example["names"] = [run.data.name(index) for index in example["indices"]]
    return copies, conflicts


def _suspects(run: Run, logits: Logits, labelled: Positions, ensemble: Mapping[str, Any]) -> dict[str, Any]:
    """Labels that the teacher doubts, where it can be asked."""
    searched = examine.asked_about(ensemble)
    found = {name: examine.suspects(logits[name], run.data.y[labelled[name]]) for name in searched}
    rows = [
        (name, int(labelled[name][found[name][rank][0]]), *found[name][rank][1:]) for name, rank in examine.worst(found)
    ]
    shown = run.data.x[[row[1] for row in rows]]
    low, high = (float(shown.min()), float(shown.max())) if rows else (0.0, 0.0)
    worst = [
        {
            **{"split": name, "index": index, "name": run.data.name(index)},
            **{"label": int(run.data.y[index]), "teacher": other, "confidence": confidence},
            **_shown(run.data.x[index], low, high),
        }
        for name, index, other, confidence in rows
    ]
    return {
        "searched": {name: len(labelled[name]) for name in searched},
        "found": {name: len(entries) for name, entries in found.items()},
        "surest": {name: examine.surest(logits[name], run.data.y[labelled[name]]) for name in searched},
        "worst": worst,
    }


def _shown(x: NDArray[Any], low: float, high: float) -> dict[str, Any]:
    """The sample for the report: a PNG in base64, or the values of a plot line."""
    png = examine.picture(x, low, high)
    return {"png": base64.b64encode(png).decode()} if png else {"values": examine.series(x)}


STAGE = Stage(
    name="examine",
    sections=("data", "teacher", "student", "examine", "distill"),
    reads=lambda run: (artifacts.SPLITS, *teach.files(run)),
    writes=lambda run: (artifacts.EXAMINATION,),
    files=plan.own_files,
    work=work,
    needs_data=True,
    settings=lambda run: _FORM,
)
