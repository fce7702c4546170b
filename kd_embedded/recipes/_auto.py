"""Which recipe suits a student and its teachers: the rule of ``method = "auto"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGER = 300.0  # parameters of the teachers for one of the student
UNSURE = 0.8  # mean confidence on training samples


def choose(examination: Mapping[str, Any], classes: int, parameters: int) -> tuple[str, str]:
    """The recipe's name, and why, for a student of so many ``parameters``; ``examination`` is examination.json.

    With two classes plain distillation is what there is. So it is where the capacity gap is wide (Mirzadeh et al. 2020,
    section 3): a student of some hundred parameters cannot take on the shape of its teacher's logits, and loses by
    trying (docs/STUDENTS.md, the DS-CNN of digits). A teacher that is unsure has soft targets that are soft as they
    are. Otherwise the scale of its logits says little, and they are compared by their shape alone (logit
    standardization, Sun et al. 2024, section 3).
    """
    if classes == 2:
        return "kd", "two classes"
    sizes = [teacher["parameters"] for teacher in examination["teachers"]]
    ratio = sum(sizes) / parameters if all(sizes) else 0.0
    if ratio >= LARGER:
        return "kd", f"the teacher has {ratio:.0f} times the student's parameters"
    confidence = examination["ensemble"]["train"]["confidence"]
    told = f"the teacher is {100 * confidence:.1f} % confident of the training samples"
    return ("kd", f"{told}, so its soft targets are soft as they are") if confidence < UNSURE else ("kd_ls", told)
