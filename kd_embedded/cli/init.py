"""`kd-embedded init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.errors import ConfigError
from kd_embedded.progress import Progress

_EXAMPLES: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "digits": (
        "Handwritten digits, 8x8 pixels, inside scikit-learn: nothing to download.",
        {"student": {"width": 0.75}, "budgets": {"min_accuracy": 0.96}},
    ),
    "forest": (
        "A random forest of scikit-learn teaches a tiny network the digits.",
        {
            "project": {"name": "forest", "out": "runs/forest"},
            "teacher": {
                **{"kind": "sklearn", "estimator": "sklearn.ensemble.RandomForestClassifier"},
                **{"parameters": {"n_estimators": 200}},
            },
            "student": {"width": 0.75},
            "distill": {"temperature": 2.0},
            "budgets": {"min_accuracy": 0.95},
        },
    ),
    "anomaly": (
        "An auto-encoder of the digits 0 to 8, inside scikit-learn, finds the 9 by its error.",
        {
            "project": {"name": "anomaly", "out": "runs/anomaly"},
            "data": {"task": "autoencoder", "anomalies": ("9",)},
            "teacher": {"arch": "mlp", "augment_shift": 0},
            "student": {"arch": "autoencoder", "width": 0.5},
            "distill": {"method": "mse", "ensemble": "logits"},
            "budgets": {"min_auc": 0.8},
        },
    ),
    "cifar10": (
        "CIFAR-10 as images: train/<class>/*.jpg and test/<class>/*.jpg in the folder cifar10 beside kd.toml.",
        {
            "project": {"name": "cifar10", "out": "runs/cifar10", "boards": ("esp32s3", "nano33ble")},
            "data": {"source": "images:cifar10", "val_fraction": 0.1},
            "teacher": {
                **{"arch": "airbench", "input_scale": 4.0, "input_offset": -1.9, "epochs": 12, "batch_size": 256},
                **{"optimizer": "sgd", "learning_rate": 0.25, "weight_decay": 0.013, "precision": "mixed_bfloat16"},
                **{"augment_flip": True, "augment_shift": 2},
            },
            "student": {"arch": "resnet8"},
            "distill": {
                **{"epochs": 100, "batch_size": 128, "optimizer": "sgd", "learning_rate": 0.2},
                **{"augment_flip": True, "augment_shift": 4, "teacher_mirror": True},
            },
        },
    ),
    "npz": (
        "Your own arrays, in data.npz beside kd.toml: x_train, y_train, and if you like x_val, y_val, x_test, y_test.",
        {
            "project": {"name": "my_model", "out": "runs/my_model"},
            "data": {"source": "npz:data.npz"},
            "teacher": {"arch": "mlp", "augment_shift": 0},
            "student": {"arch": "mlp"},
        },
    ),
}


@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--example", default="digits", metavar="NAME", help=f"{', '.join(_EXAMPLES)}; digits where left out.")
@verb
def command(progress: Progress, folder: Path, example: str) -> Outcome:
    """Write DIR/kd.toml, with every key, its value and a comment."""
    from kd_embedded import artifacts
    from kd_embedded.config import default_toml, nearest

    if example not in _EXAMPLES:
        raise ConfigError(f"no such example {example!r}", where="--example", todo=nearest(example, tuple(_EXAMPLES)))
    path = folder / "kd.toml"
    if path.exists():
        raise ConfigError("is already there", where=str(path), todo="edit it, or name another folder")
    title, overrides = _EXAMPLES[example]
    artifacts.write_text(path, default_toml(overrides, title))
    return Outcome(
        {"config": str(path), "example": example}, f"wrote {path}; next: kd-embedded run {shlex.quote(str(path))}"
    )
