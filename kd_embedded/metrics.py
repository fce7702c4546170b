"""Figures of a classifier, from predicted and true classes; NumPy alone.

``predicted`` and ``labels`` are int [N], the class of each sample; ``classes`` is their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.errors import DataError

Classes = NDArray[Any]
_Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def predicted_classes(scores: NDArray[Any]) -> Classes:
    """The class of each sample, int [N], from logits, probabilities or int8 outputs [N, ...]: the first highest."""
    classes: Classes = np.argmax(scores.reshape(len(scores), -1), axis=1)
    return classes


def accuracy(predicted: Classes, labels: Classes) -> float:
    """The share of samples whose class is right, 0 to 1."""
    return agreement(predicted, labels)


def agreement(one: Classes, other: Classes) -> float:
    """The share of samples for which two models give the same class, 0 to 1; DataError where there are none."""
    if not len(one) or len(one) != len(other):
        raise DataError(f"{len(one)} predictions cannot be compared with {len(other)}", where="metrics")
    return float(np.mean(one == other))


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """The logarithm of the softmax of each row, in the type of ``logits`` [N, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def cross_entropy(logits: NDArray[Any], labels: Classes) -> float:
    """The mean negative log-likelihood of the labels, in nats, computed in the type of ``logits`` [N, C]."""
    return -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())


def confusion(predicted: Classes, labels: Classes, classes: int) -> NDArray[np.int64]:
    """Counts [classes, classes]: row the true class, column the predicted one."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def per_class(matrix: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    """Name, samples, recall and precision of each class; null where there is nothing to divide by."""
    samples, predicted, right = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
    return [
        {
            "name": name,
            "samples": int(samples[i]),
            "recall": _share(right[i], samples[i]),
            "precision": _share(right[i], predicted[i]),
        }
        for i, name in enumerate(names)
    ]


def top_confusions(matrix: NDArray[np.int64], names: Sequence[str], most: int = 5) -> list[dict[str, Any]]:
    """The ``most`` frequent mistakes, the most frequent first: true class, predicted class, count."""
    mistakes = matrix.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    places = [np.unravel_index(place, mistakes.shape) for place in order]
    return [
        {"true": names[i], "predicted": names[j], "count": int(mistakes[i, j])} for i, j in places if mistakes[i, j]
    ]


def wilson_interval95(share: float, samples: int) -> tuple[float, float]:
    """The 95 % interval of a share observed in ``samples`` (Wilson 1927): sensible at 0, at 1, and for few samples."""
    center = share + _Z95**2 / (2 * samples)
    spread = _Z95 * math.sqrt(share * (1 - share) / samples + _Z95**2 / (4 * samples**2))
    scale = 1 + _Z95**2 / samples
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float | None:
    """The area under the ROC curve: how often a ``positive`` sample [N] scores higher than another, ties by half.

    From ranks (Mann and Whitney 1947). None where all samples are of one kind.
    """
    ones = int(positive.sum())
    others = len(positive) - ones
    if not ones or not others:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * others))
