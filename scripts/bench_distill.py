#!/usr/bin/env python3
"""Distillation measured: epoch times against Keras' own Distiller, and what distilling gives a student.

One run, one process. For each data set a teacher is trained once. Then epochs of our loop and of
keras.distillation.Distiller are timed in turn, three times round so that a busy machine slows all alike, each doing the
same work: the same student, batches and optimizer; medians of all epochs but each fit's first. Ours are, on inputs as
stored, alone and distilled from logits computed once; on augmented inputs, alone, distilled from kept logits that are
replayed, and distilled from the live teacher. A profile tells where such an epoch goes: how many cores are busy, what
the thread prepares, what the loop waits for it, and how long the epoch takes without the thread. So far the machine
should be idle. At last students are trained in each of our ways, with the same seeds.

    scripts/bench_distill.py [--cifar FOLDER] [--seeds 3] [--json FILE]

FOLDER holds train/<class>/*.jpg and test/<class>/*.jpg of CIFAR-10; without it only digits are measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from kd_embedded import data, distill, keras_files, metrics, soft_targets, students, training
from kd_embedded.ahead import ahead
from kd_embedded.artifacts import to_json, write_json
from kd_embedded.augment import Augmentation
from kd_embedded.config import DataSpec, DistillSpec, StudentSpec, TeacherSpec
from kd_embedded.progress import Progress, Task
from kd_embedded.teachers import keras as keras_teacher
from kd_embedded.teachers.keras import KerasTeacher

_ROUNDS = 3
_WAYS = ("alone", "distilled", "alone, augmented", "replayed, augmented", "live, augmented")
_CASES: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"source": "sklearn:digits"},
        "teacher": TeacherSpec(),
        "student": StudentSpec(arch="tiny_cnn", width=0.5),
        "distill": DistillSpec(),
        "augmentation": {"augment_shift": 1},
        "timed_epochs": 6,
    },
    "cifar10-subset": {
        "data": {"max_per_class": 500},
        "teacher": TeacherSpec(arch="cnn", epochs=20, augment_flip=True, augment_shift=4),
        "student": StudentSpec(arch="ds_cnn", width=0.5),
        "distill": DistillSpec(epochs=20, cache_epochs=5),
        "augmentation": {"augment_flip": True, "augment_shift": 4},
        "timed_epochs": 2,
    },
}


class _Clock(Progress):
    """Seconds of each epoch of a fit, and those of all cores together."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.busy: list[float] = []

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Task]:
        clock, last = self, [time.perf_counter(), time.process_time()]

        class _Lap(Task):
            def advance(self, **figures: float) -> None:
                now = [time.perf_counter(), time.process_time()]
                clock.epochs.append(now[0] - last[0])
                clock.busy.append(now[1] - last[1])
                last[:] = now

        yield _Lap()


class _Case:
    """One data set with its trained teacher."""

    def __init__(self, name: str, cifar: Path | None) -> None:
        self.name, self.spec = name, _CASES[name]
        spec = DataSpec(**{"source": f"images:{cifar}", **self.spec["data"]})
        self.data = data.load(spec, Path())
        self.splits = data.split(self.data, spec, seed=1)
        found, parts = self.data, self.splits
        train, val = found.inputs(parts.train), found.inputs(parts.val)
        self.train = train
        self.samples = training.Samples(
            lambda i: train[i],
            found.y[parts.train],
            np.ones(len(train), np.float32),
            lambda i: val[i],
            found.y[parts.val],
        )
        self.teacher = keras_teacher.build(self.spec["teacher"], found.input_shape, found.classes, 1, Path())
        self.fit(self.teacher, self.spec["teacher"], training.Objective(), seed=1)
        self.logits = self.scores(self.teacher, parts.train)
        self.folder = tempfile.TemporaryDirectory()  # of kept logits
        self.keeping = 0.0  # seconds that an epoch of them takes

    def fit(
        self, model: Any, spec: Any, objective: training.Objective, seed: int, clock: _Clock | None = None
    ) -> _Clock:
        """Trains ``model`` and returns the clock of its epochs."""
        clock = clock or _Clock()
        with tempfile.TemporaryDirectory() as folder:
            training.fit(
                model,
                self.samples,
                spec,
                objective,
                seed=seed,
                checkpoint=Path(folder) / "checkpoint.npz",
                key="",
                title=self.name,
                progress=clock,
            )
        return clock

    def student(self, seed: int) -> Any:
        return students.build(self.spec["student"], self.data.input_shape, self.data.classes, seed, Path())

    def way(self, name: str) -> tuple[DistillSpec, training.Objective]:
        """How a student is trained: the settings and the objective of one of _WAYS."""
        spec: DistillSpec = self.spec["distill"]
        if "augmented" in name:
            spec = spec.model_copy(update=self.spec["augmentation"])
        soft, period = self._soft_targets(name, spec)
        return spec, training.Objective(soft, spec.alpha, spec.temperature, period=period)

    def _soft_targets(self, name: str, spec: DistillSpec) -> tuple[distill.SoftTargets | None, int]:
        if name.startswith("alone"):
            return None, 0
        if name == "distilled":
            return soft_targets.cached(self.logits), 0
        if name == "live, augmented":
            return soft_targets.live(KerasTeacher(self.teacher), self.splits.train), 0
        epochs = min(spec.cache_epochs, spec.epochs)
        folder, samples, train = Path(self.folder.name), self.samples, self.splits.train
        began = time.perf_counter()
        augmentation = Augmentation(samples.train_inputs, samples.train_y >= 0, spec)
        soft_targets.keep(folder, lambda: KerasTeacher(self.teacher), augmentation, train, epochs, Progress())
        self.keeping = self.keeping or (time.perf_counter() - began) / epochs
        return soft_targets.replayed(folder, epochs), epochs

    def scores(self, model: Any, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of ``model``, float32 [N, C]."""
        return distill.predict(KerasTeacher(model).logits, self.data.inputs, indices)

    def accuracy(self, model: Any) -> float:
        test = self.splits.test
        return metrics.accuracy(metrics.predicted_classes(self.scores(model, test)), self.data.y[test])


def _accuracies(case: _Case, seeds: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in _WAYS}
    for seed in range(1, seeds + 1):
        for name in _WAYS:
            spec, objective = case.way(name)
            student = case.student(seed)
            case.fit(student, spec, objective, seed)
            found[name].append(case.accuracy(student))
    return {
        "teacher": case.accuracy(case.teacher),
        **{
            name: {"seeds": values, "mean": statistics.mean(values), "standard_deviation": statistics.stdev(values)}
            for name, values in found.items()
        },
    }


def _epoch_seconds(case: _Case) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in (*_WAYS, "keras_distiller")}
    for _ in range(_ROUNDS):
        for name in _WAYS:
            spec, objective = case.way(name)
            seconds[name] += case.fit(case.student(1), _timed(spec, case), objective, 1).epochs[1:]
        seconds["keras_distiller"] += _keras_distiller(case, _timed(case.spec["distill"], case))[1:]
    return {name: statistics.median(values) for name, values in seconds.items()} | {"keeping": case.keeping}


def _timed(spec: DistillSpec, case: _Case) -> DistillSpec:
    return spec.model_copy(update={"epochs": case.spec["timed_epochs"] + 1, "warmup_epochs": 0})


class _Stopwatch:
    """Stands in for ahead(): seconds spent in preparing (in the thread), and in waiting for it (in the loop)."""

    def __init__(self, threaded: bool) -> None:
        self._run = ahead if threaded else map
        self._prepared: list[float] = []
        self._waited: list[float] = []

    def __call__(self, prepare: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Training and validation batches come in turn, so an epoch is two calls."""
        self._prepared.append(0.0)
        self._waited.append(0.0)

        def timed(item: Any) -> Any:
            began = time.perf_counter()
            made = prepare(item)
            self._prepared[-1] += time.perf_counter() - began
            return made

        made = iter(self._run(timed, items))
        while True:
            began = time.perf_counter()
            item = next(made, None)
            self._waited[-1] += time.perf_counter() - began
            if item is None:
                return
            yield item

    def laps(self, what: str) -> list[float]:
        """Seconds "prepared" or "waited" in each epoch."""
        seconds = self._prepared if what == "prepared" else self._waited
        return [sum(pair) for pair in zip(seconds[::2], seconds[1::2], strict=True)]


def _profile(case: _Case) -> dict[str, dict[str, float]]:
    """Where the epochs of each way of training go: seconds of an epoch, and how many cores are busy."""
    found: dict[str, dict[str, float]] = {}
    for name in _WAYS:
        spec, objective = case.way(name)
        for threaded in (True, False):
            watch, clock = _Stopwatch(threaded), _Clock()
            with mock.patch.object(training, "ahead", watch):
                case.fit(case.student(1), _timed(spec, case), objective, 1, clock)
            seconds = statistics.mean(clock.epochs[1:])
            if threaded:
                found[name] = {
                    "epoch": seconds,
                    "cores": statistics.mean(clock.busy[1:]) / seconds,
                    "preparing": statistics.mean(watch.laps("prepared")[1:]),
                    "waiting": statistics.mean(watch.laps("waited")[1:]),
                }
            else:
                found[name]["without_thread"] = seconds
    return found


def _keras_distiller(case: _Case, spec: DistillSpec) -> list[float]:
    """The same student, batch size and optimizer through keras.distillation, with the loss that makes it right."""
    import keras

    distiller = keras.distillation.Distiller(
        case.teacher,
        case.student(1),
        keras.distillation.LogitsDistillation(temperature=spec.temperature, loss=keras.losses.KLDivergence()),
        student_loss_weight=1.0 - spec.alpha,
    )
    distiller.compile(
        optimizer=keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    seconds: list[float] = []

    class _Laps(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds.append(time.perf_counter() - self.began)

    distiller.fit(
        case.train,
        case.samples.train_y,
        validation_data=(case.samples.val_inputs(np.arange(len(case.samples.val_y))), case.samples.val_y),
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        verbose=0,
        callbacks=[_Laps()],
    )
    return seconds


def _print(name: str, result: dict[str, Any]) -> None:
    seconds, accuracy = result["epoch_seconds"], result["accuracy"]
    print(f"{name}: teacher {100 * accuracy['teacher']:.2f} %, student of {result['parameters']} parameters")
    for kind in _WAYS:
        found = accuracy[kind]
        print(
            f"  {kind:20} {100 * found['mean']:.2f} % +- {100 * found['standard_deviation']:.2f} "
            f"({len(found['seeds'])} seeds: {', '.join(f'{100 * value:.2f}' for value in found['seeds'])})"
        )
    print("  seconds an epoch: " + ", ".join(f"{kind} {value:.3f}" for kind, value in seconds.items()))
    for kind, found in result["profile"].items():
        print(f"  {kind:20} " + ", ".join(f"{what} {value:.3f}" for what, value in found.items()))
    print(
        f"  a distillation epoch costs {result['ratio_to_alone']:.2f} of a plain one, "
        f"{result['ratio_to_keras']:.2f} of Keras' Distiller; augmented, with replayed logits, "
        f"{result['ratio_replayed']:.2f} of a plain one, with the teacher live {result['ratio_live']:.2f}"
    )


def main() -> None:
    """Runs the cases and prints them; --json keeps the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10 images")
    parser.add_argument("--seeds", type=int, choices=range(2, 100), default=3, metavar="N", help="2 or more")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.cifar and not options.cifar.is_dir():
        parser.error(f"--cifar: no such folder: {options.cifar}")
    keras_files.start_tensorflow()
    cases = [_Case(name, options.cifar) for name in _CASES if name == "digits" or options.cifar]
    timed = [(case, _epoch_seconds(case), _profile(case)) for case in cases]
    print("all timings are taken; accuracies do not need an idle machine", file=sys.stderr, flush=True)
    results = {}
    for case, seconds, profile in timed:
        results[case.name] = {
            "parameters": case.student(1).count_params(),
            "epochs": case.spec["distill"].epochs,
            "accuracy": _accuracies(case, options.seeds),
            "epoch_seconds": seconds,
            "profile": profile,
            "ratio_to_alone": seconds["distilled"] / seconds["alone"],
            "ratio_to_keras": seconds["distilled"] / seconds["keras_distiller"],
            "ratio_replayed": seconds["replayed, augmented"] / seconds["alone, augmented"],
            "ratio_live": seconds["live, augmented"] / seconds["alone, augmented"],
        }
        _print(case.name, results[case.name])
    if options.json:
        write_json(options.json, results)
    else:
        print(to_json(results), end="")


if __name__ == "__main__":
    main()
