"""Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.

Soft loss: ``T^2 KL(softmax(teacher / T) || softmax(student / T))``. T^2 keeps its gradient at the scale of the labels'
whatever T is. alpha and T are those of [distill]; widely used are alpha = 0.9 and T = 4 (megvii-research/mdistiller).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_embedded.recipes import Batch

PARAMETERS: Mapping[str, float] = {}
FEATURES = False


def soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Any:
    """float32 [N]."""
    return batch.temperature**2 * divergence(batch.teacher / batch.temperature, batch.student / batch.temperature)


def divergence(target_logits: Any, logits: Any) -> Any:
    """``KL(softmax(target_logits) || softmax(logits))`` of each row, float32 [N] of float32 [N, C]."""
    import tensorflow as tf

    log_targets, log_probabilities = tf.nn.log_softmax(target_logits), tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_targets) * (log_targets - log_probabilities), axis=-1)
