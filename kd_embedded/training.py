"""The training loop of teachers and students: seeded, checkpointed, and exact when resumed.

Everything random is a function of (seed, epoch, position), so that a fit that was killed and resumed ends in the same
bytes as one that was not. One batch is prepared ahead by a thread, in NumPy, while TensorFlow computes.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import __version__, distill, metrics, tasks
from kd_embedded.ahead import ahead
from kd_embedded.artifacts import write_npz
from kd_embedded.augment import Augmentation, Inputs
from kd_embedded.config import FitSpec
from kd_embedded.distill import Objective as Objective
from kd_embedded.errors import DataError, ModelError
from kd_embedded.progress import Progress

History = list[dict[str, float]]
AfterStep = Callable[[Any, float], None]
CHECKPOINT_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Training and validation samples: ``inputs(positions)`` gives float32 [B, ...], ``y`` is int64 [N].

    ``train_weights`` float32 [N] says how much a sample counts: their mean is taken as 1, so that a sample of weight 2
    is as good as two. A ``train_y`` of -1 has no label: the teacher alone says something about it. For a regression the
    targets float32 [N, D] are learnt, standardised, NaN without a label; for an auto-encoder the inputs as shown.
    """

    train_inputs: Inputs
    train_y: NDArray[np.int64]
    train_weights: NDArray[np.float32]
    val_inputs: Inputs
    val_y: NDArray[np.int64]
    task: str = tasks.CLASSIFICATION
    train_targets: NDArray[np.float32] | None = None
    val_targets: NDArray[np.float32] | None = None


def fit(
    model: Any,
    samples: Samples,
    spec: FitSpec,
    objective: Objective,
    *,
    seed: int,
    checkpoint: Path,
    key: str,
    title: str,
    progress: Progress,
    after_step: AfterStep | None = None,
    best_from: int = 0,
) -> History:
    """Trains ``model`` in place and leaves it with the weights of its best epoch, whose record says ``kept``: 1.

    Returns one record an epoch.
    Best is the highest validation accuracy, where there are classes, then the lowest validation loss (cross entropy, or
    mean squared error), among the epochs from ``best_from`` on.
    ``after_step(model, epoch)`` is called when a step has been taken, ``epoch`` being the epochs done by then, 3.25 for
    instance; what it does may depend on these two alone, or a resumed fit will differ. ``checkpoint`` is written
    between epochs (at most every ten seconds) and at the end, and taken up where it holds the same ``key``, a hash of
    all that the fit reads, and the same versions wrote it; the caller removes it when the result is stored. Raises
    ModelError where the loss is no longer finite.
    """
    import keras
    import tensorflow as tf

    key = f"{key} kd-embedded {__version__} tensorflow {tf.__version__} keras {keras.__version__}"
    if not model.trainable_variables:
        raise ModelError(f"{title}: all layers are frozen", where="trainable", todo="unfreeze some before you save it")
    loop = _Loop(model, samples, spec, objective, seed, after_step, min(best_from, spec.epochs - 1))
    loop.restore(checkpoint, key)
    saved = time.monotonic()
    with progress.task(title, spec.epochs, loop.epoch) as task:
        while loop.epoch < spec.epochs and not loop.stalled():
            record = loop.run_epoch()
            if not all(map(math.isfinite, record.values())):
                raise ModelError(
                    f"{title}: the loss is {record['loss']}, on validation {record['val_loss']}, in epoch {loop.epoch}",
                    where="learning_rate",
                    todo="lower it, and check the scale of the inputs",
                )
            task.advance(**record)
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                loop.store(checkpoint, key)
                saved = time.monotonic()
    loop.store(checkpoint, key)
    _assign(model.variables, loop.best)
    loop.history[loop.best_epoch()]["kept"] = 1.0
    return loop.history


class _Batches:
    """What the steps of an epoch are fed with: NumPy alone, so that a thread can prepare it."""

    def __init__(self, samples: Samples, spec: FitSpec, objective: Objective, classes: int, seed: int) -> None:
        self._samples, self._spec, self._objective, self._seed = samples, spec, objective, seed
        self._soft = objective.soft_targets if objective.distils and not objective.features else None
        if samples.task == tasks.CLASSIFICATION:
            smooth = np.eye(classes) * (1.0 - spec.label_smoothing) + spec.label_smoothing / classes
            rows = np.concatenate([smooth, np.zeros((1, classes))]).astype(np.float32)  # the last: no label, y = -1
            self._targets: Inputs | None = lambda which: rows[samples.train_y[which]]
        else:
            given = samples.train_targets
            self._targets = None if given is None else lambda which: given[which]
        labelled = samples.train_y >= 0
        self._augmentation = Augmentation(samples.train_inputs, labelled, spec)
        self._used = np.arange(len(labelled)) if objective.distils else np.flatnonzero(labelled)
        weights = sample_weights(samples, spec, classes)
        self._weights = weights / weights[self._used].mean()
        self.steps = -(-len(self._used) // spec.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[NDArray[Any], ...]]:
        """Inputs [B, ...], targets [B, C], weights [B], the teacher's outputs [B, C] or [B, 0], one after another."""
        order = np.random.default_rng((self._seed, epoch)).permutation(self._used)
        batches = np.array_split(order, self.steps)  # alike but for one sample: a rest of a few would weigh as many do
        shown = epoch % self._objective.period if self._objective.period else epoch
        return ahead(lambda batch: self._batch(batch, shown), batches)

    def _batch(self, positions: NDArray[np.int64], epoch: int) -> tuple[NDArray[Any], ...]:
        """Of a mixed pair each loss counts by its sample's weight and share, as one loss of their mean target.

        An auto-encoder learns the mixture as shown.
        """
        show, of = self._augmentation, self._targets
        inputs = show.inputs(positions, epoch)
        weights = show.mixed(lambda which: self._weights[which], positions, epoch)
        if of is None:
            targets = inputs.reshape(len(inputs), -1)
        elif self._spec.mixup:
            weighed = show.mixed(lambda which: self._weights[which, None] * of(which), positions, epoch)
            targets = weighed / np.where(weights > 0, weights, 1.0)[:, None]
        else:
            targets = of(positions)
        soft = self._soft(positions, inputs, epoch) if self._soft else np.zeros((len(positions), 0), np.float32)
        return inputs, targets, weights, soft


class _Loop:
    """The state of one fit, whole between two epochs."""

    def __init__(
        self,
        model: Any,
        samples: Samples,
        spec: FitSpec,
        objective: Objective,
        seed: int,
        after_step: AfterStep | None,
        best_from: int,
    ) -> None:
        self._model, self._samples, self._spec, self._seed = model, samples, spec, seed
        self._after_step, self._best_from = after_step, best_from
        self._classes = samples.task == tasks.CLASSIFICATION
        network = distill.Network(model, objective, seed, classes=self._classes)
        self._optimizer = _optimizer(spec)
        self._optimizer.build(network.trainable_variables)
        self._step = _train_step(network, self._optimizer, self._classes)
        self._extra = network.extra
        self._evaluate = distill.forward(model)
        self._batches = _Batches(samples, spec, objective, model.outputs[0].shape[-1], seed)
        self.epoch = 0
        self.history: History = []
        self.best = [variable.numpy() for variable in model.variables]

    def run_epoch(self) -> dict[str, float]:
        import tensorflow as tf

        _reseed(self._model, self._seed, self.epoch)
        steps, sums = self._batches.steps, []
        for step, batch in enumerate(self._batches.epoch(self.epoch)):
            done = self.epoch + step / steps
            rate = tf.constant(learning_rate(self._spec, done), tf.float32)
            progress = tf.constant(done / self._spec.epochs, tf.float32)
            sums.append(self._step(*map(tf.convert_to_tensor, batch), rate, progress))
            if self._after_step:
                self._after_step(self._model, self.epoch + (step + 1) / steps)
        loss, hits, count, labelled = np.sum(np.array(sums, np.float64), axis=0)
        record = {"loss": float(loss / count)}
        if self._classes:
            record["accuracy"] = float(hits / max(labelled, 1.0))
        record |= self._validate()
        self.history.append(record)
        if self.best_epoch() == self.epoch:
            self.best = [variable.numpy() for variable in self._model.variables]
        self.epoch += 1
        return record

    def best_epoch(self) -> int:
        """The first of those with the best score, from ``best_from`` on; before it, the last."""
        eligible = range(min(self._best_from, len(self.history) - 1), len(self.history))
        return max(eligible, key=lambda index: (score(self.history[index]), -index))

    def stalled(self) -> bool:
        """Whether ``patience`` epochs have passed since the best one."""
        if not self._spec.patience or len(self.history) <= self._best_from:
            return False
        return self.epoch - 1 - self.best_epoch() >= self._spec.patience

    def store(self, path: Path, key: str) -> None:
        arrays = {f"best{i}": value for i, value in enumerate(self.best)}
        arrays |= {f"now{i}": variable.numpy() for i, variable in enumerate(self._variables())}
        write_npz(path, key=np.array(key), history=np.array(json.dumps(self.history)), **arrays)

    def restore(self, path: Path, key: str) -> None:
        """Takes the state up from ``path``; a checkpoint that is absent, damaged or of another fit is no checkpoint."""
        try:
            with np.load(path) as stored:
                if str(stored["key"]) != key:
                    return
                history = json.loads(str(stored["history"]))
                now = [stored[f"now{i}"] for i in range(len(self._variables()))]
                best = [stored[f"best{i}"] for i in range(len(self.best))]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return
        self.history, self.best, self.epoch = history, best, len(history)
        _assign(self._variables(), now)

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._extra, *self._optimizer.variables]

    def _validate(self) -> dict[str, float]:
        positions = np.flatnonzero(self._samples.val_y >= 0)
        batches = distill.batches(positions)
        if not self._classes:
            return {"val_loss": self._mean_square(batches)}
        labels = self._samples.val_y[positions]
        logits = np.concatenate([self._evaluate(x).numpy() for x in ahead(self._samples.val_inputs, batches)])
        accuracy = metrics.accuracy(metrics.predicted_classes(logits), labels)
        return {"val_loss": metrics.cross_entropy(logits, labels), "val_accuracy": accuracy}

    def _mean_square(self, batches: list[NDArray[np.int64]]) -> float:
        known, squares = self._samples.val_targets, []
        for positions, x in zip(batches, ahead(self._samples.val_inputs, batches), strict=True):
            targets = x.reshape(len(x), -1) if known is None else known[positions]
            squares.append(np.square(self._evaluate(x).numpy().astype(np.float64) - targets).mean(axis=1))
        return float(np.concatenate(squares).mean())


def learning_rate(spec: FitSpec, epoch: float) -> float:
    """The learning rate at a fractional epoch: linear warm-up, then constant or a half cosine down to zero."""
    warmup = min(spec.warmup_epochs, spec.epochs - 1)
    if epoch < warmup:
        return spec.learning_rate * min(1.0, (epoch + 1 / 16) / warmup)
    if spec.schedule == "constant":
        return spec.learning_rate
    return spec.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / (spec.epochs - warmup)))


def sample_weights(samples: Samples, spec: FitSpec, classes: int) -> NDArray[np.float32]:
    """float32 [N]: the samples' own weights, times those of their classes.

    "balanced" is N / (C * count) of the labelled samples. One without a label has no weight of its own, and counts as
    the labelled ones do in the mean. Raises DataError where all of them weigh nothing.
    """
    labelled = samples.train_y >= 0
    own = samples.train_weights
    mean = own[labelled].mean() if labelled.any() else np.float32(1.0)
    if not mean > 0.0:
        raise DataError("all training samples weigh 0", where="w_train", todo="give some of them a weight above 0")
    own = np.where(labelled, own, mean)
    if spec.class_weights == "none":
        return own
    counts = np.bincount(samples.train_y[labelled], minlength=classes)
    of_class = np.append(counts.sum() / (classes * np.maximum(counts, 1)), 1.0).astype(np.float32)
    return own * of_class[samples.train_y]


def score(record: Mapping[str, float]) -> tuple[float, float]:
    """What is highest for the best of several epochs, or models: by accuracy, where there are classes, then by loss."""
    return record.get("val_accuracy", 0.0), -record["val_loss"]


def _optimizer(spec: FitSpec) -> Any:
    import keras

    decay = spec.weight_decay or None
    if spec.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(spec.learning_rate, momentum=0.9, nesterov=True, weight_decay=decay)
    elif spec.optimizer == "adam":
        optimizer = keras.optimizers.Adam(spec.learning_rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _train_step(network: distill.Network, optimizer: Any, classes: bool) -> Callable[..., Any]:
    """A compiled step; returns float32 [4]: sums of losses, of hits, of samples and of samples with a label.

    Without ``classes`` nothing is a hit.

    XLA (jit_compile) is not asked for: on a CPU a step of ResNet-8 took 0.347 s with it and 0.191 s without, one of
    a DS-CNN 0.901 s and 0.099 s.
    """
    import tensorflow as tf

    variables = network.trainable_variables

    @tf.function(reduce_retracing=True)
    def step(inputs: Any, targets: Any, weights: Any, teacher: Any, rate: Any, progress: Any) -> Any:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits, losses = network(inputs, targets, teacher, progress, weights)
            losses *= weights
            mean = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(mean, variables), variables)
        if not classes:
            return tf.stack([tf.reduce_sum(losses), 0.0, tf.cast(tf.shape(logits)[0], tf.float32), 0.0])
        labelled = tf.cast(tf.reduce_sum(targets, axis=-1) > 0.0, tf.float32)
        hit = tf.cast(tf.argmax(logits, axis=-1) == tf.argmax(targets, axis=-1), tf.float32)
        count = tf.cast(tf.shape(logits)[0], tf.float32)
        return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(hit * labelled), count, tf.reduce_sum(labelled)])

    compiled: Callable[..., Any] = step
    return compiled


def _reseed(model: Any, seed: int, epoch: int) -> None:
    """Sets the state of every random layer (dropout, noise) by the epoch."""
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for index, state in enumerate(states):
        state.assign(np.random.default_rng((seed, epoch, index)).integers(0, 2**31, state.shape).astype("uint32"))


def _assign(variables: list[Any], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
