"""Losses of distillation, and where soft targets come from: a teacher run live, or its logits cached on disk.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network":
``(1 - alpha) * CE(labels, student) + alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T))``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kd_embedded.artifacts import write_npz
from kd_embedded.errors import ModelError

if TYPE_CHECKING:
    from kd_embedded.teachers import Teacher

_BATCH = 256


def loss(
    labels: Any,
    student_logits: Any,
    teacher_logits: Any,
    *,
    alpha: float,
    temperature: float,
    label_smoothing: float = 0.0,
) -> Any:
    """The distillation loss of each sample, float32 [N].

    ``labels`` int [N]; ``student_logits`` float32 [N, C]; ``teacher_logits`` float32 [N, C]. With ``alpha``
    0 the teacher is not read and may be None.
    """
    import tensorflow as tf

    total = tf.zeros(tf.shape(student_logits)[:1])
    if alpha < 1.0:
        classes = student_logits.shape[-1]
        hard = tf.one_hot(labels, classes) * (1.0 - label_smoothing) + label_smoothing / classes
        total += (1.0 - alpha) * tf.nn.softmax_cross_entropy_with_logits(hard, student_logits)
    if alpha > 0.0:
        soft = tf.nn.softmax(teacher_logits / temperature)
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits(soft, student_logits / temperature)
        entropy = -tf.reduce_sum(tf.math.xlogy(soft, soft), axis=-1)
        total += alpha * temperature**2 * (cross_entropy - entropy)
    return total


class Scores(Protocol):
    """Logits float32 [N, C] of ``inputs`` float32 [N, ...]; ``indices`` int64 [N] are their positions in Data.x."""

    def __call__(self, inputs: NDArray[np.float32], indices: NDArray[np.int64], /) -> NDArray[np.float32]: ...


class SoftTargets(Protocol):
    """Teacher logits for one batch: float32 [B, C]. ``indices`` int64 [B] are positions in the training split."""

    def __call__(self, indices: NDArray[np.int64], inputs: NDArray[np.float32]) -> Any: ...


def live(teacher: Teacher, train: NDArray[np.int64]) -> SoftTargets:
    """The teacher itself, on the inputs as augmented. ``train`` int64 [n] are the positions in Data.x of the split."""
    return lambda indices, inputs: teacher.logits(inputs, train[indices])


def cached(logits: NDArray[np.float32]) -> SoftTargets:
    """Logits computed once: float32 [train, C]."""
    return lambda indices, inputs: logits[indices]


def forward(model: Any) -> Callable[[NDArray[np.float32]], Any]:
    """A compiled function from inputs float32 [B, ...] to the output of ``model`` in inference mode, [B, C]."""
    import tensorflow as tf

    shape = [None, *model.inputs[0].shape[1:]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], reduce_retracing=True)
    def run(inputs: Any) -> Any:
        return model(inputs, training=False)

    return lambda inputs: run(tf.convert_to_tensor(inputs))


def predict(
    scores: Scores, inputs: Callable[[NDArray[np.int64]], NDArray[np.float32]], indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """``scores`` of ``inputs(indices)``, batch by batch: float32 [N, C]."""
    batches = np.array_split(indices, max(1, -(-len(indices) // _BATCH)))
    return np.concatenate([scores(inputs(batch), batch) for batch in batches])


def cached_logits(path: Path, key: str, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """The array stored at ``path`` under ``key`` (a hash of teacher and data), computed and stored where it is not.

    Raises ModelError where the logits are not finite.
    """
    try:
        with np.load(path) as stored:
            if str(stored["key"]) == key:
                found: NDArray[np.float32] = stored["logits"]
                return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    logits = compute()
    if not np.isfinite(logits).all():
        raise ModelError("gives NaN or infinity", where="the teacher", todo="train it again, or use another")
    write_npz(path, key=np.array(key), logits=logits)
    return logits
