"""``kind = "sklearn"``: a classifier of scikit-learn with predict_proba, trained here or the user's own.

Where the task has no classes, a regressor. Inputs are flattened. What is trained is kept as .skops, which runs no code
when it is loaded.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import artifacts, tasks
from kd_embedded.config import TeacherSpec, nearest
from kd_embedded.errors import ConfigError, ModelError
from kd_embedded.teachers import Job, _function

KEYS = frozenset({"estimator", "parameters", "file", "trusted", "allow_pickle", "input_scale", "input_offset"})
FILE = "Your own fitted classifier instead, as .skops, relative to this file."
_PICKLES = (".pkl", ".pickle", ".joblib")
# Parts of scikit-learn's own estimators, which hold numbers or other estimators alone; skops leaves them to the caller.
_PARTS = frozenset(
    {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)


def check_spec(spec: TeacherSpec) -> None:
    """Raises ValueError unless it is either an estimator of scikit-learn or a file."""
    if bool(spec.estimator) == bool(spec.file):
        raise ValueError('kind = "sklearn" needs estimator, or file: one of the two')
    if spec.file and not spec.file.endswith((".skops", *_PICKLES)):
        raise ValueError("file should end in .skops")
    if spec.file.endswith(_PICKLES) and not spec.allow_pickle:
        raise ValueError(
            f"{spec.file} is a pickle, and loading one runs whatever code its author put there, with your rights: "
            "save the classifier with skops.io.dump, or set allow_pickle = true if you made the file yourself"
        )
    for name in (*spec.estimator, *_named(spec.parameters)):
        if not name.startswith("sklearn.") or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f'estimator {name!r} is not of the form "sklearn.MODULE.CLASS"')


def files(spec: TeacherSpec) -> tuple[str, ...]:
    """The user's classifier."""
    return (spec.file,) if spec.file else ()


def suffix(spec: TeacherSpec) -> str:
    """.skops, or that of the user's pickle."""
    return Path(spec.file).suffix or ".skops"


def make(job: Job) -> list[dict[str, float]]:
    """Trains the classifier, or tries the user's own, and writes it."""
    if job.spec.file:
        whole = _function.read(job, job.spec.file)
        _teacher(_loaded(whole, job.spec), job)
    else:
        estimator = build(job.spec, job.seed)
        _fit(estimator, job)
        _teacher(estimator, job)
        whole = dumps(estimator)
    artifacts.write_bytes(job.path, whole)
    return []


def load(job: Job) -> _function.FunctionTeacher:
    """The classifier that ``make`` wrote."""
    return _teacher(_loaded(job.path.read_bytes(), job.spec), job)


def build(spec: TeacherSpec, seed: int) -> Any:
    """The untrained classifier of ``spec``, every random_state in it ``seed`` where the user gave none.

    Raises ConfigError where scikit-learn has no such class or parameter, or it is no classifier with probabilities.
    """
    from sklearn.pipeline import make_pipeline

    steps = [_new(name) for name in spec.estimator]
    estimator = steps[0] if len(steps) == 1 else make_pipeline(*steps)
    for key, value in sorted(spec.parameters.items(), key=lambda item: item[0].count("__")):
        known = tuple(estimator.get_params())
        if key not in known:
            raise ConfigError(f"unknown parameter {key}", where=_place(spec), todo=nearest(key, known))
        estimator.set_params(**{key: _new(value) if value in _named({key: value}) else value})
    given = set(spec.parameters)
    for step in steps:
        for name in _required(type(step)):
            if getattr(step, name) is None:
                todo = "give it in parameters, or save a fitted one with skops.io.dump and name it in file"
                raise ConfigError(f"{type(step).__name__} needs {name}", where=_place(spec), todo=todo)
    chance = [key for key in estimator.get_params() if key.rpartition("__")[2] == "random_state" and key not in given]
    return estimator.set_params(**dict.fromkeys(chance, seed))


def dumps(estimator: Any) -> bytes:
    """``estimator`` in skops' form without dates and memory addresses: the same classifier gives the same bytes."""
    import skops.io

    whole = skops.io.dumps(estimator)
    with zipfile.ZipFile(io.BytesIO(whole)) as source:
        schema = json.loads(source.read("schema.json"))
        names = _without_chance(schema)
        members = {names[name]: source.read(name) for name in source.namelist() if name != "schema.json"}
    return artifacts.zipped({"schema.json": json.dumps(schema).encode()} | members, compressed=True)


def _without_chance(schema: Any) -> dict[str, str]:
    """Numbers the objects and files of a schema, in place, in the order they come; the new names of the files."""
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    for node in artifacts.json_objects(schema):
        if isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
        if isinstance(node.get("file"), str):
            name = node["file"]
            node["file"] = names.setdefault(name, f"{len(names)}{Path(name).suffix}")
    return names


def _class(name: str) -> Any:
    module, _, known = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), known)
    except (ImportError, AttributeError):
        raise ConfigError(f"scikit-learn has no {name}", where="teacher.estimator", todo="check its spelling") from None
    from sklearn.base import BaseEstimator

    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise ConfigError(f"{name} is no estimator", where="teacher.estimator", todo="name a classifier")
    return found


def _new(name: str) -> Any:
    """An estimator with its defaults, None where it has none; parameters are set afterwards."""
    found = _class(name)
    return found(**dict.fromkeys(_required(found)))


def _required(estimator: type) -> list[str]:
    """The parameters without a default."""
    found = inspect.signature(estimator).parameters.values()
    return [each.name for each in found if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]


def _named(parameters: dict[str, Any]) -> list[str]:
    """The values among ``parameters`` that name an estimator."""
    return [value for value in parameters.values() if isinstance(value, str) and value.startswith("sklearn.")]


def _fit(estimator: Any, job: Job) -> None:
    train, weights = job.labelled, job.data.weights
    keys = {}
    if weights is not None and np.ptp(weights[train]) > 0:
        keys = _weights_key(estimator, weights[train], _place(job.spec))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for whoever chose the parameters, and name lines of scikit-learn
            estimator.fit(_flat(job.data.inputs(train), job.spec), _learnt(job, train), **keys)
    except Exception as error:  # scikit-learn's words on a parameter, or a lack of memory
        raise ModelError(f"cannot be trained: {_function.reason(error)}", where=_place(job.spec)) from None


def _learnt(job: Job, train: NDArray[np.int64]) -> NDArray[Any]:
    """Labels int [N]; numbers [N], or [N, D], where there are no classes."""
    if job.data.task == tasks.CLASSIFICATION:
        return job.data.y[train]
    numbers = job.data.numbers(train)
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers


def _weights_key(estimator: Any, weights: NDArray[np.float32], where: str) -> dict[str, Any]:
    """Keywords of fit that carry the samples' weights. Raises ModelError where the (last) estimator takes none."""
    from sklearn.utils.validation import has_fit_parameter

    name, last = estimator.steps[-1] if hasattr(estimator, "steps") else ("", estimator)
    if not has_fit_parameter(last, "sample_weight"):
        todo = "take another, or leave the weights out of the data"
        raise ModelError(f"{type(last).__name__} cannot weigh samples, and the data does", where=where, todo=todo)
    return {f"{name}__sample_weight" if name else "sample_weight": weights}


def _loaded(whole: bytes, spec: TeacherSpec) -> Any:
    """The classifier in a file. Raises ModelError where it is damaged, or names types that are not trusted."""
    where = _place(spec)
    try:
        if spec.file.endswith(_PICKLES):
            import joblib

            return joblib.load(io.BytesIO(whole))
        import skops.io

        unknown = skops.io.get_untrusted_types(data=whole)
        trusted = [name for name in unknown if not spec.file or name in _PARTS or name in spec.trusted]
        if len(trusted) == len(unknown):
            return skops.io.loads(whole, trusted=trusted)
    except Exception as error:  # skops, pickle and zipfile raise what they like
        raise ModelError(f"cannot be loaded: {_function.reason(error)}", where=where) from None
    others = ", ".join(sorted(set(unknown) - set(trusted)))
    todo = "list them in trusted if you know what they are; loading may run code of theirs"
    raise ModelError(f"names types that skops does not trust: {others}", where=where, todo=todo)


def _teacher(estimator: Any, job: Job) -> _function.FunctionTeacher:
    """Raises ModelError where ``estimator`` gives no probabilities, or of other classes than the data's."""
    where = _place(job.spec)
    if job.data.task != tasks.CLASSIFICATION:
        return _function.as_teacher(job, _numbers(estimator, where), where)
    if not hasattr(estimator, "predict_proba") or not hasattr(estimator, "classes_"):
        todo = "use a classifier that is fitted and has predict_proba"
        raise ModelError(f"is a {type(estimator).__name__} without probabilities", where=where, todo=todo)
    columns = _columns(list(np.ravel(estimator.classes_)), job, where)

    def scores(batch: NDArray[np.float32]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(estimator.predict_proba(batch.reshape(len(batch), -1)))[:, columns]

    # They are probabilities whatever they sum to: one-against-rest gives rows of zeros, too.
    certain = replace(job, spec=job.spec.model_copy(update={"outputs": "probabilities"}))
    return replace(_function.as_teacher(certain, scores, where), spec=job.spec)


def _numbers(estimator: Any, where: str) -> _function.Scores:
    """What a regressor predicts, [N, D]. Raises ModelError where ``estimator`` is none."""
    from sklearn.base import is_regressor

    if not is_regressor(estimator):
        what = f"is a {type(estimator).__name__}, which predicts no numbers"
        raise ModelError(what, where=where, todo="use a regressor that is fitted")

    def predict(batch: NDArray[np.float32]) -> Any:
        found = np.asarray(estimator.predict(batch.reshape(len(batch), -1)))
        return found.reshape(len(found), -1)

    return predict


def _columns(known: list[Any], job: Job, where: str) -> list[int]:
    """Which column of predict_proba is each class of the data: by name, or by number."""
    known = [label.item() if isinstance(label, np.generic) else label for label in known]
    known = [int(label) if isinstance(label, (bool, float)) and label == int(label) else label for label in known]
    names: tuple[Any, ...] = job.data.class_names
    if not all(isinstance(label, str) for label in known):
        if job.spec.file and names != (own := tuple(map(str, known))) and sorted(names) == sorted(own):
            what = f"knows {_told(known)}, which may be names or positions of the data's classes {_told(names)}"
            raise ModelError(what, where=where, todo="fit it on the names as text")
        names = tuple(range(job.data.classes))
    if sorted(map(str, known)) != sorted(map(str, names)):
        raise ModelError(f"knows the classes {_told(known)}", where=where, todo=f"the data has {_told(names)}")
    return [known.index(name) for name in names]


def _told(labels: Sequence[Any]) -> str:
    return ", ".join(map(str, labels[:12]))


def _flat(inputs: NDArray[np.float32], spec: TeacherSpec) -> NDArray[np.float32]:
    """What the classifier is trained on: float32 [N, features]."""
    return _function.scaled(inputs, spec).reshape(len(inputs), -1)


def _place(spec: TeacherSpec) -> str:
    return spec.file or spec.estimator[-1]
