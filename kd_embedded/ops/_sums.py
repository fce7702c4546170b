"""ADD and SUB: both operands brought to one scale with 20 more bits, added, requantized, held in a range.

Source: tensorflow/lite/kernels/add.cc:88 and sub.cc:213 (v2.14), Prepare (multipliers of doubles; SUB is an addition
with the second multiplier negated); internal/reference/integer_ops/add.h:148, AddFunc.

The kernel ``add_linear`` computes ``(ma a + mb b + offset) >> shift`` instead, saturated. Its four numbers are looked
for when the code is generated, and taken only if they give the reference's byte for all 65 536 pairs of operands. They
were found for 1 498 of 1 500 random scales; where they are not, the kernel ``add_exact`` follows the reference step by
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, quantize_multiplier, wrap32
from kd_embedded.kernels.clamp import clamp
from kd_embedded.ops._binary import Walk, binary_op, operand_quant, output_quant
from kd_embedded.ops._lookup import ALL_VALUES
from kd_embedded.ops._weights import activation_range
from kd_embedded.ops.spec import OpSpec, elements, output_tensor, refuse
from kd_embedded.program import Call, Step
from kd_embedded.tflite.graph import Graph, Op

_LEFT_SHIFT = 20
_NEAR = (0, 1, -1, 2, -2)  # around the rounded multipliers
_MAX_LINEAR_SHIFT = 24


@dataclass(frozen=True)
class Sum:
    """The reference's numbers. ``first``, ``second``, ``output``: multiplier and shift; shifts are not positive."""

    first: tuple[int, int]
    second: tuple[int, int]
    output: tuple[int, int]
    first_zero_point: int
    second_zero_point: int
    output_zero_point: int

    def compute(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """int64 of int8 operands that broadcast, before it is held in a range."""
        left = multiply_by_quantized_multiplier((first - self.first_zero_point) << _LEFT_SHIFT, *self.first)
        right = multiply_by_quantized_multiplier((second - self.second_zero_point) << _LEFT_SHIFT, *self.second)
        return wrap32(
            multiply_by_quantized_multiplier(wrap32(left + right), *self.output) + np.int64(self.output_zero_point)
        )

    def exchanged(self) -> Sum:
        """With the operands exchanged."""
        return Sum(
            self.second, self.first, self.output, self.second_zero_point, self.first_zero_point, self.output_zero_point
        )


@dataclass(frozen=True)
class Linear:
    """``(multiplier_a * a + multiplier_b * b + offset) >> shift``; no step leaves int32."""

    multiplier_a: int
    multiplier_b: int
    offset: int
    shift: int


def sum_op(name: str, sign: int, rank: int) -> OpSpec:
    """The OpSpec of ADD (``sign`` 1) or SUB (-1), whose reference broadcasts over ``rank`` axes."""

    def function(graph: Graph, op: Op) -> Any:
        found, (low, high) = _sum(graph, op, sign), activation_range(graph, op, output_tensor(graph, op))
        return lambda first, second: np.clip(found.compute(first, second), low, high)

    def calls(graph: Graph, op: Op, walk: Walk) -> tuple[Step, ...]:
        found, output = _sum(graph, op, sign), output_tensor(graph, op)
        low, high = activation_range(graph, op, output)
        return sum_calls(op, walk, found.exchanged() if walk.exchanged else found, low, high, elements(output))

    return binary_op(name, function, calls, rank)


def sum_calls(op: Op, walk: Walk, found: Sum, low: int, high: int, count: int) -> tuple[Step, ...]:
    """The calls that compute ``found`` on a walk over ``count`` values, held in ``low`` to ``high``."""
    form = linear(found)
    if form is None:
        return (_exact(op, walk, found, low, high),)
    fields = walk.fields() | {
        "multiplier_a": form.multiplier_a,
        "multiplier_b": form.multiplier_b,
        "offset": form.offset,
        "shift": form.shift,
    }
    call = Call("add_linear", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps)
    narrower = low > -128 or high < 127
    return (call, clamp(op.outputs[0], op.index, low, high, count)) if narrower else (call,)


def _exact(op: Op, walk: Walk, found: Sum, low: int, high: int) -> Call:
    fields = walk.fields() | {
        "multiplier_a": found.first[0],
        "multiplier_b": found.second[0],
        "multiplier": found.output[0],
        "shift_a": -found.first[1],
        "shift_b": -found.second[1],
        "shift": -found.output[1],
        "zero_point_a": found.first_zero_point,
        "zero_point_b": found.second_zero_point,
        "zero_point": found.output_zero_point,
        "low": low,
        "high": high,
    }
    return Call("add_exact", op.index, walk.operands, op.outputs, fields, overlaps=walk.overlaps)


def _sum(graph: Graph, op: Op, sign: int) -> Sum:
    (scale_1, zero_1), (scale_2, zero_2) = (operand_quant(graph, op, position) for position in (0, 1))
    output_scale, output_zero = output_quant(graph, op)
    twice_largest = 2 * max(scale_1, scale_2)
    real = twice_largest / ((1 << _LEFT_SHIFT) * output_scale)
    if real >= 1:
        raise refuse(graph, op, f"has an output scale of {output_scale:g}, too small for its operands")
    first, second = (quantize_multiplier(scale / twice_largest) for scale in (scale_1, scale_2))
    return Sum(first, (sign * second[0], second[1]), quantize_multiplier(real), zero_1, zero_2, output_zero)


@lru_cache(maxsize=256)
def linear(found: Sum) -> Linear | None:
    """Numbers that give ``found``, saturated to int8, for all pairs of operands; None where none are found."""
    a, b = ALL_VALUES[:, np.newaxis], ALL_VALUES
    wanted = found.compute(a, b)
    slopes = [multiplier / 2**31 * 2.0**shift for multiplier, shift in (found.first, found.second, found.output)]
    slope_a, slope_b = (slope * slopes[2] * 2.0**_LEFT_SHIFT for slope in slopes[:2])
    reach = 128 * (abs(slope_a) + abs(slope_b)) + abs(found.output_zero_point) + 2
    reach += abs(slope_a * found.first_zero_point) + abs(slope_b * found.second_zero_point)
    shift = min(_MAX_LINEAR_SHIFT, int(np.floor(31 - np.log2(reach))))
    while shift > 0:
        scaled_a, scaled_b = (round(slope * 2**shift) for slope in (slope_a, slope_b))
        for near_a in _NEAR:
            for near_b in _NEAR:
                pair = (scaled_a + near_a, scaled_b + near_b)
                offset = _offset(wanted, pair[0] * a + pair[1] * b, shift)
                if offset is not None:
                    return Linear(*pair, offset, shift)
        shift -= 4
    return None


def _offset(wanted: NDArray[Any], products: NDArray[Any], shift: int) -> int | None:
    """What must be added so that ``products >> shift``, saturated, is ``wanted`` saturated; None where nothing does."""
    lowest, highest = -(1 << 30), 1 << 30
    above, below = wanted > -128, wanted < 127
    if above.any():
        lowest = int(((np.minimum(wanted, 127) << shift) - products)[above].max())
    if below.any():
        highest = int((((np.maximum(wanted, -128) + 1) << shift) - 1 - products)[below].min())
    if lowest > highest:
        return None
    offset = (lowest + highest) // 2
    bound = max(abs(int(products.min())), abs(int(products.max()))) + abs(offset)
    return offset if bound < 1 << 31 else None
