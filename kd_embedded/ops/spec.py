"""What an op's file says: its cost, what is accepted, its integer reference, its C calls; how its tensors are found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from kd_embedded.errors import ModelError
from kd_embedded.program import Step, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor

Values = Sequence[NDArray[Any] | None]
Accepts = Callable[[Graph, Op], None]
Reference = Callable[[Graph, Op, Values], list[NDArray[Any]]]
Lower = Callable[[Graph, Op, Target], tuple[Step, ...]]
Pointwise = Callable[[Graph, Op, Sequence[NDArray[Any]]], NDArray[Any]]

_TODO = "the model is damaged: convert it again"


def no_macs(graph: Graph, op: Op) -> int:
    """For ops that move, clamp or look up values: only contractions (a sum of products) count multiply-accumulates."""
    return 0


@dataclass(frozen=True)
class OpSpec:
    """One builtin op.

    ``macs(graph, op)`` counts its multiply-accumulates in one inference.
    ``accepts(graph, op)`` raises a ModelError (``refuse``) for what ``reference`` and ``lower`` do not do; whatever it
    lets pass, they do exactly.
    ``reference(graph, op, values)`` computes the outputs as the TFLite reference kernel does, on integers alone.
    ``values[i]`` is input i as [N, *tensor.shape]: N samples at once for an activation, N = 1 for a constant, None for
    an input left out. It gives one array [N, *tensor.shape] for each output.
    ``lower(graph, op, target)`` gives the kernel calls. Without these three the aot engine does not have the op.
    ``pointwise(graph, op, operands)``: where each output value depends on one value of each operand alone, the outputs
    for any operands (int64 arrays of int8 values, which broadcast).
    """

    name: str
    macs: Callable[[Graph, Op], int] = no_macs
    accepts: Accepts | None = None
    reference: Reference | None = None
    lower: Lower | None = None
    pointwise: Pointwise | None = None


def describe(op: Op) -> str:
    """``op 3 (CONV_2D)``, as every message names an op."""
    return f"op {op.index} ({op.options.get('custom_code') or op.name})"


def refuse(graph: Graph, op: Op, what: str) -> ModelError:
    """The error of an op or attribute outside the aot engine: ``raise refuse(graph, op, "has stride 0")``."""
    return ModelError(f"{describe(op)} {what}", where=graph.name, todo="use --engine tflm for this model")


def input_tensor(graph: Graph, op: Op, position: int) -> Tensor:
    """Input ``position`` of ``op``; ModelError where the op has none there."""
    return _tensor(graph, op, op.inputs, position, "input")


def output_tensor(graph: Graph, op: Op, position: int = 0) -> Tensor:
    """Output ``position`` of ``op``; ModelError where the op has none there."""
    return _tensor(graph, op, op.outputs, position, "output")


def elements(tensor: Tensor) -> int:
    """How many values the tensor holds."""
    return math.prod(tensor.shape)


def size(graph: Graph, op: Op, tensor: Tensor, axis: int) -> int:
    """``tensor.shape[axis]``; ModelError where the tensor has fewer axes than ``op`` needs."""
    if not -len(tensor.shape) <= axis < len(tensor.shape):
        raise ModelError(
            f"{describe(op)} cannot use tensor {tensor.name} of shape {list(tensor.shape)}",
            where=graph.name,
            todo=_TODO,
        )
    return tensor.shape[axis]


def _tensor(graph: Graph, op: Op, indices: tuple[int, ...], position: int, kind: str) -> Tensor:
    if position >= len(indices) or indices[position] < 0:
        raise ModelError(f"{describe(op)} has no {kind} {position}", where=graph.name, todo=_TODO)
    return graph.tensors[indices[position]]
