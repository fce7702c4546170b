"""SOFTMAX along the last axis, in fixed point, to a scale of 1/256.

In rows where no value stands out, whose exponentials relative to the largest add up to 512 or more, TFLite shifts an
int32 by 32 bits and more. C leaves that undefined (tflite-runtime on x86-64 then gives 127 for all of them). Here such
values are what the formula says: less than half a step, so -128.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.fixedpoint import rounding_divide_by_pot
from kd_embedded.ops._exponential import MAX_DEPTH, SUM_BITS, Exponent, exponent, exponentials, high_mul, reciprocals
from kd_embedded.ops._lookup import scales, zero_points
from kd_embedded.ops.spec import OpSpec, Values, elements, input_tensor, output_tensor, refuse
from kd_embedded.program import Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op


def accepts(graph: Graph, op: Op) -> None:
    """Refuses outputs of another scale, and rows longer than the sum of exponentials holds."""
    _exponent(graph, op)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """Source: tensorflow/lite/kernels/internal/reference/softmax.h:68 (v2.14), Softmax<int8_t, int8_t>."""
    x, found = values[0], _exponent(graph, op)
    assert x is not None
    row = x.astype(np.int64)
    differences = row - row.max(-1, keepdims=True)
    counted = differences >= found.lowest
    raised = exponentials(found.scaled(np.maximum(differences, found.lowest)))
    sums = np.where(counted, rounding_divide_by_pot(raised, SUM_BITS), 0).sum(-1, keepdims=True)
    scale, shift = reciprocals(sums)
    unsaturated = rounding_divide_by_pot(high_mul(scale, raised), shift + 31 - 8) - 128
    return [np.where(counted, np.clip(unsaturated, -128, 127), -128).astype(np.int8)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call of the kernel ``softmax``."""
    found, shape = _exponent(graph, op), output_tensor(graph, op).shape
    fields = {
        "rows": elements(output_tensor(graph, op)) // shape[-1],
        "depth": shape[-1],
        "multiplier": found.multiplier,
        "shift": found.shift,
        "lowest": max(-256, found.lowest),
    }
    return (Call("softmax", op.index, op.inputs, op.outputs, fields, overlaps=(Overlap(0, "forward"),)),)


def _exponent(graph: Graph, op: Op) -> Exponent:
    """Source: tensorflow/lite/kernels/activations.cc:528 (v2.14), SoftmaxPrepare<kReference>."""
    (scale, output_scale), (_, zero_point) = scales(graph, op), zero_points(graph, op)
    shape, beta = input_tensor(graph, op, 0).shape, float(op.options.get("beta", 0.0))
    if output_tensor(graph, op).shape != shape or not shape:
        raise refuse(graph, op, f"makes shape {list(output_tensor(graph, op).shape)} of {list(shape)}")
    if zero_point != -128 or not abs(output_scale - 1 / 256) <= 0.001 / 256:
        raise refuse(graph, op, f"has an output scale of {output_scale:g} and zero point {zero_point}, not 1/256, -128")
    if shape[-1] > MAX_DEPTH:
        raise refuse(graph, op, f"has rows of {shape[-1]} values, and {MAX_DEPTH} are supported")
    found = exponent(beta * scale)
    if found is None:
        raise refuse(graph, op, f"has beta {beta:g} and an input scale of {scale:g}, too small for the reference")
    return found


OP = OpSpec("SOFTMAX", accepts=accepts, reference=reference, lower=lower)
