"""Classification figures against values worked out by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from kd_embedded import metrics
from kd_embedded.errors import DataError

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 1, 1, 1, 1, 0])


def test_by_hand() -> None:
    assert metrics.accuracy(PREDICTED, LABELS) == 0.5
    matrix = metrics.confusion(PREDICTED, LABELS, 4)
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    named = metrics.per_class(matrix, ["a", "b", "c", "d"])
    assert named[0] == {"name": "a", "samples": 3, "recall": 1 / 3, "precision": 0.5}
    assert named[2] == {"name": "c", "samples": 1, "recall": 0.0, "precision": None}
    assert named[3] == {"name": "d", "samples": 0, "recall": None, "precision": None}
    assert metrics.top_confusions(matrix, ["a", "b", "c", "d"]) == [
        {"true": "a", "predicted": "b", "count": 2},
        {"true": "c", "predicted": "a", "count": 1},
    ]
    assert len(metrics.top_confusions(matrix, ["a", "b", "c", "d"], most=1)) == 1


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    labels, predicted = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    matrix = metrics.confusion(predicted, labels, 7)
    assert (matrix == sklearn_metrics.confusion_matrix(labels, predicted)).all()
    named = metrics.per_class(matrix, [*"abcdefg"])
    precision, recall, _, samples = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    assert [entry["precision"] for entry in named] == pytest.approx(precision)
    assert [entry["recall"] for entry in named] == pytest.approx(recall)
    assert [entry["samples"] for entry in named] == samples.tolist()


def test_the_first_of_equal_scores_wins() -> None:
    scores = np.array([[[3, 7, 7]], [[1, 1, 0]]], np.int8)
    assert metrics.predicted_classes(scores).tolist() == [1, 0]


# Wilson (1927); the values of the R function prop.test(correct=FALSE), rounded.
@pytest.mark.parametrize(
    ("right", "samples", "low", "high"),
    [(95, 100, 0.8882, 0.9785), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson(right: int, samples: int, low: float, high: float) -> None:
    assert metrics.wilson_interval95(right / samples, samples) == pytest.approx((low, high), abs=1e-4)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError):
        metrics.accuracy(np.array([]), np.array([]))
    with pytest.raises(DataError):
        metrics.agreement(np.array([1]), np.array([1, 2]))
