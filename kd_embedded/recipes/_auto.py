"""Which recipe suits a student and its teachers: the rule of ``method = "auto"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded.examine import is_overconfident

LARGER = 50.0  # parameters of the teachers for one of the student
SURE = 0.8  # mean confidence on training samples


def choose(examination: Mapping[str, Any], classes: int, parameters: int) -> tuple[str, str]:
    """The recipe's name, and why, for a student of so many ``parameters``; ``examination`` is examination.json.

    With two classes plain distillation is what there is. A much smaller student cannot reach the range of its teacher's
    logits; that of a teacher which is sure of its training samples says little, and that of one which is far surer than
    right misleads: then logits are compared by their shape alone (logit standardization, Sun et al. 2024, section 3.3).
    Else soft targets are soft and calibrated as they are, and plain distillation takes them.
    """
    if classes == 2:
        return "kd", "two classes"
    sizes = [teacher["parameters"] for teacher in examination["teachers"]]
    confidence = examination["ensemble"]["train"]["confidence"]
    sure = f"the teacher is {100 * confidence:.1f} % confident of the training samples"
    if confidence >= SURE:
        return "kd_ls", sure
    val = examination["ensemble"]["val"]
    if is_overconfident(val):
        shares = f"{100 * val['confidence']:.1f} % confident of validation samples, {100 * val['accuracy']:.1f} % right"
        return "kd_ls", f"the teacher is overconfident: {shares}"
    if not all(sizes):
        return "kd", f"{sure}, and of unknown size"
    ratio = sum(sizes) / parameters
    if ratio >= LARGER:
        return "kd_ls", f"the teacher has {ratio:.0f} times the student's parameters"
    return "kd", f"{sure}, and has {ratio:.0f} times the student's parameters"
