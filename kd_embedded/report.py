"""A run folder to one self-contained HTML page, ``report.html``: it quotes the artifacts and measures nothing anew.

``read`` takes the artifacts from the folder, ``render`` is a pure function from them to the page's text.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kd_embedded import artifacts, codegen, report_pictures, tasks
from kd_embedded.boards import Board, load_boards
from kd_embedded.codegen import aot
from kd_embedded.codegen.arena import Arena
from kd_embedded.codegen.folder import read_marker
from kd_embedded.config import RunSpec, TeacherSpec, config_sha256, toml_value
from kd_embedded.examine import SPLITS
from kd_embedded.fit import ARENA_MARGIN_BYTES, FLASH_PARTS, RAM_PARTS, Fit
from kd_embedded.tflite.analyze import OpCost, analyze
from kd_embedded.tflite.graph import Graph, Tensor
from kd_embedded.tflite.read import read_bytes
from kd_embedded.training import score
from kd_embedded.validate import device, failures

TEMPLATE = "report.html.j2"

_INTERPRETERS = {
    "builtin_ref": "BUILTIN_REF",
    "default": "Default kernels",
    "tflm": "TensorFlow Lite Micro",
    "reference": "kd-embedded",
}
_PROVERS = {**_INTERPRETERS, "reference": "kd-embedded's integer references"}
_ENGINES = {"tflm": "TensorFlow Lite Micro", "aot": "the integer references of the aot engine"}
_SMALL_MATRIX = 10  # up to this many classes the confusion matrix stands beside the classes
_MANY_CLASSES = 24  # above, it is set in small type
_HUGE_MATRIX = 200  # above, it is left to validation.json: a browser hardly shows it
_SHADES = 9

_INT8 = {"ptq": "Quantized after training", "qat": "Fine-tuned with fake quantization"}  # as run.json names them

History = Sequence[Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Artifacts:
    """What the page quotes. ``record`` is run.json without the report's own entry, ``boards`` all there are.

    ``model`` is the student's .tflite file, ``arena`` its arena without a board's scratch; ``markers`` are those of the
    generated projects, by board.
    """

    spec: RunSpec
    record: Mapping[str, Any]
    plan: Mapping[str, Any]
    examination: Mapping[str, Any]
    validation: Mapping[str, Any]
    teachers: Sequence[History]
    student: History
    model: bytes
    graph: Graph
    arena: Arena
    boards: tuple[Board, ...]
    markers: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """The first thing a reader sees. ``kind`` is "good", "warn" or "bad"; ``lines`` say why, one sentence each."""

    kind: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Size:
    """What the firmware takes of one board."""

    board: Board
    chosen: bool
    fit: Fit


def read(folder: Path, spec: RunSpec) -> Artifacts:
    """The artifacts of a run in ``folder``. Raises KdError where one is absent or broken."""
    model = read_bytes(folder / artifacts.STUDENT_INT8)
    graph = codegen.checked_graph(model, artifacts.STUDENT_INT8, spec.codegen.engine)
    validation = artifacts.read_json(folder / artifacts.VALIDATION)
    record = artifacts.read_json(folder / artifacts.RUN)
    stages = {name: entry for name, entry in record["stages"].items() if name != "report"}
    return Artifacts(
        spec=spec,
        record={**record, "stages": stages},
        plan=artifacts.read_json(folder / artifacts.PLAN),
        examination=artifacts.read_json(folder / artifacts.EXAMINATION),
        validation=validation,
        teachers=artifacts.read_json(folder / artifacts.TEACHER_HISTORY),
        student=artifacts.read_json(folder / artifacts.STUDENT_HISTORY),
        model=model,
        graph=graph,
        arena=Arena(**validation["arena"]),
        boards=load_boards(),
        markers={name: read_marker(folder / artifacts.FIRMWARE / name) for name in spec.project.boards},
    )


def render(found: Artifacts) -> str:
    """The page. The same artifacts give the same bytes."""
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    classes, examination = found.spec.data.task == tasks.CLASSIFICATION, found.examination
    jinja.filters |= {
        "percent": percent,
        "points": points,
        "count": count,
        "kib": kib,
        "shape": shape,
        "nats": nats,
        "figure": figure,
    }
    sizes = board_sizes(found)
    return jinja.get_template(TEMPLATE).render(
        name=found.spec.project.name,
        verdict=verdict(found.validation),
        asked=list(_asked(found)),
        config=config_text(found.spec),
        config_sha256=config_sha256(found.spec),
        record=found.record,
        plan=found.plan,
        warnings=found.examination["warnings"],
        classes=classes,
        errors=list(_errors(found.validation)),
        figures=tasks.TITLES,
        examined=list(_examined(examination)),
        reliability=_reliability(examination) if classes else [],
        soft=examination["ensemble"].get("soft_targets"),
        dataset=examination["data"],
        splits=SPLITS,
        copies=list(_copies(found.examination["data"])),
        doubts=list(_doubts(examination["data"])) if classes else [],
        validation=found.validation,
        interpreters=_INTERPRETERS,
        ladder=_ladder(found.validation),
        confusion=_confusion(found.validation),
        curves=list(_curves(found)),
        sizes=sizes,
        size_pictures=_size_pictures(sizes),
        flash_parts=FLASH_PARTS,
        ram_parts=RAM_PARTS,
        margin=ARENA_MARGIN_BYTES,
        analysis=analyze(found.graph),
        op_shares=_shares(analyze(found.graph).ops),
        graph=found.graph,
        edges=[("Input", _edge(found.graph.input)), ("Output", _edge(found.graph.output))],
        arena=found.arena,
        engine=found.spec.codegen.engine,
        arena_pictures=list(_arena_pictures(found)),
        budgets=list(_budgets(found.validation)),
        projects=_projects(found, sizes),
        golden=_golden_vectors(found),
    )


def verdict(validation: Mapping[str, Any]) -> Verdict:
    """What was compared and found, in words, and whether every budget is met."""
    told = [f"{line[0].upper()}{line[1:]}." for line in failures(validation)]
    budgets = validation["budgets"]
    missed = sum(not budget["met"] for budget in budgets)
    parted, misses = told[: len(told) - missed], told[len(told) - missed :]
    short = "a budget is missed" if missed == 1 else f"{missed} budgets are missed"
    if not budgets:
        misses = ["No budget was set."]
    elif not missed:
        misses = ["The budget is met." if len(budgets) == 1 else f"All {len(budgets)} budgets are met."]
    if parted:
        title = "Wrong on the board" + (f", and {short}" if missed else "")
        return Verdict("bad", title, (*parted, *misses))
    (proven, _), samples = device(validation), validation["samples"]
    if validation["missing_proof"] or not proven["bytes_compared"]:
        title = "Not proven" + (f", and {short}" if missed else "")
        by = "TensorFlow Lite Micro itself" if validation["oracle"] == "tflm" else "the interpreters below"
        ran = f"The int8 model was measured on {samples:,} test samples with {by}, but a proof is missing."
        return Verdict("bad" if missed else "warn", title, (ran, *validation["missing_proof"], *misses))
    proof = (
        f"{_PROVERS[proven['against']]} and {_ENGINES[validation['engine']]} both ran the int8 model on "
        f"{samples:,} test samples: "
        f"all {proven['bytes_compared']:,} output bytes are equal."
    )
    return Verdict("bad" if missed else "good", f"Proven, but {short}" if missed else "Proven", (proof, *misses))


def board_sizes(found: Artifacts) -> list[Size]:
    """The model on every board: what it takes, and whether it fits."""
    spec = found.spec.codegen.model_copy(update={"golden_vectors": _golden_vectors(found)})
    return [
        Size(
            board,
            board.name in found.spec.project.boards,
            codegen.fit(found.model, found.graph, board, spec, found.arena),
        )
        for board in found.boards
    ]


def _golden_vectors(found: Artifacts) -> int:
    return min(found.spec.codegen.golden_vectors, int(found.validation["samples"]))


def config_text(spec: RunSpec) -> str:
    """Every setting in the form of kd.toml, but for the place of the run folder, which changes nothing in it."""
    lines: list[str] = []
    for table, section in spec.model_dump(mode="json", exclude={"project": {"out"}}).items():
        for part in section if isinstance(section, list) else [section]:
            lines += ["", f"[[{table}]]" if isinstance(section, list) else f"[{table}]"]
            keys = TeacherSpec.keys(part["kind"]) if table == "teacher" else tuple(part)
            lines += [f"{key} = {toml_value(part[key])}" for key in keys]
    return "\n".join(lines[1:])


def _asked(found: Artifacts) -> Iterator[tuple[str, Sequence[str]]]:
    spec, distill = found.spec, found.spec.distill
    tested = f"{found.validation['samples']:,} test samples that nothing before validation has read"
    yield "Data", [f"{spec.data.source}; {tested}"]
    yield "Teachers" if len(spec.teacher) > 1 else "Teacher", [_teacher(teacher) for teacher in spec.teacher]
    student = spec.student.file or f"{spec.student.arch}, width {spec.student.width:g}"
    before = found.record["stages"].get("distill", {}).get("unpruned_parameters")
    pruned = f", pruned from {before:,}" if before else ""
    yield "Student", [f"{student}; {found.plan['parameters']:,} parameters{pruned}"]
    how = f"{distill.epochs} epochs at most, {distill.optimizer}, learning rate {distill.learning_rate:g}"
    soft = (
        f"alpha {distill.alpha:g}, temperature {distill.temperature:g}" if distill.alpha else "labels alone (alpha 0)"
    )
    if spec.data.task != tasks.CLASSIFICATION:
        soft = f"alpha {distill.alpha:g}"
    yield "Distillation", [f"{soft}; {how}", *_recipe(found.record)]
    quantize = spec.quantize
    calibrated = f"calibrated on at most {quantize.representative_samples:,} training samples"
    yield "Quantization", [f"int8 in and out, {quantize.output}; {calibrated}", *_exported(found.record)]
    titles = {board.name: board.title for board in found.boards}
    yield "Boards", [f"{titles[name]} ({name})" for name in spec.project.boards]
    yield "Seed", [str(spec.project.seed)]


def _recipe(record: Mapping[str, Any]) -> Iterator[str]:
    """The recipe that the student learned by, and why."""
    entry = record["stages"].get("distill", {})
    if entry.get("recipe"):
        yield f"recipe {entry['recipe']}" + (f"; {entry['why']}" if entry.get("why") else "")


def _exported(record: Mapping[str, Any]) -> Iterator[str]:
    """What both ways to int8 reach on the validation split, and which was exported."""
    entry = record["stages"].get("quantize", {})
    for key, title in _INT8.items():
        if key in entry:
            exported = ", exported" if entry.get("chosen") == key and len(_INT8.keys() & entry.keys()) > 1 else ""
            if "val_accuracy" in entry[key]:
                yield f"{title}: {100 * entry[key]['val_accuracy']:.2f} % of the validation samples right{exported}"
            else:
                yield f"{title}: MSE {entry[key]['val_loss']:.4g} on the validation samples{exported}"


def _teacher(spec: TeacherSpec) -> str:
    if spec.kind != "keras":
        what = spec.file or spec.function or ", ".join(spec.estimator)
        return f"{what}; kind {spec.kind}"
    model = spec.file or spec.trunk or f"{spec.arch}, width {spec.width:g}"
    if spec.mode == "frozen":
        return f"{model}; frozen, used as it is"
    verb = "trained from new weights" if spec.mode == "train" else "fine-tuned"
    return f"{model}; {verb}, {spec.epochs} epochs at most, {spec.optimizer}, learning rate {spec.learning_rate:g}"


def _ladder(validation: Mapping[str, Any]) -> list[dict[str, Any]]:
    accuracy, drop = validation["accuracy"], validation["drop"]
    return [
        {"name": "Teacher", "accuracy": accuracy["teacher"], "drop": None, "first": True},
        {
            "name": "Float student",
            "accuracy": accuracy["student_float"],
            "drop": drop["teacher_to_float"],
            "first": False,
        },
        {"name": "Int8 student", "accuracy": accuracy["student_int8"], "drop": drop["float_to_int8"], "first": False},
    ]


def _confusion(validation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The matrix with a shade for each cell: the share of its row, from 1 to _SHADES; 0 where nothing fell."""
    matrix = validation["confusion"]
    if matrix is None:
        return None
    names = [entry["name"] for entry in validation["per_class"]]
    if len(names) > _HUGE_MATRIX:
        return {"names": names, "size": "huge"}
    rows = []
    for i, row in enumerate(matrix):
        whole = max(sum(row), 1)
        shades = [0 if not cell else 1 + round((_SHADES - 1) * cell / whole) for cell in row]
        kinds = ["d" if i == j else "e" for j in range(len(row))]
        rows.append({"index": i, "name": names[i], "cells": list(zip(row, kinds, shades, strict=True))})
    size = "small" if len(names) <= _SMALL_MATRIX else "large"
    return {"names": names, "rows": rows, "size": size, "many": len(names) > _MANY_CLASSES}


def _errors(validation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each model, where there are no classes; then, of several outputs, one for each of the int8 student."""
    titles = {"teacher": "Teacher", "student_float": "Float student", "student_int8": "Int8 student"}
    for key, entry in validation.get("errors", {}).items():
        yield {"title": titles[key], "name": None, **(entry or {})}
    outputs = (validation.get("errors", {}).get("student_int8") or {}).get("outputs", [])
    for entry in outputs if len(outputs) > 1 else []:
        yield {"title": "Int8 student,", **entry}


def _examined(examination: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each model and split; one teacher is the ensemble."""
    teachers, probe = examination["teachers"], examination["student_probe"]
    several = len(teachers) > 1
    ensemble = [{**examination["ensemble"], "name": "Ensemble", "parameters": None}] if several else []
    for number, entry in enumerate([*teachers, *ensemble], 1):
        of_ensemble = several and number > len(teachers)
        title = "Ensemble" if of_ensemble else f"Teacher {number}" if several else "Teacher"
        name = None if of_ensemble else entry["name"]
        for split in ("train", "val"):
            first = split == "train"
            parameters = entry["parameters"] if first else None
            figures = {**entry[split], "split": SPLITS[split], "parameters": parameters}
            yield {"title": title if first else "", "name": name if first else None, **figures}
    if probe:
        epochs = "1 epoch" if probe["epochs"] == 1 else f"{probe['epochs']} epochs"
        val = examination["ensemble"]["val"]
        unknown = dict.fromkeys(("name", "parameters", *val))
        known = {"split": SPLITS["val"], "samples": val["samples"], "mse": probe.get("mse")}
        title = f"Student on the {'labels' if 'val_accuracy' in probe else 'targets'} alone, {epochs}"
        yield {**unknown, "title": title, **known, "accuracy": probe.get("val_accuracy")}


def _reliability(examination: Mapping[str, Any]) -> list[Markup]:
    whose = "Ensemble" if len(examination["teachers"]) > 1 else "Teacher"
    return [
        Markup(report_pictures.reliability(examination["ensemble"][split]["bins"], f"{whose}, {SPLITS[split]} samples"))
        for split in ("train", "val")  # our own SVG of numbers and words
    ]


def _copies(data: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What there is of identical samples, in words, and how many."""
    for split, number in data["duplicates"]["within"].items():
        if data["samples"][split]:
            yield f"{SPLITS[split]} samples that repeat another one of their split", number
    for pair, number in data["duplicates"]["between"].items():
        one, other = pair.split("_")
        if data["samples"][one] and data["samples"][other]:
            yield f"{SPLITS[other]} samples that are also {SPLITS[one]} samples", number


def _doubts(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The worst of the labels in doubt, each with its picture."""
    names = [entry["name"] for entry in data["classes"]]
    for entry in data["suspects"]["worst"]:
        drawing = None if "png" in entry else Markup(report_pictures.line(entry["values"]))
        label, teacher = names[entry["label"]], names[entry["teacher"]]
        yield {**entry, "split": SPLITS[entry["split"]], "label": label, "teacher": teacher, "drawing": drawing}


def _curves(found: Artifacts) -> Iterator[dict[str, Any]]:
    """For each model its two pictures, or the sentence that stands in their place."""
    several = len(found.teachers) > 1
    for number, (history, spec) in enumerate(zip(found.teachers, found.spec.teacher, strict=True), 1):
        title = f"Teacher {number}" if several else "Teacher"
        told = "It was frozen: taken as it is, and not trained." if spec.mode == "frozen" else "No epoch is on record."
        if spec.kind != "keras":
            told = "It was not trained in epochs."
        yield _curve(history, title, told)
    yield _curve(found.student, "Student", "No epoch is on record.")


def _curve(history: History, title: str, otherwise: str) -> dict[str, Any]:
    if not history:
        return {"title": title, "otherwise": otherwise, "pictures": []}
    kept = max(range(len(history)), key=lambda i: (i if "kept" in history[i] else -1, *score(history[i]), -i))
    pictures = [
        Markup(report_pictures.curve(history, figure, f"{title}, {figure}", kept))  # our own SVG of numbers and words
        for figure in ("loss", "accuracy")
        if figure in history[kept]
    ]
    return {
        "title": title,
        "otherwise": "",
        "pictures": pictures,
        "epochs": len(history),
        "kept": kept + 1,
        "record": history[kept],
    }


def _size_pictures(sizes: Sequence[Size]) -> list[Markup]:
    flash = [
        report_pictures.Bar(
            size.board.name,
            size.chosen,
            size.fit.fits,
            size.fit.flash_parts,
            size.board.flash_bytes,
        )
        for size in sizes
    ]
    ram = [
        report_pictures.Bar(size.board.name, size.chosen, size.fit.fits, size.fit.ram_parts, size.board.ram_bytes)
        for size in sizes
    ]
    pictures = ((flash, "Flash, share of what the board has"), (ram, "RAM, share of what the board has"))
    return [Markup(report_pictures.sizes(bars, title)) for bars, title in pictures]  # board names are checked


def _arena_pictures(found: Artifacts) -> Iterator[Markup]:
    """The plan of the arena for each kind of core among the boards that were asked for."""
    if found.spec.codegen.engine != "aot":
        return
    boards = [board for board in found.boards if board.name in found.spec.project.boards]
    for target in dict.fromkeys(aot.target(board, found.spec.codegen.optimize) for board in boards):
        made = aot.program(found.model, artifacts.STUDENT_INT8, target)
        names = {op.index: op.name for op in made.graph.ops}
        steps = [f"{step.op} {names[step.op]}" for step in made.steps]
        on = ", ".join(b.name for b in boards if aot.target(b, found.spec.codegen.optimize) == target)
        yield Markup(report_pictures.arena(made.plan, steps, f"The arena on {on}"))  # names of boards and ops


def _shares(ops: Sequence[OpCost]) -> list[int]:
    """Each op's MACs in percent of those of the largest, for the bar behind the figure."""
    largest = max((op.macs for op in ops), default=0) or 1
    return [round(100 * op.macs / largest) for op in ops]


def _edge(tensor: Tensor) -> str:
    assert tensor.quant is not None  # the quantize stage has seen to it
    real = f"real = {tensor.quant.scale[0]:.9g} × (q - {tensor.quant.zero_point[0]})".replace("- -", "+ ")
    return f"{tensor.dtype} {shape(tensor.shape)}, {real}"


_BUDGETS = {
    "min_accuracy": "Accuracy, at least",
    "max_accuracy_drop": "Drop from the teacher, at most",
    "max_mse": "Mean squared error, at most",
    "min_auc": "AUC, at least",
    "max_flash_kib": "Flash, at most",
    "max_ram_kib": "RAM, at most",
}


def _budgets(validation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for budget in validation["budgets"]:
        yield {
            **budget,
            "title": _BUDGETS[budget["name"]],
            "in_kib": budget["name"].endswith("_kib"),
            "share": budget["name"] not in ("max_mse", "min_auc"),
        }


def _projects(found: Artifacts, sizes: Sequence[Size]) -> list[dict[str, Any]]:
    """The commands for each generated project, typed in the run folder."""
    projects = []
    for size in sizes:
        if size.chosen:
            place = shlex.quote(f"{artifacts.FIRMWARE}/{size.board.name}")
            lines = (
                ("build", f"kd-embedded build {place}"),
                ("flash", f"kd-embedded flash {place}"),
                ("monitor", f"kd-embedded monitor {place}"),
            )
            pio = (f"pio run -d {place}", f"pio run -d {place} -t upload", f"pio device monitor -d {place}")
            marker = found.markers[size.board.name]
            projects.append({"size": size, "place": place, "commands": lines, "pio": pio, "marker": marker})
    return projects


def percent(share: float) -> Markup:
    """A share of 0 to 1 as ``99.16 %``; the figure itself stands in the element's value, as for those below."""
    return _data(share, f"{100 * share:.2f}\N{NO-BREAK SPACE}%")


def points(drop: float) -> Markup:
    """A drop as the change in percentage points that it is: ``-0.28 points``."""
    change = round(-100 * drop, 2) or 0.0
    sign = "\N{MINUS SIGN}" if change < 0 else "+" if change > 0 else "±"
    return _data(drop, f"{sign}{abs(change):.2f}\N{NO-BREAK SPACE}points")


def nats(value: float) -> Markup:
    """``0.635``."""
    return _data(value, f"{value:.3f}")


def figure(value: float) -> Markup:
    """``1.05``, ``12``: any other number, to three digits."""
    return _data(value, f"{value:.3g}")


def count(number: int) -> Markup:
    """``27,272``."""
    return _data(number, f"{number:,}")


def kib(size: int) -> Markup:
    """Bytes as ``427.5 KiB``."""
    return _data(size, f"{size / 1024:,.1f}\N{NO-BREAK SPACE}KiB")


def shape(dimensions: Sequence[int]) -> str:
    """``1×8×8×12``."""
    return "×".join(map(str, dimensions))


def _data(value: float, text: str) -> Markup:
    return Markup('<data value="{}">{}</data>').format(json.dumps(value), text)
