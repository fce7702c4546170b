"""Ops of one int8 input, value by value: 256 entries computed from the reference, and one kernel that looks them up.

What TFLite computes in floating point before the first inference (its own lookup tables) is computed here in the same
types, when the code is generated; the device has the table alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import quantize_multiplier
from kd_embedded.ops._weights import activation, quant, result
from kd_embedded.ops.spec import OpSpec, Values, elements, refuse
from kd_embedded.program import Alias, Array, Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor

Table = Callable[[Graph, Op], NDArray[Any]]
ALL_VALUES: NDArray[Any] = np.arange(-128, 128, dtype=np.int64)  # what a table has an entry for, in its order
_MAX_SHIFT = 30  # beyond it the reference's own shift is undefined


def lookup_op(name: str, table: Table) -> OpSpec:
    """The OpSpec of a unary op. ``table(graph, op)`` gives int8 [256], the output for each of ``ALL_VALUES``.

    It raises (``refuse``) what the op does not do.
    """

    def accepts(graph: Graph, op: Op) -> None:
        source, output = activation(graph, op, 0), result(graph, op)
        if source.shape != output.shape:
            raise refuse(graph, op, f"makes shape {list(output.shape)} of {list(source.shape)}")
        table(graph, op)

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        x = values[0]
        assert x is not None
        return [look_up(table(graph, op), x)]

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        return (lookup_step(graph, op, op.inputs[0], table(graph, op)),)

    def pointwise(graph: Graph, op: Op, operands: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return look_up(table(graph, op), operands[0])

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower, pointwise=pointwise)


def look_up(table: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """The entries int8 of ``table`` for ``x`` int8, any shape."""
    return np.asarray(table[x.astype(np.int64) + 128])


def lookup_step(graph: Graph, op: Op, source: int, table: NDArray[Any]) -> Step:
    """The step that takes tensor ``source`` through ``table``; an alias where the table changes nothing."""
    if np.array_equal(table, ALL_VALUES):
        return Alias(op.index, source, op.outputs[0])
    by_byte = np.roll(table, 128).astype(np.int8)  # 0 to 127, then -128 to -1
    args: dict[str, int | Array] = {"count": elements(graph.tensors[source]), "table": Array("table", by_byte)}
    return Call("lookup", op.index, (source,), op.outputs, args, overlaps=(Overlap(0, "forward"),))


def multiplier(graph: Graph, op: Op, real: float) -> tuple[int, int]:
    """``fixedpoint.quantize_multiplier``, refused where the reference would shift by more than it can."""
    found = quantize_multiplier(real) if math.isfinite(real) else None
    if found is None or found[1] > _MAX_SHIFT:
        raise refuse(graph, op, f"multiplies its values by {real:g}, more than the reference kernels can")
    return found


def float_table(graph: Graph, op: Op, transform: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """int8 [256] of a function on reals; ``transform`` takes and gives float32 [256].

    Source: tensorflow/lite/kernels/internal/common.h:379 (v2.14), detail::LUTPopulateInt8: all in float32, rounded
    half away from zero. Values too large for its int32 are undefined there, and refused here.
    """
    source, output = _unary_quant(graph, op)
    (scale, zero_point), (output_scale, output_zero_point) = source, output
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        inverse = np.float32(1) / np.float32(output_scale)
        transformed = transform(np.float32(scale) * (ALL_VALUES - zero_point).astype(np.float32))
        rescaled = round_half_away(transformed * inverse)
    if not np.all(np.abs(rescaled) < 2.0**30):
        raise refuse(graph, op, f"has an output scale of {output_scale:g}, too small for its values")
    return np.clip(rescaled.astype(np.int64) + output_zero_point, -128, 127).astype(np.int8)


def round_half_away(x: Any) -> NDArray[Any]:
    """``std::round``: to the nearest integer, halves away from zero; exact, in the type of ``x``."""
    whole = np.trunc(x)
    return np.asarray(whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0).astype(x.dtype))


def divide32(*factors: float, by: float) -> float:
    """The product of ``factors`` divided by ``by``, each step in float32 as the reference's Prepare does it."""
    with np.errstate(over="ignore", under="ignore"):
        product = np.float32(factors[0])
        for factor in factors[1:]:
            product = np.float32(product * np.float32(factor))
        return float(np.float32(product / np.float32(by)))


def scales(graph: Graph, op: Op) -> tuple[float, float]:
    """Scales of input 0 and the output."""
    source, output = _unary_quant(graph, op)
    return source[0], output[0]


def zero_points(graph: Graph, op: Op) -> tuple[int, int]:
    """Zero points of input 0 and the output."""
    source, output = _unary_quant(graph, op)
    return source[1], output[1]


def _unary_quant(graph: Graph, op: Op) -> tuple[tuple[float, int], tuple[float, int]]:
    return _first(activation(graph, op, 0)), _first(result(graph, op))


def _first(tensor: Tensor) -> tuple[float, int]:
    return quant(tensor).scale[0], quant(tensor).zero_point[0]
