"""Zhao, Cui, Song, Qiu and Liang, CVPR 2022, "Decoupled Knowledge Distillation", section 3.

The divergence of plain distillation is the sum of one between (target, all others), and one among the others that is
weighted by 1 - p(target) of the teacher, so a confident teacher says little about them. Here each has its own weight::

    warmup(progress) * T^2 (alpha * KL_target + beta * KL_others)

T is ``distill.temperature`` (4 in the paper too). ``warmup`` is the share of the epochs over which the loss fades in,
in the authors' repository (megvii-research/mdistiller) 20 of 240. They set alpha = 1, and beta from 8 for a confident
teacher down to 0.5; the default here, 2, is theirs of the smallest pair, ResNet-56 to ResNet-20. Their labels weigh 1:
``distill.alpha`` = 0.5 is half their total, and 0.7 acts as an alpha of 2.3 and a beta of 4.7 there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded.recipes import Batch, kd

PARAMETERS: Mapping[str, float] = {"alpha": 1.0, "beta": 2.0, "warmup": 20 / 240}
FEATURES = False
TWO_CLASSES = "there is only one class besides the target, so nothing is left to decouple"

_NEVER = -1e30  # a logit of probability 0 whose gradient is 0, not NaN as that of -infinity


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N]; ``batch.labels`` are the targets."""
    import tensorflow as tf

    targets = tf.one_hot(batch.labels, batch.student.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    teacher_odds, teacher_others = _decouple(batch.teacher / batch.temperature, targets)
    student_odds, student_others = _decouple(batch.student / batch.temperature, targets)
    loss = parameters["alpha"] * _binary_divergence(teacher_odds, student_odds)
    loss += parameters["beta"] * kd.divergence(teacher_others, student_others)
    warm = tf.minimum(batch.progress / parameters["warmup"], 1.0) if parameters["warmup"] else 1.0
    return warm * batch.temperature**2 * loss


def _decouple(logits: Any, targets: Any) -> tuple[Any, Any]:
    """The log odds of the target against all others, float32 [N], and the logits without the target, [N, C]."""
    import tensorflow as tf

    others = tf.where(targets, _NEVER, logits)
    target = tf.reduce_sum(tf.where(targets, logits, 0.0), axis=-1)
    return target - tf.reduce_logsumexp(others, axis=-1), others


def _binary_divergence(teacher_odds: Any, student_odds: Any) -> Any:
    """KL between the distributions (p, 1 - p) of two log odds."""
    import tensorflow as tf

    def term(sign: float) -> Any:
        log_teacher, log_student = tf.math.log_sigmoid(sign * teacher_odds), tf.math.log_sigmoid(sign * student_odds)
        return tf.exp(log_teacher) * (log_teacher - log_student)

    return term(1.0) + term(-1.0)
