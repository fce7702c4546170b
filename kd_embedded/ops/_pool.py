"""AVERAGE_POOL_2D and MAX_POOL_2D: windows over an image, cut at its borders; no requantization.

Sources: tensorflow/lite/kernels/pooling.cc:68 (v2.14), GenericPrepare, and padding.h:62,
ComputePaddingHeightWidth; internal/reference/integer_ops/pooling.h:26, AveragePool (rounded half away from zero), and
:86, MaxPool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._layers import window
from kd_embedded.ops._weights import activation, activation_range, result
from kd_embedded.ops.spec import OpSpec, Values, output_tensor, refuse
from kd_embedded.program import Array, Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op

_MAX_SIZE = 1 << 15  # of windows and strides: no image is wider, and the sums of bytes stay within int32


@dataclass(frozen=True)
class Axis:
    """One axis: the window of output ``o`` begins at ``o * stride - padding`` and is cut at the borders."""

    size: int
    made: int
    window: int
    stride: int
    padding: int

    def begins(self) -> NDArray[Any]:
        """int64 [made]: the first value of each output's window."""
        return np.maximum(np.arange(self.made) * self.stride - self.padding, 0)

    def ends(self) -> NDArray[Any]:
        """int64 [made]: behind the last value of each output's window."""
        return np.minimum(np.arange(self.made) * self.stride - self.padding + self.window, self.size)


@dataclass(frozen=True)
class Pool:
    """Images [n, rows.size, columns.size, channels] to [n, rows.made, columns.made, channels], held in a range."""

    n: int
    rows: Axis
    columns: Axis
    channels: int
    low: int
    high: int

    def gap(self) -> int:
        """How far behind its reading the output must stay: pixel p of it is written when window p has been read."""
        first = self.rows.begins()[:, np.newaxis] * self.columns.size + self.columns.begins()
        image = np.arange(self.n)[:, np.newaxis, np.newaxis] * self.rows.size * self.columns.size
        begins = (image + first).reshape(-1)
        lowest = np.minimum.accumulate(begins[::-1])[::-1]  # of this and later windows
        return max(0, int((np.arange(begins.size) - lowest).max())) * self.channels


Compute = Callable[[Pool, NDArray[Any]], NDArray[Any]]


def pool_op(name: str, compute: Compute) -> OpSpec:
    """The OpSpec of a pooling op; ``compute`` takes int8 [n, H, W, C] to int64 [n, H, W, C]; the kernel is ``name``."""

    def accepts(graph: Graph, op: Op) -> None:
        _pool(graph, op)

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        pool, x = _pool(graph, op), values[0]
        assert x is not None
        made = compute(pool, x.reshape(-1, *x.shape[2:]))
        return [np.clip(made, pool.low, pool.high).astype(np.int8).reshape(len(x), *output_tensor(graph, op).shape)]

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        pool = _pool(graph, op)
        fields: dict[str, int | Array] = {"n": pool.n}
        for side, axis in (("height", pool.rows), ("width", pool.columns)):
            fields[f"input_{side}"] = axis.size
            fields[f"output_{side}"] = axis.made
            fields[f"window_{side}"] = axis.window
            fields[f"stride_{side}"] = axis.stride
            fields[f"padding_{side}"] = axis.padding
        fields |= {"channels": pool.channels, "low": pool.low, "high": pool.high}
        overlap = Overlap(0, "forward", pool.gap())
        return (Call(name.lower(), op.index, op.inputs, op.outputs, fields, overlaps=(overlap,)),)

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower)


def average(pool: Pool, x: NDArray[Any]) -> NDArray[Any]:
    """The mean of each window, rounded half away from zero. Sums are differences of running sums."""
    sums = np.zeros((x.shape[0], x.shape[1] + 1, x.shape[2] + 1, x.shape[3]), np.int64)
    sums[:, 1:, 1:] = x.cumsum(1, dtype=np.int64).cumsum(2)
    rows = sums[:, pool.rows.ends()] - sums[:, pool.rows.begins()]
    total = rows[:, :, pool.columns.ends()] - rows[:, :, pool.columns.begins()]
    heights, widths = (axis.ends() - axis.begins() for axis in (pool.rows, pool.columns))
    count = (heights[:, np.newaxis] * widths)[:, :, np.newaxis]
    return np.asarray(np.sign(total) * ((np.abs(total) + count // 2) // count))


def maximum(pool: Pool, x: NDArray[Any]) -> NDArray[Any]:
    """The largest value of each window: along columns first, then along rows."""
    return np.asarray(_largest(_largest(x, pool.columns, 2), pool.rows, 1), np.int64)


def _largest(x: NDArray[Any], axis: Axis, at: int) -> NDArray[Any]:
    best: NDArray[Any] = np.take(x, axis.begins(), at)
    for step in range(1, axis.window):
        best = np.maximum(best, np.take(x, np.minimum(axis.begins() + step, axis.ends() - 1), at))
    return best


def _pool(graph: Graph, op: Op) -> Pool:
    source, output = activation(graph, op, 0), result(graph, op)
    if len(source.shape) != 4 or len(output.shape) != 4 or source.shape[3] != output.shape[3]:
        raise refuse(graph, op, f"makes shape {list(output.shape)} of {list(source.shape)}")
    rows, columns = _axis(graph, op, 1, "h", "height"), _axis(graph, op, 2, "w", "width")
    if output.shape != (source.shape[0], rows.made, columns.made, source.shape[3]):
        raise refuse(graph, op, f"makes shape {list(output.shape)} of {list(source.shape)}")
    low, high = activation_range(graph, op, output)
    return Pool(source.shape[0], rows, columns, source.shape[3], low, high)


def _axis(graph: Graph, op: Op, at: int, stride_name: str, window_name: str) -> Axis:
    size, made = activation(graph, op, 0).shape[at], result(graph, op).shape[at]
    stride, reach = op.options.get(f"stride_{stride_name}", 0), op.options.get(f"filter_{window_name}", 0)
    if not (0 < stride <= _MAX_SIZE and 0 < reach <= _MAX_SIZE):
        raise refuse(graph, op, f"has windows of {reach} and steps of {stride}")
    expected, padding = window(size, reach, stride, 1, op.options.get("padding", "SAME"))
    if made != expected:
        raise refuse(graph, op, f"makes {made} of {size} values along axis {at}, and {expected} are to be")
    return Axis(size, made, reach, stride, padding)
