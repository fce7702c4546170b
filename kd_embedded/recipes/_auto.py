"""Which recipe suits a student and its teachers: the rule of ``method = "auto"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OVERCONFIDENT = 0.95  # mean confidence on training samples: little is left for the other classes
FAR = 0.10  # accuracy between teacher and student
LARGER = 50.0  # parameters of the teacher for one of the student


def choose(examination: Mapping[str, Any], classes: int, parameters: int) -> tuple[str, str]:
    """The recipe's name, and why, for a student of so many ``parameters``; ``examination`` is examination.json.

    With two classes plain distillation is what there is. A teacher that is far ahead is matched by relations (DIST,
    Huang et al. 2022, figure 1: the better the teacher, the worse its exact logits are met). One that is nearly certain
    leaves the other classes next to no weight, which DKD (Zhao et al. 2022, section 3.2) gives back to them. Otherwise
    logits are compared by their shape alone (logit standardization, Sun et al. 2024).
    """
    if classes == 2:
        return "kd", "two classes"
    train, val = examination["ensemble"]["train"], examination["ensemble"]["val"]
    probe = examination.get("student_probe")
    ahead = val["accuracy"] - probe["val_accuracy"] if probe else 0.0
    sizes = [teacher["parameters"] for teacher in examination["teachers"]]
    ratio = sum(sizes) / parameters if all(sizes) else 0.0
    if ahead >= FAR and ratio >= LARGER:
        return "dist", (
            f"the teacher is {100 * ahead:.0f} points ahead of the student's probe and {ratio:.0f} times its size"
        )
    if train["confidence"] >= OVERCONFIDENT:
        return "dkd", f"the teacher is {100 * train['confidence']:.1f} % confident of the training samples"
    return "kd_ls", f"the teacher's confidence on the training samples is moderate, {100 * train['confidence']:.1f} %"
