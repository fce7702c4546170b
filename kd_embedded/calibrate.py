"""Ranges of the activations from a representative data set: scale and zero point of every tensor but the weights.

``minmax`` is what the converter does itself. The others leave out rare large values, which gives the many small ones
more of the 256 steps. All of them work on a histogram of each tensor, in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import float_graph
from kd_embedded.tflite.graph import Graph, QuantParams

Ranges = dict[int, QuantParams]
Array = NDArray[Any]

_BINS = 2048
_BATCH = 50
_STEPS = 256
_VALUES_A_BIN = 20
_NEARLY_NONE = 1e-4  # of a value, in a bin that holds clipped values alone
_TAIL = 0.0005  # share of the values that "percentile" leaves out at each end
_SHRINKS = np.linspace(0.3, 1.0, 71)  # what "mse" and "entropy" try of the whole range
_MANTISSA_BITS = 15


@dataclass(frozen=True, eq=False)
class Histogram:
    """``counts`` float64 [B] of values in equal bins from ``low`` to ``high``, which are the least and the largest."""

    low: float
    high: float
    counts: Array

    @property
    def centers(self) -> Array:
        """The middle of each bin, float64 [B]."""
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (np.arange(len(self.counts)) + 0.5)


def ranges(graph: Graph, inputs: NDArray[np.float32], method: str) -> Ranges:
    """Scale and zero point of every computed tensor of the float ``graph`` by its index.

    ``inputs`` float32 [K, ...] are the representative samples; ``method`` is a key of ``METHODS``. Tensors that an op
    ties together (float_graph.SAME_SCALE) get the same; outputs whose scale the converter fixes get that one.
    """
    limits = {index: METHODS[method](found) for index, found in histograms(graph, inputs).items()}
    fixed = {op.outputs[0]: float_graph.FIXED[op.name] for op in graph.ops if op.name in float_graph.FIXED}
    result: Ranges = {}
    for group in ties(graph):
        if given := [fixed[index] for index in group if index in fixed]:
            params = QuantParams((given[0][0],), (given[0][1],))
        else:
            params = quant_params(min(limits[i][0] for i in group), max(limits[i][1] for i in group))
        result |= dict.fromkeys(group, params)
    return result


def ties(graph: Graph) -> list[list[int]]:
    """The computed float tensors in groups of one scale, in the order of the graph.

    An operand with a scale that the converter fixes, such as a gate beside other values in a concatenation, is in a
    group of its own: it is requantized on its way into the op.
    """
    group = {tensor.index: [tensor.index] for tensor in float_graph.activations(graph)}
    fixed: dict[int, str] = {}
    for op in graph.ops:
        operands = [index for index in op.inputs if index in group]
        if op.name in float_graph.FIXED:
            fixed[op.outputs[0]] = op.name
        if op.name not in float_graph.SAME_SCALE:
            continue
        kinds = {fixed.get(index, "") for index in operands}
        if len(kinds) == 1 and kinds != {""}:
            fixed[op.outputs[0]] = kinds.pop()
        for index in operands:
            if fixed.get(index) == fixed.get(op.outputs[0]):
                _join(group, op.outputs[0], index)
    unique = {id(members): sorted(members) for members in group.values()}
    return sorted(unique.values())


def _join(group: dict[int, list[int]], one: int, other: int) -> None:
    if group[one] is not group[other]:
        group[one] += group[other]
        group |= dict.fromkeys(group[other], group[one])


def quant_params(low: float, high: float) -> QuantParams:
    """The int8 parameters whose range is as near to [low, high] as zero allows, which must be a value of the range.

    The scale has few enough bits for the converter to read it unrounded from a float32 range, and is large enough for
    it not to widen the range.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(short((high - low) / 255), _LEAST_SCALE) if high > low else 1.0
    return QuantParams((scale,), (int(np.clip(round(-128 - low / scale), -128, 127)),))


def short(scale: float) -> float:
    """``scale`` rounded to 15 bits: 255 times it is exact in float32, whose mantissa has 24."""
    mantissa, exponent = math.frexp(scale)
    return math.ldexp(round(mantissa * 2**_MANTISSA_BITS), exponent - _MANTISSA_BITS)


_LEAST_SCALE = short(1.0001e-6 / 255)  # the converter widens ranges of up to 1e-6 (its ExpandVerySmallRange)


def limits_of(params: QuantParams) -> tuple[float, float]:
    """The least and the largest value that int8 with ``params`` holds."""
    scale, zero_point = params.scale[0], params.zero_point[0]
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def histograms(graph: Graph, inputs: NDArray[np.float32]) -> dict[int, Histogram]:
    """The histogram of every computed float tensor over the samples ``inputs`` float32 [K, ...]."""
    chosen = [tensor.index for tensor in float_graph.activations(graph)]
    run = float_graph.runner(graph, chosen)
    batches = [inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH)]
    ends = np.array([[[value.min(), value.max()] for value in run(batch)] for batch in batches], np.float64)
    low, high = ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)
    counts = np.zeros((len(chosen), _BINS))
    for batch in batches:
        for i, value in enumerate(run(batch)):
            counts[i] += histogram_counts(value, low[i], high[i])
    return {index: Histogram(low[i], high[i], counts[i]) for i, index in enumerate(chosen)}


def histogram_counts(values: Array, low: float, high: float, bins: int = _BINS) -> Array:
    """How many ``values`` fall into each of ``bins`` equal bins from ``low`` to ``high``: float64 [bins]."""
    width = (high - low) / bins or 1.0
    places = np.clip((values.reshape(-1) - low) / width, 0, bins - 1).astype(np.int64)
    return np.bincount(places, minlength=bins).astype(np.float64)


def _minmax(found: Histogram) -> tuple[float, float]:
    return found.low, found.high


def _percentile(found: Histogram) -> tuple[float, float]:
    """The range without ``_TAIL`` of the values at each end, to a bin."""
    below = np.cumsum(found.counts) / found.counts.sum()
    edges = np.linspace(found.low, found.high, len(found.counts) + 1)
    first = int(np.searchsorted(below, _TAIL, side="right"))
    last = int(np.searchsorted(below, 1.0 - _TAIL, side="left"))
    return float(edges[first]), float(edges[last + 1])


def _mse(found: Histogram) -> tuple[float, float]:
    """The range, of those shrunk alike at both ends, with the least squared error of rounding and clipping."""
    return _best_shrink(found, lambda low, high: _squared_error(found, quant_params(low, high)))


def _entropy(found: Histogram) -> tuple[float, float]:
    """The range with the least Kullback-Leibler divergence of the quantized distribution from the clipped one.

    Migacz 2017, "8-bit Inference with TensorRT", with two ends and 256 steps in place of one end and 128. Zero is a
    value of its own after a ReLU and exact whatever the range; its bin counts as much as the larger neighbour.
    """
    found = _coarse(found)
    counts = found.counts.copy()
    if found.low <= 0.0 <= found.high:
        zero = min(int(-found.low / ((found.high - found.low) / len(counts) or 1.0)), len(counts) - 1)
        beside = [counts[place] for place in (zero - 1, zero + 1) if 0 <= place < len(counts)]
        counts[zero] = min(counts[zero], max(beside)) or counts[zero]
    return _best_shrink(found, lambda low, high: _divergence(counts, found, low, high))


def _coarse(found: Histogram) -> Histogram:
    """``found`` in bins of twenty values on average, if that leaves one for a step: few values tell no shape."""
    counts = found.counts
    while len(counts) > _STEPS and counts.sum() < _VALUES_A_BIN * len(counts):
        counts = counts.reshape(-1, 2).sum(axis=1)
    return Histogram(found.low, found.high, counts)


def _best_shrink(found: Histogram, cost: Callable[[float, float], float]) -> tuple[float, float]:
    """The cheapest of the ranges; of equals the widest."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    costs = [cost(low * share, high * share) for share in _SHRINKS]
    share = _SHRINKS[len(costs) - 1 - int(np.argmin(costs[::-1]))]
    return float(low * share), float(high * share)


def _squared_error(found: Histogram, params: QuantParams) -> float:
    (scale,), (zero_point,) = params.scale, params.zero_point
    steps = np.clip(np.rint(found.centers / scale) + zero_point, -128, 127) - zero_point
    return float(found.counts @ (found.centers - steps * scale) ** 2)


def _divergence(counts: Array, found: Histogram, low: float, high: float) -> float:
    inside = np.flatnonzero((found.centers >= low) & (found.centers <= high))
    if not len(inside):
        return math.inf
    kept = counts[inside]
    clipped = kept.copy()
    clipped[0] += counts[: inside[0]].sum()
    clipped[-1] += counts[inside[-1] + 1 :].sum()
    step = np.arange(len(kept)) * _STEPS // len(kept)
    filled = (clipped > 0).astype(float)
    mean = np.bincount(step, kept) / np.maximum(np.bincount(step, filled), 1.0)
    quantized = np.maximum(mean[step] * filled, _NEARLY_NONE * filled)
    return divergence(clipped, quantized)


def divergence(reference: Array, other: Array) -> float:
    """KL(reference || other) of two histograms, in nats; infinite where ``other`` lacks what ``reference`` has."""
    total, other_total = reference.sum(), other.sum()
    has = reference > 0
    if not total or not other_total or (other[has] == 0).any():
        return math.inf
    p, q = reference[has] / total, other[has] / other_total
    return float((p * np.log(p / q)).sum())


METHODS: Mapping[str, Callable[[Histogram], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
