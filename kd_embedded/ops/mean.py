"""MEAN along axes, requantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, wrap32
from kd_embedded.ops import _reduce
from kd_embedded.ops._lookup import multiplier, scales, zero_points
from kd_embedded.ops.spec import OpSpec, Values, output_tensor
from kd_embedded.program import Array, Call, Step, Target
from kd_embedded.tflite.graph import Graph, Op


def accepts(graph: Graph, op: Op) -> None:
    """Refuses axes that are not constant, and more loops than the kernel has."""
    _reduce.reduced_axes(graph, op)
    _factor(graph, op)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """Source: tensorflow/lite/kernels/internal/reference/reduce.h:319 (v2.14), QuantizedMeanOrSum."""
    x, axes = _reduce.reduced(graph, op, values)
    zero_point, output_zero_point = zero_points(graph, op)
    sums = wrap32(x.sum(axes, dtype=np.int64) - zero_point * _reduce.output_count(graph, op))
    scaled = multiply_by_quantized_multiplier(sums, *_factor(graph, op))
    made = np.clip(wrap32(scaled + output_zero_point), -128, 127).astype(np.int8)
    return [made.reshape(len(x), *output_tensor(graph, op).shape)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call of the kernel ``mean``; the input's zero point is taken from the sum at once."""
    factor, (zero_point, output_zero_point) = _factor(graph, op), zero_points(graph, op)
    fields: dict[str, int | Array] = {
        "loops": _reduce.loop_array(graph, op),
        "start": -zero_point * _reduce.output_count(graph, op),
        "multiplier": factor[0],
        "shift": factor[1],
        "zero_point": output_zero_point,
    }
    overlaps = (_reduce.overlap(graph, op),)
    return (Call("mean", op.index, op.inputs[:1], op.outputs, fields, overlaps=overlaps),)


def _factor(graph: Graph, op: Op) -> tuple[int, int]:
    """Multiplier and shift of a sum: those of the scales, with the division by the count worked in.

    Sources: tensorflow/lite/kernels/reduce.cc:318 (v2.14), PrepareMeanOrSum (a quotient of doubles); reduce.h:319,
    QuantizedMeanOrSum.
    """
    scale, output_scale = scales(graph, op)
    factor, shift = multiplier(graph, op, scale / output_scale)
    count = _reduce.output_count(graph, op)
    more = min(count.bit_length() - 1, 32, 31 + shift)
    return (factor << more) // count, shift - more


OP = OpSpec("MEAN", accepts=accepts, reference=reference, lower=lower)
