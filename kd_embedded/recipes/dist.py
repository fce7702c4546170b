"""Huang, You, Wang, Qian and Xu, NeurIPS 2022, "Knowledge Distillation from A Stronger Teacher" (DIST).

The student's probabilities need not equal the teacher's, only correlate with them (Pearson's rho): over the classes of
each sample (inter-class), and for each class over the samples of the batch (intra-class)::

    T^2 (beta * (1 - rho over classes) + gamma * (1 - mean over classes of rho over samples))

T is ``distill.temperature``: 4 on CIFAR-100 in the authors' repository (hunto/image_classification_sota), whence T^2
too, and 1 on ImageNet. beta = gamma = 2 beside labels that weigh 1: ``distill.alpha`` = 0.5 is half their total, and
0.7 acts as 4.7 there. The second term is of the batch, and the same in all of its samples; one of weight 2 counts in
rho as two samples would.
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
    weights = tf.reshape(batch.weights * tf.ones_like(student[:, 0]), [-1, 1])
    intra = 1.0 - tf.reduce_mean(_correlation(student, teacher, axis=0, weights=weights))
    return batch.temperature**2 * (parameters["beta"] * inter + parameters["gamma"] * intra)


def _correlation(x: Any, y: Any, axis: int, weights: Any = 1.0) -> Any:
    """Pearson's correlation along ``axis`` of values that count by ``weights``, 0 where one of the two is constant."""
    import tensorflow as tf

    def unit(values: Any) -> Any:
        total = tf.reduce_sum(weights * tf.ones_like(values), axis=axis, keepdims=True)
        mean = tf.math.divide_no_nan(tf.reduce_sum(weights * values, axis=axis, keepdims=True), total)
        squares = tf.reduce_sum(weights * tf.square(values - mean), axis=axis, keepdims=True)
        return (values - mean) / tf.sqrt(tf.maximum(squares, _LEAST_NORM**2))

    return tf.reduce_sum(weights * unit(x) * unit(y), axis=axis)
