"""What a model learns: classes of its inputs, numbers (regression), or its inputs again (auto-encoder).

What differs by task stands here; all of it is of numbers, float [N, D]: samples and outputs. A regression is trained in
standard deviations of its targets, whatever their units, and gives real units before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import metrics

if TYPE_CHECKING:
    from kd_embedded.config import RunSpec

CLASSIFICATION, REGRESSION, AUTOENCODER = "classification", "regression", "autoencoder"
RECIPE = "mse"
WHY = "outputs that are no classes have no other recipe"
COARSE = 0.25  # standard deviations: a step of the int8 output that is larger costs more than 0.5 % of the variance

Floats = NDArray[Any]
History = list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Units:
    """Training sees ``(value - mean) / std`` of each output; float32 [D] each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, targets: Floats) -> Units:
        """Those of the training targets [N, D]; an output that does not vary keeps its scale."""
        wide = targets.astype(np.float64)
        std = wide.std(axis=0)
        return cls(wide.mean(axis=0).astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32))

    def standardized(self, values: Floats) -> NDArray[np.float32]:
        """Of values [N, D] in real units."""
        found: NDArray[np.float32] = ((values - self.mean) / self.std).astype(np.float32)
        return found

    def real(self, values: Floats) -> NDArray[np.float32]:
        """Back again."""
        found: NDArray[np.float32] = (values * self.std + self.mean).astype(np.float32)
        return found


def check(spec: RunSpec) -> None:
    """Raises ValueError where a setting of ``spec`` does not go with its task."""
    task = spec.data.task
    if task != AUTOENCODER and spec.data.anomalies:
        raise ValueError(f'data.anomalies go with task = "autoencoder", not "{task}"')
    if task != AUTOENCODER and spec.budgets.min_auc:
        raise ValueError(f'budgets.min_auc goes with task = "autoencoder", not "{task}"')
    if task == CLASSIFICATION:
        if spec.budgets.max_mse:
            raise ValueError('budgets.max_mse goes with task = "regression" or "autoencoder", not "classification"')
        return
    if task == AUTOENCODER and spec.data.unlabelled:
        raise ValueError("data.unlabelled: an auto-encoder needs no labels, so put all inputs in data.source")
    for place, todo in _misplaced(spec):
        raise ValueError(f'{place} is about classes, and the task is "{task}": {todo}')


def _misplaced(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Settings that classes alone have, and what to do about each."""
    if spec.distill.method not in (RECIPE, "auto"):
        yield f'distill.method = "{spec.distill.method}"', f'use "{RECIPE}", or "auto", which picks it'
    if spec.distill.ensemble != "logits":
        yield f'distill.ensemble = "{spec.distill.ensemble}"', 'use "logits", which averages outputs'
    if spec.distill.teacher_mirror:
        yield "distill.teacher_mirror", "leave it out: the outputs of a mirror image are other ones"
    for name, fit in (("distill", spec.distill), *(("teacher", teacher) for teacher in spec.teacher)):
        if fit.label_smoothing:
            yield f"{name}.label_smoothing", "leave it at 0"
        if fit.class_weights != "none":
            yield f"{name}.class_weights", "give samples weights of their own, w_train of an npz"
    if any(teacher.outputs == "probabilities" for teacher in spec.teacher):
        yield 'teacher.outputs = "probabilities"', "leave it out"
    if spec.quantize.output != "logits":
        yield f'quantize.output = "{spec.quantize.output}"', 'use "logits", which leaves the outputs as they are'
    for name, unset in (("min_accuracy", 0.0), ("max_accuracy_drop", 1.0)):
        if getattr(spec.budgets, name) != unset:
            yield f"budgets.{name}", "leave it out"
    if spec.data.max_per_class:
        yield "data.max_per_class", "leave it at 0"


def squares(outputs: Any, targets: Any) -> Any:
    """Mean squared error of each sample over its outputs: float32 [N] of tensors [N, D]; 0 for targets of NaN."""
    import tensorflow as tf

    known = tf.where(tf.math.is_nan(targets), tf.stop_gradient(outputs), targets)
    return tf.reduce_mean(tf.square(outputs - known), axis=-1)


def fit(model: Any, units: Units | None, train: Callable[[Any], History], *, fresh: bool) -> History:
    """``train(model)`` in standardised outputs; ``model``, of Keras, gives real ones (unless ``fresh``) and will again.

    The last layer takes the change where it is Dense without activation; otherwise a layer behind does, while training.
    """
    import keras

    if units is None:
        return train(model)
    dense = _last_dense(model)
    if dense is None:
        scaled = keras.layers.Rescaling((1 / units.std).tolist(), (-units.mean / units.std).tolist(), name="standard")
        return train(keras.Model(model.inputs[0], scaled(model.outputs[0])))
    if not fresh:
        dense.kernel.assign(dense.kernel.numpy() / units.std)
        dense.bias.assign(units.standardized(dense.bias.numpy()))
    history = train(model)
    dense.kernel.assign(dense.kernel.numpy() * units.std)
    dense.bias.assign(units.real(dense.bias.numpy()))
    return history


def _last_dense(model: Any) -> Any:
    """The Dense layer, with a bias and no activation, that gives the outputs of a Keras ``model``; else None."""
    import keras

    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return _last_dense(last)
    linear = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear and last.use_bias
    return last if linear else None


def figures(
    task: str, outputs: Floats, targets: Floats, names: Sequence[str] = (), anomalies: Floats | None = None
) -> dict[str, Any]:
    """What a model's ``outputs`` [N, D] are worth, in the units of ``targets`` [N, D].

    Of a regression: mean squared error, mean absolute error and R^2 (null where nothing varies), the means over its
    outputs, and those of each. Of an auto-encoder: the mean squared error of normal samples; of ``anomalies`` (1 in an
    int [N] of 0 and 1), and the AUC of that error as their score, null where all samples are of one kind.
    """
    errors = outputs.astype(np.float64).reshape(targets.shape) - targets
    if task == AUTOENCODER:
        scores = np.square(errors).mean(axis=1)
        odd = np.zeros(len(scores), bool) if anomalies is None else anomalies > 0
        return {
            "mse": float(scores[~odd].mean()) if not odd.all() else None,
            "mse_anomalies": float(scores[odd].mean()) if odd.any() else None,
            "auc": metrics.auc(scores, odd),
        }
    squared, absolute = np.square(errors).mean(axis=0), np.abs(errors).mean(axis=0)
    variance = targets.astype(np.float64).var(axis=0)
    shares = [1.0 - float(a / b) if b else None for a, b in zip(squared, variance, strict=True)]
    known = [share for share in shares if share is not None]
    return {
        "mse": float(squared.mean()),
        "mae": float(absolute.mean()),
        "r2": float(np.mean(known)) if known else None,
        "outputs": [
            {"name": name, "mse": float(a), "mae": float(b), "r2": share}
            for name, a, b, share in zip(names, squared, absolute, shares, strict=True)
        ],
    }


TITLES = {"mse": "MSE", "mae": "MAE", "r2": "R²", "mse_anomalies": "MSE of anomalies", "auc": "AUC"}


def told(found: Mapping[str, Any]) -> str:
    """``MSE 0.0123, AUC 0.95`` of ``figures``, in ASCII."""
    shown = {key: title.replace("²", "2") for key, title in TITLES.items() if found.get(key) is not None}
    return ", ".join(f"{title} {found[key]:.4g}" for key, title in shown.items())


def coarse(units: Units, targets: Floats, names: Sequence[str]) -> Iterator[str]:
    """Warnings of outputs that an int8 step, one for all outputs and with 0 in its range, tells apart too badly."""
    step = (max(0.0, float(targets.max())) - min(0.0, float(targets.min()))) / 255
    for name, std in zip(names, units.std.tolist(), strict=True):
        if step > COARSE * std:
            yield (
                f"One step of the int8 outputs is about {step:.3g}, and the standard deviation of {name} is {std:.3g}: "
                "subtract a constant from targets that are far from 0, and give outputs like scales."
            )
