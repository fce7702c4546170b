"""Romero et al., ICLR 2015, "FitNets: Hints for Thin Deep Nets", section 2.2: the student's maps regress the teacher's.

Soft loss: ``weight`` times the mean of ``(projector(student map) - teacher map)^2`` over pixels and channels, summed
over the pairs of layers. The projector is a 1x1 convolution from the student's channels to the teacher's, trained along
and thrown away; where the two maps differ in resolution, the larger one is averaged down. The default pair is the
middle stage.

The paper first trains on the hint alone and then on soft targets; the loss here is the joint one of
HobbitLong/RepDistiller and megvii-research/mdistiller, where labels weigh 1 and the hint 100. That is a ``weight`` of
100 at ``distill.alpha`` = 0.5. A student of some thousand parameters, on digits, gave up the labels for it, so the
default is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kd_embedded.recipes import Batch
from kd_embedded.recipes._features import Pair, Shape, same_resolution

PARAMETERS: Mapping[str, float] = {"weight": 1.0}
FEATURES = True
VECTORS = True  # outputs float32 [N, D] of Dense layers serve as well


def choose(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Those of the matching stages, shallow to deep, that are used where none is named: the middle one."""
    return [pairs[len(pairs) // 2]]


def projectors(student_shapes: Sequence[Shape], teacher_shapes: Sequence[Shape]) -> list[Any]:
    """For each pair of shapes, [H, W, D] or [D], the layer that gives a student map the teacher's channels."""
    from keras import layers

    return [
        layers.Conv2D(teacher[-1], 1, name=f"hint{index}")
        if len(student) == 3
        else layers.Dense(teacher[-1], name=f"hint{index}")
        for index, (student, teacher) in enumerate(zip(student_shapes, teacher_shapes, strict=True))
    ]


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N]; ``batch.student_maps`` have passed the projectors."""
    import tensorflow as tf

    losses = []
    for student, teacher in zip(batch.student_maps, batch.teacher_maps, strict=True):
        student, teacher = same_resolution(student, teacher)
        losses.append(tf.reduce_mean(tf.square(student - teacher), axis=list(range(1, len(student.shape)))))
    return parameters["weight"] * tf.add_n(losses)
