"""Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?", section 2: the student regresses the teacher's logits.

Soft loss: half the mean over the outputs of ``(student - teacher)^2``. The paper sums; with the mean the gradient is
what plain distillation's tends to at a high temperature (Hinton et al. 2015, section 2.1), so that alpha and the
learning rate mean the same in both. The paper trains on it alone (alpha = 1); no temperature is read. The outputs of a
regression or of an auto-encoder go the same way: they are what ``batch.student`` and ``batch.teacher`` hold, whatever
they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded.recipes import Batch

PARAMETERS: Mapping[str, float] = {}
FEATURES = False


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N] of outputs float32 [N, C]."""
    import tensorflow as tf

    return 0.5 * tf.reduce_mean(tf.square(batch.student - batch.teacher), axis=-1)
