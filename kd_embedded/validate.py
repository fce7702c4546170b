"""Accuracy on the host, and the proof that the board computes the same bytes: everything in validation.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import codegen, interpreters, metrics
from kd_embedded.compare import Comparison, compare, differing_first, first_difference
from kd_embedded.config import BudgetSpec
from kd_embedded.errors import DataError, ModelError
from kd_embedded.golden import dequantize, quantize
from kd_embedded.ops.spec import elements
from kd_embedded.progress import Progress
from kd_embedded.tflite.check import reference_departures, tflm_departures
from kd_embedded.tflite.classes import class_count, index_op
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import read_bytes

Array = NDArray[Any]
_KIB = 1024
# The interpreter that computes what each engine's firmware does, and what messages call it.
_DEVICES = {"tflm": ("tflm", "TFLM"), "aot": ("reference", "kd-embedded's aot engine")}
_TITLES = {"builtin_ref": "BUILTIN_REF", "tflm": "TFLM", "reference": "kd-embedded's integer reference"}


def validate(
    model: Path,
    x: Array,
    y: Array | None = None,
    *,
    class_names: Sequence[str] = (),
    teacher_logits: Array | None = None,
    student_logits: Array | None = None,
    budgets: BudgetSpec | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    engine: str = "tflm",
    errors: Callable[[Array], Mapping[str, Any]] | None = None,
    progress: Progress = Progress(),  # noqa: B008  # it has no state
) -> dict[str, Any]:
    """Runs the int8 ``model`` in every interpreter there is; gives the document of validation.json, null where unknown.

    ``x`` is float32 [N, ...] in the model's real units, or int8 [N, ...] as it is; ``y`` int [N]. The logits are
    [N, classes] of the same samples. ``sizes`` holds flash and RAM bytes by board, for the budgets; ``engine`` is the
    firmware's. Where outputs are numbers and no classes, ``errors`` gives the figures of outputs float [N, D]; they
    stand under "errors" for each model, and nothing is said of classes. A missed budget and a difference between
    BUILTIN_REF and the engine (TFLM; the references of its ops for aot) are in the document, and told by ``failures``.
    For a model that BUILTIN_REF is known to compute wrongly (``reference_departures``), TFLM and the references of the
    ops must be equal instead.
    Raises ModelError where the model is not full int8 or the engine refuses it, DataError where the samples do not suit
    it.
    """
    data = read_bytes(model)
    graph = codegen.checked_graph(data, str(model), engine)
    x_q = _inputs(graph, x)
    labels = _labels(graph, y, len(x_q))
    comparison = compare(data, x_q, progress=progress)
    oracle = _oracle(comparison, graph, engine, str(model))
    standard = _standard(graph, engine)
    classes = {
        "teacher": None if errors else _classes(teacher_logits, len(x_q)),
        "student_float": None if errors else _classes(student_logits, len(x_q)),
        "student_int8": None if errors else _predicted(graph, comparison.outputs[oracle or "builtin_ref"]),
    }
    found = {}
    if errors:
        outputs = {
            "teacher": teacher_logits,
            "student_float": student_logits,
            "student_int8": _real(graph, comparison.outputs[oracle or "builtin_ref"]),
        }
        found = {"errors": {name: None if one is None else errors(one) for name, one in outputs.items()}}
    accuracy = {name: _accuracy(predicted, labels) for name, predicted in classes.items()}
    drop = {
        "teacher_to_float": _minus(accuracy["teacher"], accuracy["student_float"]),
        "float_to_int8": _minus(accuracy["student_float"], accuracy["student_int8"]),
        "teacher_to_int8": _minus(accuracy["teacher"], accuracy["student_int8"]),
    }
    return {
        "samples": len(x_q),
        "accuracy": accuracy,
        **_per_class(graph, classes["student_int8"], labels, class_names, accuracy["student_int8"]),
        "agreement": _agreements(classes),
        "drop": drop,
        "engine": engine,
        "interpreters": {
            name: _interpreter(comparison, name, (_DEVICES[engine][0], standard), graph, labels)
            for name in interpreters.NAMES
        },
        "oracle": oracle or None,
        "standard": standard,
        "reference_departures": [asdict(departure) for departure in reference_departures(graph)],
        "missing_proof": _missing_proof(comparison, graph, engine, standard),
        "first_difference": _first_difference(data, graph, x_q, comparison, engine, standard),
        "budgets": [
            *_budgets(budgets or BudgetSpec(), accuracy["student_int8"], drop["teacher_to_int8"], sizes or {}),
            *_budgets_of_errors(budgets or BudgetSpec(), found.get("errors", {}).get("student_int8") or {}),
        ],
        **found,
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """One line for each way in which a validation document falls short; none where all is proven and within budget."""
    wrong = departure(document)
    return ([wrong] if wrong else []) + [_miss(budget) for budget in document["budgets"] if not budget["met"]]


def device(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The figures of the interpreter that computes what the firmware does, and what to call it."""
    name, title = _DEVICES[document["engine"]]
    return document["interpreters"][name], title


def departure(document: Mapping[str, Any]) -> str:
    """The line that says where the engine parts from what it must equal, naming the op; "" where all is the same."""
    parted, title = device(document)
    if document["standard"] is None or not parted["bytes_different"]:
        return ""
    found, standard = document["first_difference"], _TITLES[document["standard"]]
    op = f"op {found['op_index']} ({found['op_name']}, tensor {found['tensor']})" if found else "no single op"
    return (
        f"{standard} and {title} differ in {parted['bytes_different']} of {parted['bytes_compared']} bytes, by up to "
        f"{parted['max_difference']}; {op} is the first to differ: replace that layer, or the board will compute "
        "something else than was measured here"
    )


def _inputs(graph: Graph, x: Array) -> NDArray[np.int8]:
    if x.shape[1:] != graph.input.shape[1:] or not len(x):
        raise DataError(
            f"samples of shape {list(x.shape)} do not suit the model's input {list(graph.input.shape)}",
            where="validation",
            todo=f"give one or more samples of shape {list(graph.input.shape[1:])}",
        )
    if x.dtype == np.int8:
        return x
    if not np.isfinite(x).all():
        raise DataError("samples contain NaN or infinity", where="validation", todo="leave such samples out")
    assert graph.input.quant is not None  # checked_graph
    return quantize(x, graph.input.quant)


def _labels(graph: Graph, y: Array | None, samples: int) -> Array | None:
    if y is None:
        return None
    classes = class_count(graph)
    if index_op(graph) and elements(graph.output) > 1:
        what = f"labels for a model that gives {elements(graph.output)} class indices for each sample"
        raise DataError(what, where="validation", todo="leave them out: only bytes can be compared")
    if y.shape != (samples,) or y.min() < 0 or y.max() >= classes:
        raise DataError(
            f"labels {list(y.shape)} from {y.min()} to {y.max()} do not suit {samples} samples of {classes} classes",
            where="validation",
            todo="give one class number for each sample",
        )
    return y


def _standard(graph: Graph, engine: str) -> str | None:
    """The interpreter that the engine must equal in every byte; None where none is here that is known to be right.

    That is BUILTIN_REF of tflite-runtime; where that is known to be wrong, the one of TFLM and our own references that
    is not the engine itself.
    """
    if not reference_departures(graph):
        return "builtin_ref" if interpreters.oracle() == "builtin_ref" else None
    if engine == "tflm":
        return "reference"
    return None if tflm_departures(graph) or interpreters.available()["tflm"] else "tflm"


def _oracle(comparison: Comparison, graph: Graph, engine: str, where: str) -> str:
    """The interpreter whose outputs are the device's, or "" where none is here. What the engine refuses ends here."""
    name, title = _DEVICES[engine]
    refused = comparison.refused.get(name)
    if refused and not interpreters.available()[name]:
        raise interpreters.ModelRefusedError(f"{title}: {refused}", where=where, todo="replace the layer it names")
    exact = [name for name in (interpreters.oracle(graph), "tflm", "reference") if name in comparison.outputs]
    if not exact and "builtin_ref" not in comparison.outputs:
        raise ModelError(f"no interpreter runs it: {comparison.refused['reference']}", where=where)
    return exact[0] if exact else ""


def _predicted(graph: Graph, outputs: Array) -> Array:
    """int [N]: the class of the largest output, or the class that the output names (the first of several)."""
    return outputs.reshape(len(outputs), -1)[:, 0] if index_op(graph) else metrics.predicted_classes(outputs)


def _real(graph: Graph, outputs: Array) -> NDArray[np.float64]:
    """float64 [N, D] of int8 outputs."""
    assert graph.output.quant is not None  # checked_graph
    return dequantize(outputs.reshape(len(outputs), -1), graph.output.quant)


def _classes(logits: Array | None, samples: int) -> Array | None:
    if logits is None:
        return None
    if len(logits) != samples:
        raise DataError(f"{len(logits)} rows of logits for {samples} samples", where="validation")
    return metrics.predicted_classes(logits)


def _accuracy(predicted: Array | None, labels: Array | None) -> float | None:
    return None if predicted is None or labels is None else metrics.accuracy(predicted, labels)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _per_class(
    graph: Graph, predicted: Array | None, labels: Array | None, names: Sequence[str], accuracy: float | None
) -> dict[str, Any]:
    if predicted is None or labels is None or accuracy is None:
        return {"interval95": None, "per_class": None, "confusion": None, "top_confusions": None}
    classes = class_count(graph)
    names = names or [str(i) for i in range(classes)]
    if len(names) != classes:
        raise DataError(f"{len(names)} class names for {classes} classes", where="validation")
    matrix = metrics.confusion(predicted, labels, len(names))
    return {
        "interval95": list(metrics.wilson_interval95(accuracy, len(labels))),
        "per_class": metrics.per_class(matrix, names),
        "confusion": matrix.tolist(),
        "top_confusions": metrics.top_confusions(matrix, names),
    }


def _agreements(classes: Mapping[str, Array | None]) -> dict[str, float | None]:
    def share(one: str, other: str) -> float | None:
        first, second = classes[one], classes[other]
        return None if first is None or second is None else metrics.agreement(first, second)

    return {
        "teacher_float": share("teacher", "student_float"),
        "teacher_int8": share("teacher", "student_int8"),
        "float_int8": share("student_float", "student_int8"),
    }


def _interpreter(
    comparison: Comparison, name: str, first: tuple[str, str | None], graph: Graph, labels: Array | None
) -> dict[str, Any]:
    """One interpreter's figures: the device's against the standard, each other against the device or what else is.

    ``first`` are device and standard.
    """
    order = dict.fromkeys((first[0], first[1] or "builtin_ref", "builtin_ref", "tflm", "reference"))
    rivals = [rival for rival in order if rival != name and rival in comparison.outputs]
    against = rivals[0] if rivals and name in comparison.outputs else None
    found = comparison.difference(name, against) if against else None
    predicted = _predicted(graph, comparison.outputs[name]) if name in comparison.outputs else None
    return {
        "accuracy": _accuracy(predicted, labels),
        "against": against,
        "bytes_compared": found.bytes_compared if found else None,
        "bytes_different": found.bytes_different if found else None,
        "max_difference": found.max_difference if found else None,
        "refused": comparison.refused.get(name),
    }


def _missing_proof(comparison: Comparison, graph: Graph, engine: str, standard: str | None) -> list[str]:
    lines = []
    name, title = _DEVICES[engine]
    unconfirmed = f"nothing independent confirms what {title} computes."
    if reason := comparison.refused.get(name):
        lines.append(f"{title} did not run here ({reason}): that the board computes these bytes is not shown.")
    if departures := reference_departures(graph):
        wrong = f"BUILTIN_REF computes op {departures[0].op_index} ({departures[0].op_name}) wrongly"
        if standard is None:
            lines.append(f"{wrong}, and TFLM is not here, or is wrong too: {unconfirmed}")
        elif reason := comparison.refused.get(standard):
            lines.append(f"{wrong}, and {_TITLES[standard]} did not run ({reason}): {unconfirmed}")
    elif standard is None:
        if not ({"reference", "tflm"} - {name}) & comparison.outputs.keys():
            lines.append(f"tflite-runtime is not installed here: {unconfirmed}")
    elif reason := comparison.refused.get("builtin_ref"):
        lines.append(f"BUILTIN_REF did not run ({reason}): {unconfirmed}")
    return lines


def _first_difference(
    data: bytes, graph: Graph, x_q: Array, comparison: Comparison, engine: str, standard: str | None
) -> dict[str, Any] | None:
    name = _DEVICES[engine][0]
    found = comparison.difference(standard, name) if standard else None
    if standard is None or found is None or not found.bytes_different:
        return None
    telling = differing_first(x_q, comparison.outputs[standard], comparison.outputs[name])
    first = first_difference(data, graph, telling, standard, name)
    return asdict(first) if first else None


def _budgets(
    budgets: BudgetSpec, accuracy: float | None, drop: float | None, sizes: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Each budget that is set. One that cannot be measured (no labels, no teacher) is not met."""
    entries = []
    if budgets.min_accuracy > 0:
        met = accuracy is not None and accuracy >= budgets.min_accuracy
        entries.append(_budget("min_accuracy", None, budgets.min_accuracy, accuracy, met))
    if budgets.max_accuracy_drop < 1:
        # Differences of two shares: a drop of 3 in 100 must meet a limit of 0.03.
        met = drop is not None and drop <= budgets.max_accuracy_drop + 1e-9
        entries.append(_budget("max_accuracy_drop", None, budgets.max_accuracy_drop, drop, met))
    limits = (("max_flash_kib", budgets.max_flash_kib, 0), ("max_ram_kib", budgets.max_ram_kib, 1))
    for name, limit, which in limits:
        for board, measured in sizes.items():
            if limit > 0:
                kib = measured[which] / _KIB
                entries.append(_budget(name, board, limit, kib, kib <= limit))
    return entries


def _budgets_of_errors(budgets: BudgetSpec, errors: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    mse, auc = errors.get("mse"), errors.get("auc")
    if budgets.max_mse > 0:
        yield _budget("max_mse", None, budgets.max_mse, mse, mse is not None and mse <= budgets.max_mse)
    if budgets.min_auc > 0:
        yield _budget("min_auc", None, budgets.min_auc, auc, auc is not None and auc >= budgets.min_auc)


def _budget(name: str, board: str | None, limit: float, measured: float | None, met: bool) -> dict[str, Any]:
    return {"name": name, "board": board, "limit": limit, "measured": measured, "met": met}


def _miss(budget: Mapping[str, Any]) -> str:
    place = f" on {budget['board']}" if budget["board"] else ""
    limit, measured = budget["limit"], budget["measured"]
    digits = 4
    while measured is not None and digits < 17 and f"{measured:.{digits}g}" == f"{limit:.{digits}g}":
        digits += 1
    found = "could not be measured" if measured is None else f"{measured:.{digits}g}"
    return f"budget {budget['name']}{place} is missed: {found}, and the limit is {limit:.4g}"
