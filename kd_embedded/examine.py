"""Teacher and data, examined before anything is distilled: figures, and what they mean in plain sentences; NumPy alone.

``logits`` are float [N, C] of a teacher, ``labels`` int64 [N] in 0..C-1: samples without a label are left out before.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import metrics
from kd_embedded.config import DistillSpec

BINS = 15  # Guo et al. 2017, section 5
RIGHT = 0.99  # accuracy on training samples from which on a teacher may know their labels by heart
CONFIDENT = 0.99  # mean confidence on training samples from which on a teacher may have memorised them
CERTAIN = 0.05  # nats: their mean negative log-likelihood, likewise
_UNPICTURED = 8  # times as long as wide: no picture, but a time series
REPEATS = 0.01  # mean squared error on training samples for that on validation samples
GAP = 0.1  # from training to validation accuracy: beyond it, memorising needs no further proof
LITTLE = 0.1  # nats of the soft loss: what is left of it for a student that knows the labels
OVERCONFIDENT = 0.1  # mean confidence beyond accuracy on validation samples, if that is no chance
CHANCE = 0.05  # of the way from guessing (0) to all right (1)
IMBALANCE = 10.0  # samples of the largest class for one of the smallest
WRONG_SHARE = 0.01  # of the samples that a teacher is surest of, beyond what it doubts itself
SPREAD = 0.2  # of the share of mistakes among all samples: wrong labels leave it among those, too
SPLITS = {"train": "training", "unlabelled": "unlabelled", "val": "validation", "test": "test"}  # as sentences say it
_FEW = 5  # samples of a class below which nothing is said of how it is predicted
_FEWEST_WRONG = 3  # labels below which it may be chance
_NAMED = 4  # things, at most, that a sentence names
_WORST = 12
_EXAMPLES = 10
_PICTURE = 96  # pixels of a side, at most
_SERIES = 128  # values of a plot line, at most

Figures = dict[str, Any]
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def probabilities(logits: NDArray[Any], temperature: float = 1.0) -> Floats:
    """``softmax(logits / temperature)``, float64 [N, C]."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def figures(logits: NDArray[Any], labels: Labels) -> Figures:
    """Samples, accuracy, mean confidence, expected calibration error (ECE), mean negative log-likelihood in nats, bins.

    The ECE (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3) is the mean gap of accuracy and
    confidence over 15 bins ((m - 1) / 15, m / 15] of confidence, by their samples.
    """
    shares = probabilities(logits)
    right, confidence = metrics.predicted_classes(logits) == labels, shares.max(axis=1)
    bins = list(_bins(right, confidence))
    gaps = sum(entry["samples"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins if entry["samples"])
    return {
        "samples": len(labels),
        "accuracy": float(right.mean()),
        "confidence": float(confidence.mean()),
        "ece": float(gaps / len(labels)),
        "nll": metrics.cross_entropy(logits.astype(np.float64), labels),
        "bins": bins,
    }


def soft_targets(logits: NDArray[Any], labels: Labels, temperature: float) -> Figures:
    """How much ``softmax(logits / T)`` says: its mean ``entropy`` in nats, and ``beyond_labels``.

    ``beyond_labels`` is the soft loss ``T^2 * KL(soft || smoothed label)``, in nats, of the best that can be said from
    the label alone: for each class the label smoothed by its teacher's mean confidence, all others alike. A teacher
    that repeats the labels, however softened, leaves 0 there (what else there is are likenesses of classes and of
    samples: Hinton et al. 2015, section 1; Müller et al. 2019, "When Does Label Smoothing Help?", section 4).
    """
    soft = probabilities(logits, temperature)
    own = soft[np.arange(len(labels)), labels]
    counts = np.maximum(np.bincount(labels, minlength=soft.shape[1]), 1)
    means = np.bincount(labels, own, minlength=soft.shape[1]) / counts
    mean = np.clip(means, 1e-12, 1.0 - 1e-12)[labels]
    entropy = -(soft * np.log(np.maximum(soft, 1e-300))).sum(axis=1)
    smoothed = own * np.log(mean) + (1.0 - own) * np.log((1.0 - mean) / (soft.shape[1] - 1))
    beyond = temperature**2 * float((-entropy - smoothed).mean())
    return {"temperature": temperature, "entropy": float(entropy.mean()), "beyond_labels": max(0.0, beyond)}


def knows_by_heart(train: Mapping[str, Any], val: Mapping[str, Any]) -> bool:
    """Whether a teacher with these ``figures`` gives training samples their labels, and others clearly less often.

    It may be unsure of them all the same, as forests and networks trained with smoothed labels are.
    """
    _, at_most = metrics.wilson_interval95(val["accuracy"], val["samples"])
    return bool(train["accuracy"] >= RIGHT and at_most < train["accuracy"])


def repeats_labels(ensemble: Mapping[str, Any]) -> bool:
    """Whether a teacher that knows the training samples by heart says little else of them than their labels.

    That is so where its soft targets leave a student that knows the labels nothing to learn, or where it is certain of
    them and far worse on validation samples. Many good teachers are certain of what they were trained on, and still
    tell likenesses at a temperature: they are not meant.
    """
    train, val = ensemble["train"], ensemble["val"]
    certain = train["confidence"] >= CONFIDENT and train["nll"] <= CERTAIN
    far = certain and train["accuracy"] - val["accuracy"] > GAP
    return knows_by_heart(train, val) and bool(far or ensemble["soft_targets"]["beyond_labels"] < LITTLE)


def is_overconfident(val: Mapping[str, Any]) -> bool:
    """Whether a teacher with these ``figures`` of validation samples is far surer than it is right.

    Too little confidence is no harm: soft targets are softened anyway.
    """
    gap, error = val["confidence"] - val["accuracy"], 1.0 - val["accuracy"]
    return bool(gap >= max(OVERCONFIDENT, 3.0 * math.sqrt(val["accuracy"] * error / val["samples"])))


def taken_for(matrix: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs (label, teacher's class) of classes that do not line up, from counts [C, C] as in ``metrics.confusion``.

    More than half of the label's samples are given the other class, more than half of what is given that class has the
    label, and the samples with that other label are mostly given another: a permutation, whole or in part, and no mere
    confusion. The teacher's own mistakes do not hide it.
    """
    labelled, given = matrix.sum(axis=1), matrix.sum(axis=0)
    best = matrix.argmax(axis=1)
    return [
        (label, int(other))
        for label, other in enumerate(best)
        if other != label
        and (best[other] != other or not labelled[other])
        and labelled[label] >= _FEW
        and 2 * matrix[label, other] > labelled[label]
        and 2 * matrix[label, other] > given[other]
    ]


def lineup(matrix: NDArray[np.int64]) -> Figures:
    """How a teacher's classes and the labels line up, from counts [C, C].

    ``taken_for`` as above; ``as_read`` the accuracy if those classes were read so, else null; ``above_chance`` the mean
    recall between guessing (0) and all right (1), whatever the frequencies of the classes; ``never`` the classes that
    have samples and are never given.
    """
    pairs, counts = taken_for(matrix), matrix.sum(axis=1)
    recalls = matrix.diagonal()[counts > 0] / counts[counts > 0]
    guess = 1.0 / len(matrix)
    read = matrix.diagonal().copy()
    for label, other in pairs:
        read[label] = matrix[label, other]
    return {
        "taken_for": [list(pair) for pair in pairs],
        "as_read": float(read.sum() / matrix.sum()) if pairs else None,
        "above_chance": float((recalls.mean() - guess) / (1.0 - guess)),
        "never": np.flatnonzero((matrix.sum(axis=0) == 0) & (counts >= _FEW)).tolist(),
    }


def lines_up(found: Mapping[str, Any]) -> bool:
    """Whether a teacher with this ``lineup`` knows the labels' classes, and better than by guessing."""
    return not found["taken_for"] and found["above_chance"] > CHANCE


def asked_about(ensemble: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits whose labels a teacher can doubt.

    None where its classes do not line up or its confidence means little, and not "train" where it knows it by heart.
    """
    if repeats_labels(ensemble) or not lines_up(ensemble["lineup"]):
        return ()
    return ("val",) if knows_by_heart(ensemble["train"], ensemble["val"]) else ("train", "val")


def duplicates(x: NDArray[Any], y: Labels, splits: Mapping[str, Labels]) -> tuple[Figures, Figures]:
    """Samples with the same stored bytes: those within and between ``splits``, and those whose labels differ.

    ``splits`` are indices of ``x`` [N, ...] and of ``y``, by name, in the order of the pipeline. Labels of "test" are
    not read. "within" counts samples that repeat an earlier one of their split, "between" (as "train_val") those of the
    later split that stand in the earlier one; its examples are those between splits first, and have a sample of each
    split. "conflicts" counts inputs with several labels, and samples of them; its examples have one of each label.
    """
    found = {name: _by_content(x, indices) for name, indices in splits.items()}
    names = list(splits)
    within = {name: len(splits[name]) - len(contents) for name, contents in found.items()}
    between = {
        f"{one}_{other}": sum(len(members) for content, members in found[other].items() if content in found[one])
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }
    groups: dict[bytes, list[int]] = defaultdict(list)
    for name in names:
        for content, members in found[name].items():
            groups[content] += members
    copies = [sorted(members) for members in groups.values() if len(members) > 1]
    readable = np.zeros(len(x), np.bool_)
    for name in names:
        readable[splits[name]] = name != "test"
    conflicts = list(_conflicts(copies, y, readable))
    where = {index: place for place, name in enumerate(names) for index in splits[name].tolist()}
    several = sorted((_one_a_split(members, where) for members in copies), key=lambda found: (-found[0], found[1]))
    examples = [
        {"indices": members, "splits": [names[where[index]] for index in members]} for _, members in several[:_EXAMPLES]
    ]
    return {"within": within, "between": between, "examples": examples}, {
        "inputs": len(conflicts),
        "samples": sum(count for count, _ in conflicts),
        "examples": [example for _, example in conflicts[:_EXAMPLES]],
    }


def suspects(logits: NDArray[Any], labels: Labels) -> list[tuple[int, int, float]]:
    """Samples whose labels are likely wrong, the worst first: (position, the teacher's class, its confidence).

    Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", section 3.1): a sample counts as class j where its probability of j reaches the mean that the samples
    labelled j have; off the diagonal of that count its label is in doubt. Ranked by normalized margin, section 3.2.
    """
    shares = probabilities(logits)
    own = shares[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=shares.shape[1])
    sums = np.bincount(labels, own, minlength=shares.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(shares >= thresholds - 1e-12, shares, -1.0)
    other, confidence = confident.argmax(axis=1), confident.max(axis=1)
    doubted = np.flatnonzero((other != labels) & (confidence > own))
    order = doubted[np.argsort((own - confidence)[doubted], kind="stable")]
    return [(int(place), int(other[place]), float(confidence[place])) for place in order]


def worst(found: Mapping[str, Sequence[tuple[int, int, float]]], most: int = _WORST) -> list[tuple[str, int]]:
    """(split, rank) of the ``most`` most confident disagreements over all splits, the most confident first."""
    ranked = [(-entry[2], split, rank) for split, entries in found.items() for rank, entry in enumerate(entries)]
    return [(split, rank) for _, split, rank in sorted(ranked)[:most]]


def surest(logits: NDArray[Any], labels: Labels) -> Figures:
    """Of the half of the ``samples`` with the highest confidence: how many are ``wrong``, and ``expected`` to be, which
    is the sum of 1 - confidence; and ``error``, the share of all samples that are wrong.

    Samples that are hard to tell are not among them, wrong labels are as anywhere.
    """
    confidence = probabilities(logits).max(axis=1)
    wrong = metrics.predicted_classes(logits) != labels
    chosen = np.argsort(-confidence, kind="stable")[: len(labels) // 2]
    return {
        "samples": len(chosen),
        "wrong": int(wrong[chosen].sum()),
        "expected": float((1.0 - confidence[chosen]).sum()),
        "error": float(wrong.mean()),
    }


def labels_are_wrong(found: Mapping[str, Any]) -> bool:
    """Whether what a teacher is ``surest`` of speaks against labels, rather than against the teacher.

    More is wrong than its confidence and chance allow for, and mistakes hardly become fewer as it gets surer: those of
    an overconfident teacher do.
    """
    samples, wrong, expected = found["samples"], found["wrong"], found["expected"]
    beyond = wrong - expected >= max(WRONG_SHARE * samples, 3.0 * math.sqrt(expected))
    return bool(beyond and wrong >= _FEWEST_WRONG and wrong >= SPREAD * found["error"] * samples)


def picture(x: NDArray[Any], low: float, high: float) -> bytes | None:
    """An image [H, W, 1 or 3] as PNG, values from ``low`` (black) to ``high``, thinned to 96 pixels; else None.

    What is far longer than wide is none: series come as [T, F, 1], too.
    """
    if x.ndim != 3 or x.shape[2] not in (1, 3) or max(x.shape[:2]) > _UNPICTURED * min(x.shape[:2]):
        return None
    step = -(-max(x.shape[:2]) // _PICTURE)
    small = x[::step, ::step].astype(np.float64)
    values = np.clip(np.rint((small - low) * (255.0 / ((high - low) or 1.0))), 0, 255).astype(np.uint8)
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(body)) + kind + body + _crc(kind + body) for kind, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def series(x: NDArray[Any]) -> list[float]:
    """A sample that is no image as at most 128 of its values, evenly chosen, for a plot line: channel after channel."""
    flat = x.reshape(len(x), -1).T.reshape(-1).astype(np.float64)
    places = np.linspace(0, len(flat) - 1, min(len(flat), _SERIES)).round().astype(int)
    return [float(f"{value:.6g}") for value in flat[places]]


def warnings(document: Mapping[str, Any], class_names: Sequence[str], distill: DistillSpec) -> list[str]:
    """What of an examination should be acted upon, a sentence each with figures and what to do beside ``distill``."""
    return [
        *_teacher_warnings(document, class_names, distill),
        *_data_warnings(document["data"], class_names, distill.class_weights == "balanced"),
    ]


def number_warnings(document: Mapping[str, Any], distill: DistillSpec) -> list[str]:
    """As ``warnings``, where there are no classes: of losses, mean squared errors in the units of training."""
    return [*_number_warnings(document, distill), *_copy_warnings(document["data"])]


def _number_warnings(document: Mapping[str, Any], distill: DistillSpec) -> Iterator[str]:
    spread, probe = document["data"]["spread"], document["student_probe"]
    lost = [0.0 < spread <= each["val"]["loss"] for each in document["teachers"]]
    for each, is_lost, whose in zip(document["teachers"], lost, _whose(document), strict=True):
        if is_lost:
            yield (
                f"{whose} is no better than a constant: its mean squared error on validation samples is "
                f"{_ratio(each['val']['loss'], spread)} times the variance of what it should give: check the units "
                "of its outputs, and its inputs (input_scale, input_offset)."
            )
    whose, train, val = _together(document), *(document["ensemble"][name]["loss"] for name in ("train", "val"))
    if train < REPEATS * val:
        yield (
            f"{whose} has memorised the training samples: its mean squared error on them is "
            f"{_ratio(train, val)} times that on validation samples, so it says hardly more than their targets: "
            f"{_regularise(distill)}."
        )
    if probe and probe["val_loss"] <= val and not any(lost):
        yield (
            f"{whose} is no better than the student alone: its mean squared error on validation samples is "
            f"{_ratio(val, probe['val_loss'])} times that of the student trained on the targets alone for "
            f"{_epochs(probe)}: expect little of it. Use a better teacher, or compare with distill.alpha = 0."
        )


def _whose(document: Mapping[str, Any]) -> list[str]:
    """What sentences call each teacher."""
    teachers = document["teachers"]
    several = [f"Teacher {number} ({teacher['name']})" for number, teacher in enumerate(teachers, 1)]
    return several if len(teachers) > 1 else ["The teacher"]


def _together(document: Mapping[str, Any]) -> str:
    return "The ensemble" if len(document["teachers"]) > 1 else "The teacher"


def _regularise(distill: DistillSpec) -> str:
    """What to do about a teacher that has memorised its samples."""
    regularise = "regularise it (fewer epochs, augmentation, weight decay, a forest for a tree)"
    return regularise if distill.augments else f"{regularise}, or augment the inputs of the distillation"


def _teacher_warnings(document: Mapping[str, Any], names: Sequence[str], distill: DistillSpec) -> Iterator[str]:
    ensemble = document["ensemble"]
    for whose, teacher in zip(_whose(document), document["teachers"], strict=True):
        yield from _lineup_warnings(whose, teacher["lineup"], names)
    whose = _together(document)
    train, val, soft = ensemble["train"], ensemble["val"], ensemble["soft_targets"]
    if repeats_labels(ensemble):
        yield (
            f"{whose} has memorised the training samples: {_percent(train['accuracy'])} of them right with a mean "
            f"confidence of {_percent(train['confidence'])}, but {_percent(val['accuracy'])} of the validation samples "
            f"right. At temperature {soft['temperature']:g} its soft targets say {soft['beyond_labels']:.2f} nats more "
            f"than the labels: {_regularise(distill)}."
        )
    elif lines_up(ensemble["lineup"]) and is_overconfident(val):
        shape = ', or compare logits by their shape (distill.method = "kd_ls")'
        todo = "" if distill.method in ("kd_ls", "auto") else shape
        yield (
            f"{whose} is overconfident: {_percent(val['confidence'])} confident of the validation samples in the mean, "
            f"and {_percent(val['accuracy'])} right (ECE {_percent(val['ece'])}): calibrate it (label smoothing, "
            f"mixup, fewer epochs){todo}."
        )
    probe = document["student_probe"]
    if probe and probe["val_accuracy"] >= val["accuracy"] and lines_up(ensemble["lineup"]):
        yield (
            f"{whose} is no better than the student alone: {_percent(val['accuracy'])} of the validation samples right,"
            f" and the student trained on the labels alone had {_percent(probe['val_accuracy'])} after "
            f"{_epochs(probe)}: "
            "expect little of it. Use a better teacher, or compare with distill.alpha = 0."
        )


def _lineup_warnings(whose: str, found: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    if found["taken_for"]:
        pairs = [f"{names[label]!r} is called {names[other]!r}" for label, other in found["taken_for"]]
        yield (
            f"{whose} counts the classes in another order: {_listed(pairs)}. Read so, {_percent(found['as_read'])} of "
            "the labelled samples would be right: give its outputs, or the data's class names, the same order."
        )
    elif found["above_chance"] <= CHANCE:
        yield (
            f"{whose} is near chance: its mean recall is {_percent(max(0.0, found['above_chance']))} of the way from "
            "guessing to all right: check its inputs (input_scale, input_offset) and the order of its classes."
        )
    elif found["never"]:
        never = _listed([repr(names[label]) for label in found["never"]])
        plural = "these classes" if len(found["never"]) > 1 else "this class"
        yield (
            f"{whose} never gives {plural}: {never}. The student will learn the same: check that it was trained on all "
            "classes, or weigh them (class_weights)."
        )


def _data_warnings(data: Mapping[str, Any], names: Sequence[str], balanced: bool) -> Iterator[str]:
    counts = [entry["train"] for entry in data["classes"]]
    if data["imbalance"] >= IMBALANCE and not balanced:
        most, least = int(np.argmax(counts)), int(np.argmin(counts))
        yield (
            f"The classes are imbalanced: {counts[most]:,} training samples of {names[most]!r}, {counts[least]:,} of "
            f'{names[least]!r}: set class_weights = "balanced" in [distill], and in a Keras [[teacher]] trained here '
            '(in one of scikit-learn parameters = { class_weight = "balanced" }, if it has that), or add samples.'
        )
    unseen = [repr(entry["name"]) for entry in data["classes"] if not entry["val"]]
    if unseen:
        have, of = ("has", "it") if len(unseen) == 1 else ("have", "them")
        yield f"{_listed(unseen)} {have} no validation sample, so no figure of validation speaks of {of}: add samples."
    yield from _copy_warnings(data)
    conflicts = data["conflicts"]
    if conflicts["inputs"]:
        first = conflicts["examples"][0]
        example = [f"{place} is {names[label]!r}" for place, label in zip(first["names"], first["labels"], strict=True)]
        have = "input has" if conflicts["inputs"] == 1 else "inputs have"
        yield (
            f"{conflicts['inputs']:,} {have} more than one label, {conflicts['samples']:,} samples in all ("
            f"{_listed(example)}): correct or remove them."
        )
    for split, found in data["suspects"]["surest"].items():
        if labels_are_wrong(found):
            yield (
                f"Of the {found['samples']:,} {SPLITS[split]} samples that the teacher is surest of, "
                f"{found['wrong']:,} have another label, and its confidence allows for {found['expected']:,.1f}: "
                "labels are likely wrong, unless it is much too sure of itself. Look at the worst in the report, "
                "and correct them."
            )


def _copy_warnings(data: Mapping[str, Any]) -> Iterator[str]:
    """Samples of a split that stand in an earlier one too."""
    for pair, count in data["duplicates"]["between"].items():
        one, other = pair.split("_")
        if count and other != "unlabelled":
            yield (
                f"{count:,} of {data['samples'][other]:,} {SPLITS[other]} samples are exact copies of {SPLITS[one]} "
                f"samples, so accuracy on them is too good: keep copies in one split only{_such_as(one, other, data)}."
            )


def _such_as(one: str, other: str, data: Mapping[str, Any]) -> str:
    """The first example of a sample of the split ``one`` that stands in ``other``, if there is one."""
    for example in data["duplicates"]["examples"]:
        by_split = dict(zip(reversed(example["splits"]), reversed(example["names"]), strict=True))
        if one in by_split and other in by_split:
            return f" ({by_split[other]} is {by_split[one]})"
    return ""


def _bins(right: NDArray[np.bool_], confidence: Floats) -> Iterator[Figures]:
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    for place in range(BINS):
        inside = places == place
        filled = bool(inside.any())
        yield {
            "samples": int(inside.sum()),
            "accuracy": float(right[inside].mean()) if filled else None,
            "confidence": float(confidence[inside].mean()) if filled else None,
        }


def _by_content(x: NDArray[Any], indices: Labels) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = defaultdict(list)
    for index in indices.tolist():
        found[hashlib.blake2b(np.ascontiguousarray(x[index]).tobytes(), digest_size=16).digest()].append(index)
    return found


def _one_a_split(members: Sequence[int], where: Mapping[int, int]) -> tuple[int, list[int]]:
    """How many splits the samples ``members`` stand in, and some of them: one of each split first."""
    firsts = {where[index]: index for index in reversed(members)}
    chosen = [firsts[place] for place in sorted(firsts)]
    return len(firsts), [*chosen, *(index for index in members if index not in chosen)][:_NAMED]


def _conflicts(copies: Sequence[list[int]], y: Labels, readable: NDArray[np.bool_]) -> Iterator[tuple[int, Figures]]:
    """How many samples an input with several labels has, and one of each label."""
    for members in sorted(copies):
        told = [index for index in members if readable[index] and y[index] >= 0]
        firsts = {int(y[index]): index for index in reversed(told)}
        if len(firsts) > 1:
            yield len(told), {"indices": [firsts[label] for label in sorted(firsts)], "labels": sorted(firsts)}


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _epochs(probe: Mapping[str, Any]) -> str:
    return "1 epoch" if probe["epochs"] == 1 else f"{probe['epochs']} epochs"


def _ratio(value: float, of: float) -> str:
    return f"{value / of:.3g}" if of > 0 else "many"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _listed(words: Sequence[str]) -> str:
    shown = list(words[:_NAMED])
    if len(words) > _NAMED:
        shown.append(f"{len(words) - _NAMED} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
