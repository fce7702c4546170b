"""The training loop of teachers and students: seeded, checkpointed, and exact when resumed.

Everything random is a function of (seed, epoch, step), so that a fit that was killed and resumed ends in the same bytes
as one that was not.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import distill
from kd_embedded.artifacts import write_npz
from kd_embedded.config import FitSpec
from kd_embedded.errors import ModelError
from kd_embedded.progress import Progress

History = list[dict[str, float]]
CHECKPOINT_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Training and validation samples: ``inputs(positions)`` gives float32 [B, ...], ``y`` int64 [N]."""

    train_inputs: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    train_y: NDArray[np.int64]
    val_inputs: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    val_y: NDArray[np.int64]


@dataclass(frozen=True)
class Objective:
    """What is minimised. ``soft_targets`` None trains on the labels alone (a teacher, or alpha = 0)."""

    soft_targets: distill.SoftTargets | None = None
    alpha: float = 0.0
    temperature: float = 1.0


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
) -> History:
    """Trains ``model`` in place and leaves it with the weights of its best epoch; returns one record an epoch.

    Best is the highest validation accuracy, then the lowest validation loss. ``checkpoint`` is written between epochs
    (at most every ten seconds) and at the end, and taken up where it holds the same ``key``, a hash of all that the fit
    reads; the caller removes it when the result is stored. Raises ModelError where the loss is no longer finite.
    """
    if not model.trainable_variables:
        raise ModelError(f"{title}: all layers are frozen", where="trainable", todo="unfreeze some before you save it")
    loop = _Loop(model, samples, spec, objective, seed)
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
    return loop.history


class _Loop:
    """The state of one fit, whole between two epochs."""

    def __init__(self, model: Any, samples: Samples, spec: FitSpec, objective: Objective, seed: int) -> None:
        self._model, self._samples, self._spec, self._objective, self._seed = model, samples, spec, objective, seed
        self._optimizer = _optimizer(spec)
        self._optimizer.build(model.trainable_variables)
        self._step = _train_step(model, self._optimizer, spec, objective)
        self._evaluate = distill.forward(model)
        self._weights = _class_weights(samples.train_y, spec)
        self._steps = -(-len(samples.train_y) // spec.batch_size)
        self.epoch = 0
        self.history: History = []
        self.best = [variable.numpy() for variable in model.variables]

    def run_epoch(self) -> dict[str, float]:
        _reseed(self._model, self._seed, self.epoch)
        order = np.random.default_rng((self._seed, self.epoch)).permutation(len(self._samples.train_y))
        total = hits = 0.0
        for step in range(self._steps):
            batch = order[step * self._spec.batch_size : (step + 1) * self._spec.batch_size]
            loss_sum, hit_sum = self._run_step(batch, step)
            total, hits = total + loss_sum, hits + hit_sum
        val_loss, val_accuracy = self._validate()
        count = len(order)
        record = {
            "loss": float(total) / count,
            "accuracy": float(hits) / count,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
        }
        if not self.history or _score(record) > max(map(_score, self.history)):
            self.best = [variable.numpy() for variable in self._model.variables]
        self.history.append(record)
        self.epoch += 1
        return record

    def stalled(self) -> bool:
        """Whether ``patience`` epochs have passed since the best one."""
        if not self._spec.patience or not self.history:
            return False
        best = max(range(len(self.history)), key=lambda index: (_score(self.history[index]), -index))
        return self.epoch - 1 - best >= self._spec.patience

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
        return [*self._model.variables, *self._optimizer.variables]

    def _run_step(self, batch: NDArray[np.int64], step: int) -> tuple[Any, Any]:
        import tensorflow as tf

        inputs = self._samples.train_inputs(batch)
        if self._spec.augments:
            inputs = augment(inputs, self._spec, np.random.default_rng((self._seed, self.epoch, step)))
        labels = self._samples.train_y[batch]
        soft = self._objective.soft_targets
        teacher = soft(batch, inputs) if soft else np.zeros((len(batch), 1), np.float32)
        rate = learning_rate(self._spec, self.epoch + step / self._steps)
        return self._step(
            tf.convert_to_tensor(inputs),
            tf.convert_to_tensor(labels),
            tf.convert_to_tensor(self._weights[labels]),
            tf.convert_to_tensor(teacher),
            tf.constant(rate, tf.float32),
        )

    def _validate(self) -> tuple[float, float]:
        labels = self._samples.val_y
        batches = np.array_split(np.arange(len(labels)), -(-len(labels) // 256))
        logits = np.concatenate([self._evaluate(self._samples.val_inputs(b)).numpy() for b in batches])
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = -float(log_probabilities[np.arange(len(labels)), labels].mean())
        return loss, float((logits.argmax(axis=1) == labels).mean())


def learning_rate(spec: FitSpec, epoch: float) -> float:
    """The learning rate at a fractional epoch: linear warm-up, then constant or a half cosine down to zero."""
    warmup = min(spec.warmup_epochs, spec.epochs - 1)
    if epoch < warmup:
        return spec.learning_rate * min(1.0, (epoch + 1 / 16) / warmup)
    if spec.schedule == "constant":
        return spec.learning_rate
    return spec.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / (spec.epochs - warmup)))


def augment(inputs: NDArray[np.float32], spec: FitSpec, generator: np.random.Generator) -> NDArray[np.float32]:
    """``inputs`` float32 [B, ...] mirrored, shifted, with noise as ``spec`` says; the first two need [B, H, W, C]."""
    if inputs.ndim == 4 and spec.augment_flip:
        mirrored = generator.random(len(inputs)) < 0.5
        inputs = np.where(mirrored[:, None, None, None], inputs[:, :, ::-1], inputs)
    if inputs.ndim == 4 and spec.augment_shift:
        inputs = _shifted(inputs, spec.augment_shift, generator)
    if spec.augment_noise:
        inputs = inputs + generator.normal(0.0, spec.augment_noise, inputs.shape).astype(np.float32)
    return inputs


def _shifted(inputs: NDArray[np.float32], most: int, generator: np.random.Generator) -> NDArray[np.float32]:
    count, height, width = inputs.shape[:3]
    padded = np.pad(inputs, ((0, 0), (most, most), (most, most), (0, 0)))
    down, right = generator.integers(0, 2 * most + 1, (2, count, 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    shifted: NDArray[np.float32] = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return shifted


def _score(record: dict[str, float]) -> tuple[float, float]:
    return record["val_accuracy"], -record["val_loss"]


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


def _train_step(model: Any, optimizer: Any, spec: FitSpec, objective: Objective) -> Callable[..., tuple[Any, Any]]:
    import tensorflow as tf

    variables = model.trainable_variables
    alpha = objective.alpha if objective.soft_targets else 0.0

    @tf.function(reduce_retracing=True)
    def step(inputs: Any, labels: Any, weights: Any, teacher_logits: Any, rate: Any) -> tuple[Any, Any]:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            losses = weights * distill.loss(
                labels,
                logits,
                teacher_logits,
                alpha=alpha,
                temperature=objective.temperature,
                label_smoothing=spec.label_smoothing,
            )
            mean = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(mean, variables), variables)
        hits = tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32)
        return tf.reduce_sum(losses), tf.reduce_sum(hits)

    compiled: Callable[..., tuple[Any, Any]] = step
    return compiled


def _class_weights(labels: NDArray[np.int64], spec: FitSpec) -> NDArray[np.float32]:
    """float32 [C]; "balanced" is N / (C * count), whose mean over the samples is 1."""
    counts = np.bincount(labels)
    if spec.class_weights == "none":
        return np.ones(len(counts), np.float32)
    return (len(labels) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


def _reseed(model: Any, seed: int, epoch: int) -> None:
    """Sets the state of every random layer (dropout, noise) by the epoch."""
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for index, state in enumerate(states):
        state.assign(np.random.default_rng((seed, epoch, index)).integers(0, 2**31, state.shape).astype("uint32"))


def _assign(variables: list[Any], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
