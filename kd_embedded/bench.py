"""The cells of scripts/bench_students: students by data set, architecture, recipe and seed, measured on the test split.

A cell is a run of the product itself, in a folder of its own: its distill and quantize stages, with the cell's seed.
Splits, teacher and the teacher's logits are those of one run that all cells of a data set share, so that cells differ
in what they are about. A cell's result follows from its arguments alone.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kd_embedded import (
    __version__,
    artifacts,
    data,
    distill,
    keras_files,
    metrics,
    recipes,
    soft_targets,
    stages,
)
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.config import DataSpec, RunSpec, StudentSpec, parse_config
from kd_embedded.errors import ConfigError, ModelError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.recipes._auto import choose
from kd_embedded.stages import plan, quantize, teach
from kd_embedded.teachers.keras import KerasTeacher

SEED = 1  # of the splits, of a teacher trained here, and of augmentation; students have their own
FORMS = ("float", "int8_ptq", "int8_qat")
_HASHES = ("data_sha256", "teacher_sha256", "settings_sha256")
RECIPES = ("alone", *recipes.names(), "auto")


@dataclass(frozen=True)
class Case:
    """A data set: sections of kd.toml, the teachers that are trained where none is given, and the students.

    ``students`` are architectures and their widths, ``epochs`` and ``qat_epochs`` how long they train by default.
    ``seconds`` of an epoch on one core, by student, and of all else in a cell are measured, for the estimate alone.
    """

    sections: Mapping[str, Mapping[str, Any]]
    teachers: tuple[Mapping[str, Any], ...]
    students: Mapping[str, float]
    recipes: tuple[str, ...]
    epochs: int
    qat_epochs: int
    seeds: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    seconds_beside: float = 0.0


_AIRBENCH: Mapping[str, Any] = {
    **{"arch": "airbench", "input_scale": 4.0, "input_offset": -1.9, "epochs": 40, "batch_size": 256},
    **{"optimizer": "sgd", "learning_rate": 0.25, "weight_decay": 0.013, "precision": "mixed_bfloat16"},
    **{"augment_flip": True, "augment_shift": 4, "mixup": 0.2},
}
CASES: Mapping[str, Case] = {
    "digits": Case(
        sections={},
        teachers=({},),
        students={"mlp": 1.5, "tiny_cnn": 0.875, "ds_cnn": 0.125},  # the widest whose .tflite is under 8 KiB
        recipes=RECIPES,
        epochs=60,
        qat_epochs=15,
        seeds=5,
        seconds={"mlp": 0.05, "tiny_cnn": 0.1, "ds_cnn": 0.1},
        seconds_beside=8.0,
    ),
    "cifar10": Case(
        sections={
            "project": {"boards": ("esp32s3", "nano33ble")},
            "data": {"val_fraction": 0.05},
            "distill": {
                **{"batch_size": 128, "optimizer": "sgd", "learning_rate": 0.2, "augment_flip": True},
                **{"augment_shift": 4, "cache_epochs": 10, "teacher_mirror": True},
            },
        },
        teachers=(
            *(_AIRBENCH, _AIRBENCH),
            {**_AIRBENCH, "epochs": 12, "augment_shift": 2, "mixup": 0.0, "weight": 0.5},
        ),
        students={"resnet8": 1.0, "ds_cnn": 1.0625},
        recipes=("alone", "kd", "kd_ls", "auto"),
        epochs=16,
        qat_epochs=4,
        seeds=3,
        seconds={"resnet8": 58.0, "ds_cnn": 33.0},
        seconds_beside=120.0,
    ),
}


@dataclass(frozen=True)
class Shared:
    """What the cells of a data set have in common, by hash, and the teacher's accuracy on the test split.

    ``settings_sha256`` is of the case's settings with the defaults of kd.toml and of the recipes, and of the versions
    of kd-embedded and TensorFlow; between versions, code that changes what is trained wants another work folder.
    ``picks`` are the recipes that auto picks, by student.
    """

    data_sha256: str
    teacher_sha256: str
    settings_sha256: str
    teacher_accuracy: float
    picks: Mapping[str, str]

    @property
    def asked(self) -> dict[str, str]:
        """What a cell is asked for of them."""
        return {name: getattr(self, name) for name in _HASHES}


def prepare(
    name: str,
    epochs: int,
    progress: Progress,
    *,
    work: str,
    source: str = "",
    teachers: Sequence[tuple[str, float]] = (),
    workers: int = 0,
    cluster: str = "",
) -> Shared:
    """Makes the splits, the teacher and its logits for cells of ``epochs`` epochs, where they are not there yet.

    They stand in ``work``/``name``/shared. ``source`` replaces data.source; ``teachers`` are Keras models and their
    weights in an ensemble, taken as they are instead of training those of the case; ``workers`` or those of ``cluster``
    compute their logits, see cluster.run_tasks. Raises KdError where data or teachers cannot be used.
    """
    keras_files.start_tensorflow()
    students = CASES[name].students
    student, width = next(iter(students.items()))
    spec = _spec(name, source, teachers, student, width, SEED, {"epochs": epochs}, 0)
    run = _open(spec, work, "shared", progress)
    run.workers, run.cluster = workers, cluster
    with run.opened(fresh=False):
        for stage in ("plan", "teach", "examine"):
            run.execute(stages.stage(stage))
        soft_targets.of_run(run)
        examination = artifacts.read_json(run.path(artifacts.EXAMINATION))
        models = {arch: plan.build(run, StudentSpec(arch=arch, width=width)) for arch, width in students.items()}
        picks = {arch: choose(examination, run.data.classes, each.count_params()) for arch, each in models.items()}
        logits = distill.predict(teach.load_teachers(run).logits, run.data.inputs, teach.splits(run).test)
        return Shared(
            run.data_fingerprint,
            "+".join(_identity(run)),
            _settings_sha256(spec),
            _accuracy(run, logits),
            {arch: recipe for arch, (recipe, _) in picks.items()},
        )


def _settings_sha256(spec: RunSpec) -> str:
    import tensorflow as tf

    document = spec.model_dump(mode="json", include={"data", "examine", "distill", "quantize"})
    for varied in ("epochs", "method"):
        document["distill"].pop(varied)
    document["quantize"].pop("qat_epochs")
    document["data"].pop("source")  # its contents have a hash of their own
    document["recipes"] = {each: dict(recipes.get(each).PARAMETERS) for each in recipes.names()}
    document["precision"] = [teacher.precision for teacher in spec.teacher]
    document["versions"] = [__version__, tf.__version__]
    return sha256_bytes(json.dumps(document, sort_keys=True).encode())


def _identity(run: Run) -> list[str]:
    """The hash of each teacher, and its weight where they are not equal."""
    weights = [spec.weight for spec in run.spec.teacher]
    hashes = [sha256_file(run.path(file)) for file in teach.files(run)]
    together = zip(weights, hashes, strict=True)
    return hashes if len({*weights}) == 1 else [f"{weight:g}*{sha}" for weight, sha in together]


def cell(
    *,
    data: str,
    data_sha256: str,
    teacher_sha256: str,
    settings_sha256: str,
    student: str,
    width: float,
    recipe: str,
    seed: int,
    epochs: int,
    qat_epochs: int,
    work: str,
    source: str,
    teachers: Sequence[tuple[str, float]],
) -> dict[str, Any]:
    """One student, trained with ``seed`` and quantized; a task of ``cluster.run_tasks``, after ``prepare``.

    ``work``, ``source`` and ``teachers`` are the places that ``prepare`` was given. Gives what it was asked for, the
    recipe that was used (where another took over), parameters, bytes of the .tflite files and the accuracy on the test
    split, 0 to 1, of each form: ``float`` after ``epochs`` epochs, ``int8_ptq`` of the same weights, ``int8_qat`` after
    ``qat_epochs`` more with fake quantization. Where a recipe does not suit the student, ``refused`` says why instead.
    """
    keras_files.start_tensorflow()
    import keras

    keras.utils.clear_session()
    asked = {
        **{"data": data, "student": student, "width": width, "recipe": recipe, "seed": seed, "epochs": epochs},
        **{"qat_epochs": qat_epochs, "data_sha256": data_sha256, "teacher_sha256": teacher_sha256},
        "settings_sha256": settings_sha256,
    }
    distil = {"epochs": epochs, **({"alpha": 0.0} if recipe == "alone" else {"method": recipe})}
    try:
        spec = _spec(data, source, teachers, student, width, seed, distil, qat_epochs)
    except ConfigError as error:
        if recipe == "alone" or not recipes.get(recipe).FEATURES:
            raise
        return {**asked, "refused": str(error), "accuracy": {}}  # these teachers have no feature maps
    run = _open(spec, work, f"{student}-{recipe}-{epochs}-{seed}", Progress(), data_sha256)
    with run.opened(fresh=False):
        run.store()  # says whose folder it is
        _link(run, (artifacts.SPLITS, *teach.files(run), artifacts.TEACHER_LOGITS, artifacts.SOFT_TARGETS))
        try:
            run.execute(stages.stage("distill"))
        except ModelError as error:
            if error.where != "distill.method":
                raise
            return {**asked, "refused": str(error), "accuracy": {}}
        return {**asked, "used": run.state["distill"].get("recipe", recipe), **_measured(run)}


def _measured(run: Run) -> dict[str, Any]:
    """Figures of the trained student of ``run``."""
    model, test = keras_files.load(run.path(artifacts.STUDENT)), teach.splits(run).test
    logits = distill.predict(KerasTeacher(model).logits, run.data.inputs, test)
    int8 = {f"int8_{way}": file for way, file in quantize.models(run, model).items()}
    run.checkpoint(quantize.STAGE).unlink(missing_ok=True)  # as the stage would
    return {
        "parameters": model.count_params(),
        "bytes": {form: len(file) for form, file in int8.items()},
        "accuracy": {
            "float": _accuracy(run, logits),
            **{form: _accuracy(run, quantize.real_outputs(run, file, test)) for form, file in int8.items()},
        },
    }


def minutes(cells: Iterable[Mapping[str, Any]]) -> float:
    """About how long ``cells``, arguments of ``cell``, take on one core."""
    total = 0.0
    for each in cells:
        case = CASES[each["data"]]
        fits = 2 if each["recipe"] == "teacher_assistant" else 1
        total += case.seconds[each["student"]] * (fits * each["epochs"] + each["qat_epochs"]) + case.seconds_beside
    return total / 60


def of_auto(cells: Iterable[Mapping[str, Any]], picks: Mapping[str, str]) -> list[dict[str, Any]]:
    """The cells of auto: those of the recipe that it picks for their student, which are its own byte for byte."""
    return [{**each, "recipe": "auto"} for each in cells if each["recipe"] == picks[each["student"]]]


def rows(cells: Iterable[Mapping[str, Any]], teacher_accuracy: float) -> list[dict[str, Any]]:
    """The results of ``cells`` over their seeds: a row for each data set, student, recipe, number of epochs and form.

    ``mean`` and ``ci95``, the half width of the mean's 95 % interval by Student's t distribution (None for a single
    seed), are of the accuracies ``seeds``, of the ascending ``seed_numbers``. ``used`` are the recipes that were used,
    ``qat_epochs`` those with fake quantization after ``epochs`` without, ``bytes`` the largest .tflite (None: a float).
    """
    groups: dict[tuple[Any, ...], dict[int, Mapping[str, Any]]] = {}
    for each in cells:
        for form in each["accuracy"]:
            after = each["qat_epochs"] if form == "int8_qat" else 0
            key = (each["data"], each["student"], each["recipe"], each["epochs"], after, form)
            groups.setdefault(key, {})[each["seed"]] = each
    found = [_row(key, [by_seed[seed] for seed in sorted(by_seed)]) for key, by_seed in groups.items()]
    return sorted(({**row, "teacher": teacher_accuracy} for row in found), key=_order)


def merged(old: Iterable[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows ``old`` with ``new`` in place of those of the same data, student, recipe, epochs and form.

    Old ones of the same data set with another teacher, other splits or settings, and those of the same student in
    another width, are left out: a table has one of each.
    """
    shared = {row["data"]: row["shared_sha256"] for row in new}
    sizes = {(row["data"], row["student"]): row["parameters"] for row in new}
    kept = (
        row
        for row in old
        if shared.get(row["data"], row.get("shared_sha256")) == row.get("shared_sha256")
        and sizes.get((row["data"], row["student"]), row["parameters"]) == row["parameters"]
    )
    return sorted({_order(row): dict(row) for row in (*kept, *new)}.values(), key=_order)


def _row(key: tuple[Any, ...], cells: list[Mapping[str, Any]]) -> dict[str, Any]:
    name, student, recipe, epochs, after, form = key
    accuracies = [each["accuracy"][form] for each in cells]
    return {
        **{"data": name, "student": student, "parameters": cells[0]["parameters"], "recipe": recipe},
        **{"form": form, "epochs": epochs, "seeds": accuracies, "seed_numbers": [each["seed"] for each in cells]},
        **{"mean": statistics.mean(accuracies), "ci95": half_width(accuracies)},
        **{"used": sorted({each["used"] for each in cells}), "qat_epochs": after},
        "bytes": None if form == "float" else max(each["bytes"][form] for each in cells),
        "shared_sha256": sha256_bytes("".join(cells[0][name] for name in _HASHES).encode()),
    }


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Rows as a reader expects them: labels alone first, auto last."""
    recipe = row["recipe"]
    place = (row["data"] != "digits", row["data"], row["student"], row["epochs"])
    return *place, recipe == "auto", recipe != "alone", recipe, FORMS.index(row["form"]), row["qat_epochs"]


def half_width(values: list[float]) -> float | None:
    """Of the 95 % interval of the mean of ``values``, by Student's t distribution; None for a single value."""
    if len(values) < 2:
        return None
    from scipy import stats

    t = float(stats.t.ppf(0.975, len(values) - 1))
    return t * statistics.stdev(values) / math.sqrt(len(values))


def _spec(
    name: str,
    source: str,
    teachers: Sequence[tuple[str, float]],
    student: str,
    width: float,
    seed: int,
    distil: Mapping[str, Any],
    qat_epochs: int,
) -> RunSpec:
    case, sections = CASES[name], CASES[name].sections
    given = {"source": source} if source else {}
    precision = case.teachers[0].get("precision", "float32")
    given_teachers = tuple(
        {"file": file, "mode": "frozen", "precision": precision, "weight": weight} for file, weight in teachers
    )
    document = {
        "project": {**sections.get("project", {}), "name": name, "seed": seed},
        "data": {**sections.get("data", {}), **given},
        "teacher": given_teachers or case.teachers,
        "student": {"arch": student, "width": width},
        "examine": {"probe_epochs": 0},
        "distill": {**sections.get("distill", {}), **distil},
        "quantize": {"qat_epochs": qat_epochs},
    }
    return parse_config(document, f"{name}, {student}")


def _open(spec: RunSpec, work: str, out: str, progress: Progress, data_sha256: str = "") -> Run:
    """A run of ``spec`` in the folder ``out`` beside the other runs of its data set, whose hash may be known."""
    project = spec.project.model_copy(update={"out": out})
    run = Run(spec.model_copy(update={"project": project}), Path(work).resolve() / spec.project.name, progress)
    if data_sha256:
        run.data_fingerprint = data_sha256
    run.data = _data(spec.data, run.data_fingerprint)
    return run


@lru_cache(maxsize=1)
def _data(spec: DataSpec, sha256: str) -> data.Data:
    """A worker has many cells of one data set; ``sha256`` tells one from another."""
    return data.load(spec, Path())


def _link(run: Run, names: Iterable[str]) -> None:
    """Takes files and folders from the shared run."""
    for name in names:
        shared = run.base / "shared" / name
        if shared.exists() and not run.path(name).exists():
            run.path(name).symlink_to(shared)


def _accuracy(run: Run, logits: NDArray[Any]) -> float:
    """Of ``logits`` [N, C] for the test split."""
    return metrics.accuracy(metrics.predicted_classes(logits), run.data.y[teach.splits(run).test])
