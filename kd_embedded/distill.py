"""What a student learns from: labels, and a teacher's soft targets or feature maps by one of the recipes.

The loss of a sample is ``(1 - alpha) * CE(targets, student) + alpha * soft_loss``, soft_loss as recipes/ has it. Where
there are no classes both terms are mean squared errors, to the targets and to the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kd_embedded import recipes, tasks
from kd_embedded.recipes._features import connect

_BATCH = 256


class Scores(Protocol):
    """Logits float32 [N, C] of ``inputs`` float32 [N, ...]; ``indices`` int64 [N] are their positions in Data.x."""

    def __call__(self, inputs: NDArray[np.float32], indices: NDArray[np.int64], /) -> NDArray[np.float32]: ...


class SoftTargets(Protocol):
    """The teacher's logits of one batch, float32 [B, C].

    ``positions`` int64 [B] are those in the training split; ``inputs`` float32 [B, ...] is what the student sees of
    them in the epoch of that number (an epoch of augmentation, see ``Objective.period``).
    """

    def __call__(
        self, positions: NDArray[np.int64], inputs: NDArray[np.float32], epoch: int, /
    ) -> NDArray[np.float32]: ...


@dataclass(frozen=True, eq=False)
class Features:
    """For recipes of feature maps: the teacher as a Keras model that gives logits, and names of layers, in pairs; none:
    the recipe chooses."""

    teacher: Any
    student_layers: Sequence[str] = ()
    teacher_layers: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised; without a teacher, or with ``alpha`` 0, the labels alone are learnt.

    ``soft_targets`` gives the teacher's logits, where ``features`` does not. ``parameters`` are those of the recipe
    that differ from its paper's. With ``period`` K the augmentation of epoch e is that of e % K, as the replayed logits
    want it; 0: every epoch has its own.
    """

    soft_targets: SoftTargets | None = None
    alpha: float = 0.0
    temperature: float = 1.0
    recipe: str = "kd"
    parameters: Mapping[str, float] = field(default_factory=dict)
    features: Features | None = None
    period: int = 0

    @property
    def distils(self) -> bool:
        """Whether a teacher has a say."""
        return self.alpha > 0.0 and (self.soft_targets is not None or self.features is not None)


class Network:
    """A student and what distils it, as one function of a step, called inside a tf.function."""

    def __init__(self, model: Any, objective: Objective, seed: int, *, classes: bool = True) -> None:
        """``seed`` is that of the projectors' weights. Raises ConfigError or ModelError where the recipe finds no maps
        to compare, or no such parameter. Without ``classes`` the targets are numbers."""
        self._objective, self._model, self._teacher = objective, model, None
        self._hard_loss = hard_loss if classes else lambda targets, outputs: tasks.squares(outputs, targets)
        self._soft_share = objective.alpha * (1.0 if classes else 2.0)  # the recipe mse halves its mean of squares
        self._recipe = recipes.get(objective.recipe)
        self._parameters = recipes.parameters(objective.recipe, objective.parameters)
        if objective.distils and objective.features:
            found = connect(
                objective.recipe,
                model,
                objective.features.teacher,
                student_layers=objective.features.student_layers,
                teacher_layers=objective.features.teacher_layers,
                seed=seed,
            )
            self._model, self._teacher = found.student, found.teacher
        known = {id(variable) for variable in model.variables}
        self.extra = [variable for variable in self._model.variables if id(variable) not in known]
        self.trainable_variables = self._model.trainable_variables

    extra: list[Any]
    """Variables that are not the student's: of projectors, trained along and thrown away."""

    def __call__(self, inputs: Any, targets: Any, teacher: Any, progress: Any, weights: Any) -> tuple[Any, Any]:
        """The student's logits [N, C] and the loss of each sample [N], not yet weighed by ``weights`` [N].

        ``teacher`` [N, C] is not read with features.
        """
        import tensorflow as tf

        objective, outputs = self._objective, self._model(inputs, training=True)
        logits, maps = (outputs[0], outputs[1:]) if self._teacher else (outputs, [])
        if not objective.distils:
            return logits, self._hard_loss(targets, logits)
        targets_of_maps = []
        if self._teacher:
            teacher, *targets_of_maps = map(tf.stop_gradient, self._teacher(inputs, training=False))
        batch = recipes.Batch(
            labels=labels_of(targets, teacher),
            student=logits,
            teacher=teacher,
            temperature=objective.temperature,
            progress=progress,
            student_maps=tuple(maps),
            teacher_maps=tuple(targets_of_maps),
            weights=weights,
        )
        losses = self._soft_share * self._recipe.soft_loss(batch, self._parameters)
        if objective.alpha < 1.0:
            losses += (1.0 - objective.alpha) * self._hard_loss(targets, logits)
        return logits, losses


def hard_loss(targets: Any, logits: Any) -> Any:
    """``CE(targets, softmax(logits))`` of each row, float32 [N] of [N, C]; 0 where there is no label."""
    import tensorflow as tf

    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)


def labels_of(targets: Any, teacher: Any) -> Any:
    """int64 [N]: the class of the largest target; of the teacher's highest logit where there is no label."""
    import tensorflow as tf

    labelled = tf.reduce_sum(targets, axis=-1) > 0.0
    return tf.where(labelled, tf.argmax(targets, axis=-1), tf.argmax(teacher, axis=-1))


def forward(model: Any) -> Callable[[NDArray[np.float32]], Any]:
    """A compiled function from inputs float32 [B, ...] to the output of ``model`` in inference mode, [B, C].

    It computes as ``model`` does now.
    """
    import tensorflow as tf

    shape = [None, *model.inputs[0].shape[1:]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def run(inputs: Any) -> Any:
        return model(inputs, training=False)

    traced = run.get_concrete_function()
    return lambda inputs: traced(tf.convert_to_tensor(inputs))


def predict(
    scores: Scores, inputs: Callable[[NDArray[np.int64]], NDArray[np.float32]], indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """``scores`` of ``inputs(indices)``, batch by batch: float32 [N, C]."""
    return np.concatenate([scores(inputs(batch), batch) for batch in batches(indices)])


def batches(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """``indices`` [N] in parts that a model computes at once where nothing is trained."""
    return np.array_split(indices, max(1, -(-len(indices) // _BATCH)))
