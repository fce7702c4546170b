"""Mixed precision: layers that compute in bfloat16, about twice as fast where the processor has instructions for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

Precision = Literal["float32", "mixed_bfloat16"]


@contextmanager
def computing(model: Any, precision: Precision) -> Iterator[None]:
    """What is traced inside has ``model``, a Keras model in float32, compute in ``precision``; it is as before after.

    Weights, gradients of weights, and the model from its last layer with weights on stay float32, so that its outputs
    are (Micikevicius 2018, "Mixed Precision Training"; bfloat16 has the range of float32, so losses need no scale).
    """
    layers = _before_head(model) if precision != "float32" else []
    try:
        for layer in layers:
            layer.dtype_policy = precision
        yield
    finally:
        for layer in layers:
            layer.dtype_policy = "float32"


def _before_head(model: Any) -> list[Any]:
    leaves = list(_leaves(model))
    head = max((index for index, layer in enumerate(leaves) if layer.weights), default=0)
    return [each for leaf in leaves[:head] for each in leaf._flatten_layers()]


def _leaves(model: Any) -> Iterator[Any]:
    """Layers that are no models, those of models in it included, in their order."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer
