"""Recipes of distillation, each from its paper, one a file; ``distill.method = "NAME"`` picks ``recipes/NAME.py``.

A recipe is the soft loss of a sample. The loop minimises, over the samples of a batch, the mean of::

    sample_weight * ((1 - alpha) * CE(targets, student) + alpha * soft_loss)

so a paper whose losses weigh ``a`` (labels) and ``b`` (teacher) is met by alpha = b / (a + b); where its authors' own
loss carries a factor beyond that, it is one of the recipe's parameters. A module has

    PARAMETERS: Mapping[str, float]    # its knobs with their defaults; [distill.parameters] overrides them
    FEATURES: bool                     # True: Batch.student_maps and Batch.teacher_maps are needed
    soft_loss(batch: Batch, parameters: Mapping[str, float]) -> Tensor    # float32 [N]

and, where they apply, ``POSITIVE`` (the parameters that must not be zero), ``TWO_CLASSES`` (why it is of no use with
two classes) and ``ASSISTANT = True`` (the student learns from an assistant that learnt from the teacher). With FEATURES
it also has ``choose`` and ``VECTORS``, and perhaps ``projectors``: see ``hints``; ``_features`` finds the layers. A new
recipe is one new file here; a leading underscore hides one.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from kd_embedded import plugins
from kd_embedded.errors import ConfigError
from kd_embedded.toml_files import nearest


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step knows: tensors of N samples and C classes, inside a tf.function.

    ``labels`` int64 [N], the class of the largest target; ``student`` and ``teacher`` float32 [N, C], logits;
    ``temperature`` that of [distill]; ``progress`` float32 scalar, the share of the epochs that are done;
    ``student_maps`` and ``teacher_maps`` float32 [N, H, W, D] or [N, D] each, in pairs, for recipes with FEATURES;
    ``weights`` float32 [N], or one number, how much a sample counts in a relation over the batch (by itself it is
    weighed by the loop).
    """

    labels: Any
    student: Any
    teacher: Any
    temperature: float
    progress: Any = 0.0
    student_maps: tuple[Any, ...] = ()
    teacher_maps: tuple[Any, ...] = ()
    weights: Any = 1.0


class Recipe(Protocol):
    """The module of a recipe."""

    PARAMETERS: Mapping[str, float]
    FEATURES: bool

    def soft_loss(self, batch: Batch, parameters: Mapping[str, float]) -> Any:
        """The term of distillation of each sample, float32 [N]; a relation over the batch is the same in each."""
        ...


def names() -> tuple[str, ...]:
    """The recipes, without importing them."""
    return plugins.names(list(__path__))


def get(name: str) -> Recipe:
    """The recipe called ``name``. Raises ConfigError with the nearest name where there is none."""
    if name not in names():
        raise ConfigError(
            f"no such recipe: {name!r}{nearest(name, names())}",
            where="distill.method",
            todo=f"use one of {', '.join(names())}",
        )
    return cast(Recipe, importlib.import_module(f"{__name__}.{name}"))


def has_assistant(name: str) -> bool:
    """Whether the student learns from an assistant that learnt from the teacher."""
    return bool(getattr(get(name), "ASSISTANT", False))


def parameters(name: str, given: Mapping[str, float]) -> dict[str, float]:
    """All parameters of the recipe ``name``: its defaults, and over them those ``given``.

    Raises ConfigError at one that the recipe does not have, that is negative or not finite, or zero where it divides.
    """
    recipe = get(name)
    known, positive = recipe.PARAMETERS, getattr(recipe, "POSITIVE", ())
    for key, value in given.items():
        where = f"distill.parameters.{key}"
        if key not in known:
            todo = f"its parameters are {', '.join(known)}" if known else "leave it out"
            raise ConfigError(f"{name} has no such parameter{nearest(key, known)}", where=where, todo=todo)
        if not math.isfinite(value) or value < 0.0 or (value == 0.0 and key in positive):
            least = "above 0" if key in positive else "0 or more"
            raise ConfigError(f"is {value}", where=where, todo=f"give a number {least}")
    return {**known, **{key: float(value) for key, value in given.items()}}


def effective(name: str, classes: int) -> tuple[str, str]:
    """The recipe that is used where ``name`` is asked for, and why it is another one; the reason is else empty.

    With two classes some recipes lose what they are about, and plain distillation (kd) takes their place.
    """
    reason = getattr(get(name), "TWO_CLASSES", "")
    if classes == 2 and reason:
        return "kd", f"{name} falls back to kd with two classes: {reason}"
    return name, ""
