"""Teacher and data examined: closed forms, and planted faults that are found where honest ones are not accused."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_embedded import examine, metrics
from kd_embedded.config import DistillSpec

_NAMES = ("ant", "bee", "cow", "dog")


def _logits(confidence: NDArray[np.float64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Logits whose softmax gives ``confidence`` to the class ``predicted``, and the rest evenly to the others."""
    shares = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    shares[np.arange(len(predicted)), predicted] = confidence
    return np.log(shares)


def _blobs(samples: int, noise: float, seed: int, classes: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits of a calibrated teacher: the exact log-posterior of Gaussian blobs; and labels."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(1).normal(size=(classes, 6))
    labels = np.arange(samples) % classes
    points = centers[labels] + noise * generator.normal(size=(samples, 6))
    return -((points[:, None] - centers) ** 2).sum(-1) / (2 * noise**2), labels


def test_the_ece_of_constructed_confidences() -> None:
    # 60 samples at 0.9, of which 45 are right; 40 at 0.62, of which 32 are: |0.75 - 0.9| * 0.6 + |0.8 - 0.62| * 0.4.
    confidence = np.repeat([0.9, 0.62], [60, 40])
    predicted = np.zeros(100, np.int64)
    labels = np.repeat([0, 1, 0, 1], [45, 15, 32, 8])
    found = examine.figures(_logits(confidence, predicted, 3), labels)
    assert found["ece"] == pytest.approx(0.15 * 0.6 + 0.18 * 0.4)
    assert found["accuracy"] == pytest.approx(0.77)
    assert found["confidence"] == pytest.approx(0.9 * 0.6 + 0.62 * 0.4)
    nll = [-math.log(0.9)] * 45 + [-math.log(0.05)] * 15 + [-math.log(0.62)] * 32 + [-math.log(0.19)] * 8
    assert found["nll"] == pytest.approx(np.mean(nll))
    assert [entry["samples"] for entry in found["bins"]] == [0] * 9 + [40] + [0] * 3 + [60] + [0]
    assert found["bins"][9] == {"samples": 40, "accuracy": 0.8, "confidence": pytest.approx(0.62)}


def test_a_bin_holds_its_upper_edge_and_certainty_the_last() -> None:
    confidence = np.array([1.0, 0.8, 0.8000001, 0.3])
    with np.errstate(divide="ignore"):
        logits = np.maximum(_logits(confidence, np.zeros(4, np.int64), 5), -1e4)
    counts = [entry["samples"] for entry in examine.figures(logits, np.zeros(4, np.int64))["bins"]]
    assert [place for place, count in enumerate(counts) if count] == [4, 11, 12, 14]


def test_a_calibrated_teacher_has_a_small_ece_and_an_overconfident_one_a_large() -> None:
    logits, labels = _blobs(8000, 1.5, 3)
    assert examine.figures(logits, labels)["ece"] < 0.02
    assert examine.figures(3 * logits, labels)["ece"] > 0.1


def test_soft_targets_that_repeat_the_labels_say_nothing_beyond_them() -> None:
    labels = np.arange(40) % 4
    alike = _logits(np.full(40, 0.97), labels, 4)
    found = examine.soft_targets(alike, labels, 4.0)
    assert found["beyond_labels"] == pytest.approx(0.0, abs=1e-9) and found["entropy"] > 1.0
    # Two thirds of what a class leaves go to one other class: KL to an even share, in closed form at T = 1.
    shares = np.tile([0.7, 0.2, 0.05, 0.05], (40, 1))
    shares = np.stack([np.roll(row, label) for row, label in zip(shares, labels, strict=True)])
    found = examine.soft_targets(np.log(shares), labels, 1.0)
    assert found["beyond_labels"] == pytest.approx(0.2 * math.log(0.2 / 0.1) + 0.1 * math.log(0.05 / 0.1))
    assert found["entropy"] == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.05, 0.05)))
    assert examine.soft_targets(1e4 * np.eye(4)[labels], labels, 1.0)["beyond_labels"] == pytest.approx(0, abs=1e-9)


def test_permuted_classes_are_found_whole_and_in_part() -> None:
    labels = np.arange(400) % 4
    order = np.array([2, 0, 3, 1])
    noisy = np.where(np.random.default_rng(0).random(400) < 0.2, (labels + 1) % 4, labels)
    whole = examine.lineup(metrics.confusion(order[noisy], labels, 4))
    assert whole["taken_for"] == [[0, 2], [1, 0], [2, 3], [3, 1]]
    assert whole["as_read"] == pytest.approx(np.mean(noisy == labels))
    swapped = examine.lineup(metrics.confusion(np.array([0, 2, 1, 3])[noisy], labels, 4))
    assert swapped["taken_for"] == [[1, 2], [2, 1]] and not examine.lines_up(swapped)
    honest = examine.lineup(metrics.confusion(noisy, labels, 4))
    assert honest["taken_for"] == [] and honest["as_read"] is None and honest["never"] == []
    assert examine.lines_up(honest)
    agreed = {"accuracy": 0.8, "confidence": 0.8, "nll": 0.5, "samples": 400}
    teacher = {"train": agreed, "val": agreed, "soft_targets": {"beyond_labels": 1.0}}
    assert examine.asked_about({**teacher, "lineup": swapped}) == ()
    assert examine.asked_about({**teacher, "lineup": honest}) == ("train", "val")


def test_chance_and_classes_that_are_never_given() -> None:
    labels = np.repeat(np.arange(4), [700, 100, 100, 100])
    constant = examine.lineup(metrics.confusion(np.zeros(1000, np.int64), labels, 4))
    assert constant["above_chance"] == pytest.approx(0.0) and constant["never"] == [1, 2, 3]
    assert constant["taken_for"] == [] and not examine.lines_up(constant)
    lazy = examine.lineup(metrics.confusion(np.where(labels == 2, 0, labels), labels, 4))
    assert lazy["above_chance"] == pytest.approx((0.75 - 0.25) / 0.75) and lazy["never"] == [2]
    assert lazy["taken_for"] == []  # most of what is called 0 is 0
    alarmed = examine.lineup(np.array([[20, 0], [240, 160]]))  # false alarms on most of the noise, and no miss
    assert alarmed["taken_for"] == []
    renamed = examine.lineup(np.array([[0, 20, 0], [0, 0, 0], [0, 0, 20]]))  # nothing is labelled as what is given
    assert renamed["taken_for"] == [[0, 1]]


def test_copies_within_and_between_splits_and_labels_that_contradict_each_other() -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), dtype=np.uint8)
    x[3] = x[7] = x[1]  # three times in training
    x[12] = x[2]  # validation, of training
    x[21] = x[22] = x[11]  # test, of validation
    x[25] = x[0]  # test, of training
    y = np.zeros(30, np.int64)
    y[7], y[21], y[25] = 2, 3, 3
    splits = {"train": np.arange(10), "val": np.arange(10, 20), "test": np.arange(20, 30)}
    copies, conflicts = examine.duplicates(x, y, splits)
    assert copies["within"] == {"train": 2, "val": 0, "test": 1}
    assert copies["between"] == {"train_val": 1, "train_test": 1, "val_test": 2}
    assert copies["examples"] == [
        {"indices": [0, 25], "splits": ["train", "test"]},
        {"indices": [2, 12], "splits": ["train", "val"]},
        {"indices": [11, 21, 22], "splits": ["val", "test", "test"]},
        {"indices": [1, 3, 7], "splits": ["train", "train", "train"]},
    ]
    # Labels of test samples are not read: 21 and 25 contradict theirs unseen.
    assert conflicts == {"inputs": 1, "samples": 3, "examples": [{"indices": [1, 7], "labels": [0, 2]}]}


def test_an_unlabelled_copy_contradicts_nobody() -> None:
    x, y = np.zeros((3, 5), np.float32), np.array([1, -1, 1])
    splits = {"train": np.array([0, 2]), "unlabelled": np.array([1]), "val": np.array([], np.int64)}
    copies, conflicts = examine.duplicates(x, y, splits)
    assert copies["between"]["train_unlabelled"] == 1 and conflicts["inputs"] == 0


def test_planted_wrong_labels_are_found_and_right_ones_left_alone() -> None:
    logits, labels = _blobs(1200, 0.3, 5)
    planted = np.random.default_rng(2).choice(1200, 60, replace=False)
    given = labels.copy()
    given[planted] = (given[planted] + 1) % 4
    found, sure = examine.suspects(logits, given), examine.surest(logits, given)
    places = {place for place, _, _ in found}
    assert len(places & set(planted.tolist())) >= 57 and len(places - set(planted.tolist())) <= 6
    assert sure["samples"] == 600 and sure["wrong"] == len(set(_surest(logits)[:600]) & set(planted.tolist())) > 18
    assert sure["expected"] < 0.1 and examine.labels_are_wrong(sure)
    assert all(other == labels[place] for place, other, _ in found if place in planted)
    shares = examine.probabilities(logits)
    margins = [shares[place, given[place]] - confidence for place, _, confidence in found]
    assert margins == sorted(margins)
    assert len(examine.suspects(logits, labels)) <= 6 and examine.surest(logits, labels)["wrong"] == 0


def _surest(logits: NDArray[np.float64]) -> list[int]:
    order: list[int] = np.argsort(-examine.probabilities(logits).max(1), kind="stable").tolist()
    return order


def test_a_weak_teacher_is_wrong_as_often_as_it_says() -> None:
    """Many of its mistakes are labels in doubt by the rule, and none of them speaks against the labels."""
    logits, labels = _blobs(8000, 1.0, 3)
    sure = examine.surest(logits, labels)
    assert len(examine.suspects(logits, labels)) > 1000
    assert sure["wrong"] > 500 and sure["expected"] == pytest.approx(sure["wrong"], abs=0.01 * sure["samples"])
    assert not examine.labels_are_wrong(sure)


def test_mistakes_that_fade_as_an_overconfident_teacher_gets_surer_are_its_own() -> None:
    logits, labels = _blobs(8000, 0.6, 3)
    sure = examine.surest(2 * logits, labels)
    assert sure["wrong"] > 40 > 10 * sure["expected"] and not examine.labels_are_wrong(sure)
    wrong = np.where(np.random.default_rng(1).random(8000) < 0.04, (labels + 1) % 4, labels)
    assert examine.labels_are_wrong(examine.surest(2 * logits, wrong))


def test_the_confident_joint_by_hand() -> None:
    # Thresholds: mean own probability of class 0 is (0.9 + 0.7 + 0.2) / 3 = 0.6, of class 1 (0.8 + 0.4) / 2 = 0.6.
    shares = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1, 1])
    found = examine.suspects(np.log(shares), labels)
    assert [(place, other) for place, other, _ in found] == [(2, 1), (4, 0)]
    unsure = np.array([[0.9, 0.1], [0.7, 0.3], [0.45, 0.55], [0.2, 0.8], [0.4, 0.6]])
    assert examine.suspects(np.log(unsure), labels) == []  # 0.55 is below the threshold 0.7 of class 1
    assert examine.worst({"train": [(0, 1, 0.7)], "val": [(5, 0, 0.9), (6, 0, 0.6)]}, 2) == [("val", 0), ("train", 0)]


def test_pictures_are_png_of_the_right_values() -> None:
    from PIL import Image

    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    png = examine.picture(x, 0.0, 23.0)
    assert png is not None
    read = np.asarray(Image.open(io.BytesIO(png)))
    assert read.shape == (2, 4, 3) and np.array_equal(read, np.rint(x * 255 / 23).astype(np.uint8))
    gray = examine.picture(np.arange(200 * 100, dtype=np.float32).reshape(200, 100, 1), 0.0, 19999.0)
    assert gray is not None
    assert Image.open(io.BytesIO(gray)).size == (34, 67)
    assert examine.picture(np.zeros((4, 4, 2)), 0.0, 1.0) is None
    assert examine.picture(np.zeros((128, 3, 1)), 0.0, 1.0) is None  # three channels of a time series
    assert examine.series(np.array([[[1.0], [2.0]], [[3.0], [4.0]]])) == [1.0, 3.0, 2.0, 4.0]  # one after the other
    assert examine.series(np.arange(1000.0))[::127] == [0.0, 999.0] and examine.series(np.array([[1.5, 2.0]])) == [
        1.5,
        2,
    ]


def _document(
    logits: dict[str, NDArray[np.float64]], labels: dict[str, NDArray[np.int64]], **changes: Any
) -> dict[str, Any]:
    """An examination as the stage makes it, of one teacher on clean, balanced data."""
    predicted = np.concatenate([metrics.predicted_classes(logits[name]) for name in logits])
    matrix = metrics.confusion(predicted, np.concatenate([labels[name] for name in logits]), 4)
    teacher = {
        **{name: examine.figures(logits[name], labels[name]) for name in logits},
        "lineup": examine.lineup(matrix),
    }
    soft = examine.soft_targets(logits["train"], labels["train"], 4.0)
    ensemble = {**teacher, "soft_targets": soft}
    asked = examine.asked_about(ensemble)
    sure = {name: examine.surest(logits[name], labels[name]) for name in asked}
    data = {
        "samples": {"train": 800, "unlabelled": 0, "val": 200, "test": 200},
        "classes": [{"name": name, "train": 200, "val": 50} for name in _NAMES],
        "imbalance": 1.0,
        "duplicates": {"within": {}, "between": {"train_val": 0, "train_test": 0}, "examples": []},
        "conflicts": {"inputs": 0, "samples": 0, "examples": []},
        "suspects": {"surest": sure},
    }
    return {
        "teachers": [{"name": "cnn", "parameters": 10, **teacher}],
        "ensemble": ensemble,
        "student_probe": changes.pop("student_probe", {"epochs": 10, "val_accuracy": 0.5}),
        "data": {**data, **changes},
    }


def _honest(**changes: Any) -> dict[str, Any]:
    train, val = _blobs(800, 0.6, 5), _blobs(200, 0.6, 6)
    return _document({"train": train[0], "val": val[0]}, {"train": train[1], "val": val[1]}, **changes)


def _warnings(document: dict[str, Any], **distill: Any) -> str:
    return "\n".join(examine.warnings(document, _NAMES, DistillSpec(**distill)))


def test_an_honest_teacher_on_clean_data_is_not_warned_of() -> None:
    assert _warnings(_honest()) == ""
    assert _warnings(_honest(student_probe=None)) == ""


def test_a_certain_teacher_is_not_accused_where_validation_agrees() -> None:
    train, val = _blobs(800, 0.15, 5), _blobs(200, 0.15, 6)
    document = _document({"train": train[0], "val": val[0]}, {"train": train[1], "val": val[1]})
    assert document["ensemble"]["train"]["nll"] < 1e-3
    assert _warnings(document) == ""


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_a_teacher_that_has_memorised_its_samples_is_warned_of(noise: float) -> None:
    """It repeats the training labels with certainty; on validation samples it errs 6 % of the time, or 30 %."""
    labels, val_labels = np.arange(800) % 4, np.arange(200) % 4
    wrong = np.arange(200) % 50 < (3 if noise == 0.02 else 15)
    val = 60.0 * np.eye(4)[np.where(wrong, (val_labels + 1) % 4, val_labels)]
    document = _document({"train": 60.0 * np.eye(4)[labels], "val": val}, {"train": labels, "val": val_labels})
    text = _warnings(document)
    assert "The teacher has memorised the training samples: 100.00 % of them right" in text
    assert examine.asked_about(document["ensemble"]) == ()
    assert f"but {100 * (1 - wrong.mean()):.2f} % of the validation samples right" in text
    assert "At temperature 4 its soft targets say 0.00 nats more than the labels: regularise it" in text
    assert text.endswith("a forest for a tree), or augment the inputs of the distillation.")
    assert len(text.splitlines()) == 1
    assert _warnings(document, augment_shift=1).endswith("a forest for a tree).")


def test_labels_that_were_smoothed_do_not_hide_that_a_teacher_repeats_them() -> None:
    """A network trained with smoothed labels repeats them without certainty; on validation samples it errs."""
    labels, val_labels = np.arange(800) % 4, np.arange(200) % 4
    wrong = np.arange(200) % 10 < 3
    train = _logits(np.full(800, 0.91), labels, 4)
    val = _logits(np.full(200, 0.74), np.where(wrong, (val_labels + 1) % 4, val_labels), 4)
    document = _document({"train": train, "val": val}, {"train": labels, "val": val_labels})
    assert "has memorised the training samples: 100.00 % of them right with a mean confidence of 91.00 %" in _warnings(
        document
    )


def test_who_knows_wrong_labels_by_heart_is_not_asked_about_them() -> None:
    """A forest trained on samples with wrong labels gives all of them back, and is not certain of any."""
    labels, val_labels = np.arange(800) % 4, np.arange(200) % 4
    given = np.where(np.arange(800) % 20 == 0, (labels + 1) % 4, labels)
    like = (given + np.random.default_rng(0).integers(1, 4, 800)) % 4
    train = np.log(0.6 * np.eye(4)[given] + 0.3 * np.eye(4)[like] + 0.025)
    wrong = np.arange(200) % 25 == 0
    val = _logits(np.full(200, 0.8), np.where(wrong, (val_labels + 1) % 4, val_labels), 4)
    document = _document({"train": train, "val": val}, {"train": given, "val": val_labels})
    assert not examine.repeats_labels(document["ensemble"])
    assert examine.asked_about(document["ensemble"]) == ("val",)


def test_memorised_samples_whose_soft_targets_still_tell_are_no_warning() -> None:
    """As a good teacher of photographs is: right and certain in training, 94 % right otherwise, likenesses in T = 4."""
    labels, val_labels = np.arange(800) % 4, np.arange(200) % 4
    likeness = 9.0 * np.eye(4) + 5.0 * np.roll(np.eye(4), 1, axis=1)
    wrong = np.arange(200) % 50 < 3
    val = np.where(wrong, 0.3, 1.0)[:, None] * likeness[np.where(wrong, (val_labels + 1) % 4, val_labels)]
    document = _document({"train": 1.5 * likeness[labels], "val": val}, {"train": labels, "val": val_labels})
    assert examine.knows_by_heart(document["ensemble"]["train"], document["ensemble"]["val"])
    assert document["ensemble"]["soft_targets"]["beyond_labels"] > 1.0
    assert examine.asked_about(document["ensemble"]) == ("val",)
    assert _warnings(document) == ""


@pytest.mark.parametrize(
    ("samples", "sharper", "told"), [(400, 4.0, True), (400, 1.0, False), (400, 0.2, False), (20, 4.0, False)]
)
def test_a_teacher_that_is_surer_than_right_is_told(samples: int, sharper: float, told: bool) -> None:
    """Of 400 samples 30 % are wrong, by logits that say so; sharper ones do not. Of 20 it may be chance."""
    labels = np.arange(samples) % 4
    right = np.arange(samples) % 20 >= 6
    logits = sharper * np.log([0.7, 0.1, 0.1, 0.1])
    given = np.array(
        [
            np.roll(logits, label + (not hit) * (1 + i % 3))
            for i, (label, hit) in enumerate(zip(labels, right, strict=True))
        ]
    )
    document = _document({"train": given, "val": given}, {"train": labels, "val": labels})
    text = _warnings(document)
    assert (
        "The teacher is overconfident: 99.88 % confident of the validation samples in the mean, and 70.00 %" in text
    ) is told
    assert ("overconfident" in text) is told
    assert examine.is_overconfident(document["ensemble"]["val"]) is told


def test_a_student_that_reaches_the_teacher_alone_is_told() -> None:
    reached = _honest()["ensemble"]["val"]["accuracy"]
    text = _warnings(_honest(student_probe={"epochs": 10, "val_accuracy": reached}))
    assert text.startswith(f"The teacher is no better than the student alone: {100 * reached:.2f} % of the validation")
    assert f"had {100 * reached:.2f} % after 10 epochs: expect little of it." in text
    assert _warnings(_honest(student_probe={"epochs": 1, "val_accuracy": reached - 0.005})) == ""
    swapped = _honest(student_probe={"epochs": 1, "val_accuracy": 1.0})
    swapped["ensemble"]["lineup"] = {"taken_for": [[0, 1], [1, 0]], "above_chance": 0.3}
    assert _warnings(swapped) == ""  # that it is in another order is told of the teacher


def _numbers(train: float, val: float, **changes: Any) -> dict[str, Any]:
    """An examination of one teacher of a regression, by its losses, where the targets' variance is 1."""
    figures = {"train": {"loss": train}, "val": {"loss": val}}
    return {
        "teachers": [{"name": "own", "parameters": None, **figures}],
        "ensemble": figures,
        "student_probe": {"epochs": 1, "val_loss": 0.9},
        "data": {"spread": 1.0, "samples": {}, "duplicates": {"between": {}, "examples": []}},
        **changes,
    }


def test_faults_of_a_teacher_of_numbers_are_told() -> None:
    def told(document: dict[str, Any], **distill: Any) -> list[str]:
        return examine.number_warnings(document, DistillSpec(**distill))

    assert told(_numbers(0.2, 0.3)) == told(_numbers(0.2, 0.3, student_probe=None)) == []
    (text,) = told(_numbers(4.4, 4.5))
    assert text.startswith("The teacher is no better than a constant: its mean squared error on validation samples is ")
    assert "4.5 times the variance of what it should give: check the units" in text
    (text,) = told(_numbers(0.001, 0.5))
    assert text.startswith("The teacher has memorised the training samples: its mean squared error on them is 0.002 ")
    assert text.endswith("or augment the inputs of the distillation.")
    (text,) = told(_numbers(0.9, 0.95))
    assert (
        "no better than the student alone: its mean squared error on validation samples is 1.06 times that of" in text
    )
    assert "on the targets alone for 1 epoch" in text
    assert told(_numbers(0.0, 0.0, data={**_numbers(0, 0)["data"], "spread": 0.0})) == []


def test_classes_out_of_line_are_named() -> None:
    document = _honest()
    whole = {**document["teachers"][0], "lineup": {"taken_for": [[0, 2], [2, 0]], "as_read": 0.97, "above_chance": 0.3}}
    text = _warnings({**document, "teachers": [whole]})
    assert text.startswith("The teacher counts the classes in another order: 'ant' is called 'cow' and 'cow' is called")
    assert "Read so, 97.00 % of the labelled samples would be right" in text
    guessing = {**document["teachers"][0], "lineup": {"taken_for": [], "above_chance": 0.01, "never": [1]}}
    named = {**document["teachers"][0], "name": "mlp"}
    text = _warnings({**document, "teachers": [named, guessing]})
    assert text.startswith("Teacher 2 (cnn) is near chance: its mean recall is 1.00 % of the way from guessing")
    lazy = {**document["teachers"][0], "lineup": {"taken_for": [], "above_chance": 0.6, "never": [1, 3]}}
    assert "The teacher never gives these classes: 'bee' and 'dog'." in _warnings({**document, "teachers": [lazy]})


def test_what_is_wrong_with_the_data_is_told_with_its_figures() -> None:
    classes = [
        {"name": name, "train": count, "val": 50} for name, count in zip(_NAMES, (990, 200, 90, 99), strict=True)
    ]
    rare = _honest(classes=classes, imbalance=11.0)
    assert "990 training samples of 'ant', 90 of 'cow': set class_weights" in _warnings(rare)
    assert _warnings(rare, class_weights="balanced") == ""
    classes[1]["val"] = classes[3]["val"] = 0
    told = "'bee' and 'dog' have no validation sample, so no figure of validation speaks of them: add samples."
    assert _warnings(_honest(classes=classes)) == told
    between = {"train_unlabelled": 7, "train_val": 0, "train_test": 12}
    examples = [
        {"splits": ["train", "train"], "names": ["a", "b"]},
        {"splits": ["train", "test", "test"], "names": ["c", "d", "e"]},
    ]
    text = _warnings(_honest(duplicates={"within": {"train": 3}, "between": between, "examples": examples}))
    assert text == (
        "12 of 200 test samples are exact copies of training samples, so accuracy on them is too good: "
        "keep copies in one split only (d is c)."
    )
    examples = [{"names": ["x_train[3]", "x_train[9]"], "labels": [0, 1]}]
    text = _warnings(_honest(conflicts={"inputs": 1, "samples": 2, "examples": examples}))
    assert text.startswith(
        "1 input has more than one label, 2 samples in all (x_train[3] is 'ant' and x_train[9] is 'bee'): correct"
    )
    sure = {"samples": 100, "wrong": 4, "expected": 0.75, "error": 0.06}
    text = _warnings(_honest(suspects={"surest": {"val": sure}}))
    assert text.startswith(
        "Of the 100 validation samples that the teacher is surest of, 4 have another label, and its "
    )
    assert "confidence allows for 0.8: labels are likely wrong" in text


def test_chance_and_hard_samples_are_no_wrong_labels() -> None:
    wrong = {"samples": 100, "wrong": 4, "expected": 0.75, "error": 0.06}
    assert examine.labels_are_wrong(wrong)
    assert not examine.labels_are_wrong({**wrong, "expected": 1.1})  # within three standard deviations
    assert not examine.labels_are_wrong({**wrong, "wrong": 2, "expected": 0.0})
    assert not examine.labels_are_wrong({**wrong, "error": 0.21})
    assert not examine.labels_are_wrong({**wrong, "samples": 500, "error": 0.01})
