"""Ops of two int8 operands that broadcast: what is accepted, the walk that the kernels take, and constant operands.

The kernels read operand ``a`` value by value in the innermost loop, while ``b`` is read so too or stands still; the
operands are exchanged where it is ``a`` that stands still. An op whose second operand is one constant value, or the
first operand again, is a function of one value: the kernel ``lookup``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._lookup import ALL_VALUES, lookup_step
from kd_embedded.ops._weights import quant, result
from kd_embedded.ops.spec import OpSpec, Values, input_tensor, output_tensor, refuse
from kd_embedded.program import Array, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor

Function = Callable[[Graph, Op], Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Walk:
    """How the output is walked: ``count`` values at a time, in which ``b`` stands still or not; and loops around it.

    ``loops``: (rounds, step in ``a``, step in ``b``), the innermost first. ``operands``: the call's inputs, a and b.
    ``exchanged``: whether a is the op's second operand.
    """

    operands: tuple[int | Array, int | Array]
    exchanged: bool
    count: int
    step_b: int
    loops: tuple[tuple[int, int, int], ...]
    overlaps: tuple[Overlap, ...]

    def fields(self) -> dict[str, int | Array]:
        """The first fields of every kernel's arguments."""
        loop = np.array(self.loops or [(1, 0, 0)], np.int32).reshape(-1)
        return {"count": self.count, "step_b": self.step_b, "loops": len(self.loops), "loop": Array("loops", loop)}


Calls = Callable[[Graph, Op, Walk], tuple[Step, ...]]


def binary_op(
    name: str, function: Function, calls: Calls, rank: int, check: Callable[[Graph, Op], None] | None = None
) -> OpSpec:
    """The OpSpec of an op of two operands.

    ``function(graph, op)`` gives what computes int8 from two int64 arrays that broadcast; it raises (``refuse``) what
    the op does not do. ``calls`` gives the calls for a walk. ``rank`` is how many axes the reference kernel broadcasts
    over (with more it aborts); at most 6, for the kernels have five loops around a row. ``check`` refuses more.
    """

    def accepts(graph: Graph, op: Op) -> None:
        _check(graph, op, rank)
        if check is not None:
            check(graph, op)
        function(graph, op)

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        shape = output_tensor(graph, op).shape
        first, second = (extended(value, len(shape)) for value in values)
        compute = function(graph, op)
        if max(first.size, second.size) > ALL_VALUES.size**2:
            made = _looked_up(compute(ALL_VALUES[:, np.newaxis], ALL_VALUES), first, second)
        else:
            made = compute(first.astype(np.int64), second.astype(np.int64))
        return [made.astype(np.int8).reshape(len(made), *shape)]

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        table = _table(graph, op, function)
        if table is not None:
            return (lookup_step(graph, op, *table),)
        return calls(graph, op, walk(graph, op))

    def pointwise(graph: Graph, op: Op, operands: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return function(graph, op)(operands[0], operands[1])

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower, pointwise=pointwise)


def operand_quant(graph: Graph, op: Op, position: int) -> tuple[float, int]:
    """Scale and zero point of an operand."""
    params = quant(input_tensor(graph, op, position))
    return params.scale[0], params.zero_point[0]


def output_quant(graph: Graph, op: Op) -> tuple[float, int]:
    """Scale and zero point of the output."""
    params = quant(output_tensor(graph, op))
    return params.scale[0], params.zero_point[0]


def _check(graph: Graph, op: Op, rank: int) -> None:
    operands, output = [input_tensor(graph, op, position) for position in (0, 1)], result(graph, op)
    for tensor in operands:
        if tensor.dtype != "int8" or tensor.quant is None or tensor.quant.per_channel or 0 in tensor.shape:
            raise refuse(graph, op, f"has the operand {tensor.name} that is not int8 with one scale")
    if all(tensor.data is not None for tensor in operands):
        raise refuse(graph, op, "has two constant operands")
    shapes = [tensor.shape for tensor in operands]
    if broadcast(shapes) != output.shape:
        raise refuse(graph, op, f"makes shape {list(output.shape)} of {list(shapes[0])} and {list(shapes[1])}")
    if shapes[0] != shapes[1] and len(output.shape) > rank:
        raise refuse(graph, op, f"broadcasts over {len(output.shape)} axes, and {rank} are supported")


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def extended(value: NDArray[Any] | None, rank: int) -> NDArray[Any]:
    """[N, *shape] with as many axes behind N as the output has."""
    assert value is not None
    return value.reshape(len(value), *[1] * (rank + 1 - value.ndim), *value.shape[1:])


def _looked_up(pairs: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The entries of ``pairs`` [256, 256]: for many values faster than computing each."""
    place = (first.astype(np.int32) + 128) * 256 + (second.astype(np.int32) + 128)
    return np.take(pairs.astype(np.int8).reshape(-1), place)


def _table(graph: Graph, op: Op, function: Function) -> tuple[int, NDArray[Any]] | None:
    """The only tensor that varies and the output for each of its values, where there is only one."""
    compute, output = function(graph, op), output_tensor(graph, op)
    first, second = (input_tensor(graph, op, position) for position in (0, 1))
    if first.index == second.index:
        return first.index, compute(ALL_VALUES, ALL_VALUES)
    if _is_value(second) and first.shape == output.shape:
        return first.index, compute(ALL_VALUES, _value(second))
    if _is_value(first) and second.shape == output.shape:
        return second.index, compute(_value(first), ALL_VALUES)
    return None


def _is_value(tensor: Tensor) -> bool:
    return tensor.data is not None and bool(np.all(tensor.data == tensor.data.flat[0]))


def _value(tensor: Tensor) -> NDArray[Any]:
    assert tensor.data is not None
    return np.array(tensor.data.flat[0], np.int64)


def walk(graph: Graph, op: Op) -> Walk:
    """The shortest walk over the output: axes that both operands take alike are one."""
    first, second, output = input_tensor(graph, op, 0), input_tensor(graph, op, 1), output_tensor(graph, op)
    axes = joined_axes(output.shape, strides(first.shape, output.shape), strides(second.shape, output.shape))
    exchanged = axes[0][1] == 0
    if exchanged:
        axes = [(count, step_b, step_a) for count, step_a, step_b in axes]
    (count, _, step_b), *loops = axes
    tensors = (second, first) if exchanged else (first, second)
    overlaps = tuple(
        Overlap(position, "forward")
        for position, tensor in enumerate(tensors)
        if tensor.data is None and math.prod(tensor.shape) == math.prod(output.shape)
    )
    a, b = (_operand(tensor) for tensor in tensors)
    return Walk((a, b), exchanged, count, step_b, tuple(loops), overlaps)


def _operand(tensor: Tensor) -> int | Array:
    return tensor.index if tensor.data is None else Array("operand", tensor.data.reshape(-1), "weights")


def strides(shape: tuple[int, ...], output: tuple[int, ...]) -> list[int]:
    """Step in a tensor of ``shape`` along each axis of ``output``; 0 where it has one value for all."""
    padded = [1] * (len(output) - len(shape)) + list(shape)
    return [0 if padded[axis] == 1 else math.prod(padded[axis + 1 :]) for axis in range(len(output))]


def joined_axes(shape: tuple[int, ...], steps_a: list[int], steps_b: list[int]) -> list[tuple[int, int, int]]:
    """(size, step in a, step in b), the innermost first; neighbours that one step each goes through are one."""
    axes: list[tuple[int, int, int]] = []
    for size, a, b in zip(reversed(shape), reversed(steps_a), reversed(steps_b), strict=True):
        if size == 1:
            continue
        if axes and (axes[-1][0] * axes[-1][1], axes[-1][0] * axes[-1][2]) == (a, b):
            axes[-1] = (axes[-1][0] * size, *axes[-1][1:])
        else:
            axes.append((size, a, b))
    return axes or [(1, 1, 1)]
