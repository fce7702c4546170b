"""Zagoruyko and Komodakis, ICLR 2017, "Paying More Attention to Attention", section 3.1 (of activations).

Where a stage looks is the mean of its squared activations over the channels, as a vector of norm 1 over the pixels.
Soft loss: ``weight`` times half the squared distance of the student's and the teacher's vectors (1 less their cosine),
summed over the pairs of layers. Where the two differ in resolution, the larger map is averaged down first. The default
pairs are the last activations of all stages.

The authors' code (szagoruyko/attention-transfer, and HobbitLong/RepDistiller after it) has 1000 times the mean over the
pixels of the squared differences, beside labels that weigh 1: a ``weight`` of 2000 / pixels at ``distill.alpha`` = 0.5,
which is 2 at 32x32 and 31 at 8x8. The maps of a microcontroller's student go down to 2x2, where that would be 500, and
a student of some thousand parameters, on digits, gave up the labels for it. So the weight is one for all resolutions
here, and 0.5 the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kd_embedded.recipes import Batch
from kd_embedded.recipes._features import Pair, same_resolution

PARAMETERS: Mapping[str, float] = {"weight": 0.5}
FEATURES = True
VECTORS = False  # a vector has no pixels to look at

_LEAST_NORM = 1e-6  # the gradient goes with its inverse: a map that is all but zero would leap


def choose(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Those of the matching stages, shallow to deep, that are used where none is named: all."""
    return pairs


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N]; the maps are float32 [N, H, W, D], channels as many as each has."""
    import tensorflow as tf

    losses = []
    for student, teacher in zip(batch.student_maps, batch.teacher_maps, strict=True):
        student, teacher = same_resolution(student, teacher)
        losses.append(0.5 * tf.reduce_sum(tf.square(_attention(student) - _attention(teacher)), axis=[1, 2]))
    return parameters["weight"] * tf.add_n(losses)


def _attention(maps: Any) -> Any:
    """float32 [N, H, W] of norm 1 in each sample, of float32 [N, H, W, D]."""
    import tensorflow as tf

    energy = tf.reduce_mean(tf.square(maps), axis=-1)
    squares = tf.reduce_sum(tf.square(energy), axis=[1, 2], keepdims=True)
    return energy / tf.sqrt(tf.maximum(squares, _LEAST_NORM**2))
