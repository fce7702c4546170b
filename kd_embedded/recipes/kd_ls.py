"""Sun, Ren, Li, Wang and Cao, CVPR 2024, "Logit Standardization in Knowledge Distillation", section 4.

Plain distillation (kd) on logits whose rows are brought to mean 0 and standard deviation 1, so that a small student
need not reach the teacher's range. Soft loss, with T the base temperature and z the standardized logits::

    weight * T^2 KL(softmax(z_teacher / T) || softmax(z_student / T))

As in the authors' repository (sunshangquan/logit-standardization-KD) the deviation is the unbiased one, over C - 1.

Their losses weigh 0.1 (labels) and 9 (teacher) at a base temperature of 2: that is alpha = 0.9 and weight = 10 here. At
alpha = 0.7 they weigh 0.3 and 7. The base temperature stands in for ``distill.temperature``, which is not read:
z-scores have one range whatever the logits had, and at T = 4 ten classes would be nearly alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded.recipes import Batch, kd

PARAMETERS: Mapping[str, float] = {"base_temperature": 2.0, "weight": 10.0}
POSITIVE = ("base_temperature",)
FEATURES = False
TWO_CLASSES = "standardized logits of two classes differ in sign only"

_LEAST_DEVIATION = 1e-2  # the gradient goes with its inverse: a student whose logits are all alike would leap


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N]."""
    temperature = parameters["base_temperature"]
    divergence = kd.divergence(standardize(batch.teacher) / temperature, standardize(batch.student) / temperature)
    return parameters["weight"] * temperature**2 * divergence


def standardize(logits: Any) -> Any:
    """float32 [N, C] of float32 [N, C]: each row less its mean, over its deviation (0.01 at least)."""
    import tensorflow as tf

    centred = logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
    variance = tf.reduce_sum(tf.square(centred), axis=-1, keepdims=True) / (logits.shape[-1] - 1)
    return centred / tf.sqrt(tf.maximum(variance, _LEAST_DEVIATION**2))
