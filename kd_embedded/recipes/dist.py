"""Huang, You, Wang, Qian and Xu, NeurIPS 2022, "Knowledge Distillation from A Stronger Teacher" (DIST).

The student's probabilities need not equal the teacher's, only correlate with them (Pearson's rho): over the classes of
each sample (inter-class), and for each class over the samples of the batch (intra-class)::

    T^2 (beta * (1 - rho over classes) + gamma * (1 - mean over classes of rho over samples))

T is ``distill.temperature``: 4 on CIFAR-100 in the authors' repository (hunto/image_classification_sota), whence T^2
too, and 1 on ImageNet. beta = gamma = 2 beside labels that weigh 1: ``distill.alpha`` = 0.5 is half their total, and
0.7 acts as 4.7 there. The second term is of the batch, and the same in all of its samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded.recipes import Batch

PARAMETERS: Mapping[str, float] = {"beta": 2.0, "gamma": 2.0}
FEATURES = False
TWO_CLASSES = "two probabilities of a sample correlate by +1 or -1, whatever they are"

_LEAST_NORM = 1e-4  # two of them are the 1e-8 in the authors' denominators; alone, the gradient stays finite


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N]."""
    import tensorflow as tf

    student = tf.nn.softmax(batch.student / batch.temperature)
    teacher = tf.nn.softmax(batch.teacher / batch.temperature)
    inter = 1.0 - _correlation(student, teacher, axis=1)
    intra = 1.0 - tf.reduce_mean(_correlation(student, teacher, axis=0))
    return batch.temperature**2 * (parameters["beta"] * inter + parameters["gamma"] * intra)


def _correlation(x: Any, y: Any, axis: int) -> Any:
    """Pearson's correlation along ``axis``, 0 where one of the two does not vary."""
    import tensorflow as tf

    def unit(values: Any) -> Any:
        centred = values - tf.reduce_mean(values, axis=axis, keepdims=True)
        squares = tf.reduce_sum(tf.square(centred), axis=axis, keepdims=True)
        return centred / tf.sqrt(tf.maximum(squares, _LEAST_NORM**2))

    return tf.reduce_sum(unit(x) * unit(y), axis=axis)
