"""RESIZE_BILINEAR: each output pixel is a weighted mean of the four around its place, weights of 10 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._movement import require_rank, require_shape, vector
from kd_embedded.ops._tables import require_int8_activation
from kd_embedded.ops.spec import OpSpec, Values, input_tensor, output_tensor, refuse
from kd_embedded.program import Array, Call, Step, Target
from kd_embedded.tflite.graph import Graph, Op

_ONE = 1 << 10


def accepts(graph: Graph, op: Op) -> None:
    """Refuses what is not an int8 image, and sizes for which the reference reads outside of it."""
    require_int8_activation(graph, op)
    data = input_tensor(graph, op, 0)
    require_rank(graph, op, data, 4)
    wanted = vector(graph, op, 1, 2)
    require_shape(graph, op, output_tensor(graph, op), (data.shape[0], *wanted, data.shape[3]))
    if op.options.get("align_corners") and op.options.get("half_pixel_centers"):
        raise refuse(graph, op, "has align_corners and half_pixel_centers")
    for size, table in zip(data.shape[1:3], tables(graph, op), strict=True):
        if table[:, 0].max() >= size:
            raise refuse(graph, op, f"resizes {size} to {len(table)}, where TFLite's arithmetic leaves the image")


def tables(graph: Graph, op: Op) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each output row and column, int64 [count, 3]: lower and upper neighbour, and the upper one's weight.

    Source: kernels/internal/reference/resize_bilinear.h:136, ResizeBilinearInteger, and :119,
    ComputeInterpolationValuesInteger.
    """
    sizes, wanted = input_tensor(graph, op, 0).shape[1:3], output_tensor(graph, op).shape[1:3]
    rows, columns = (_table(op, size, count) for size, count in zip(sizes, wanted, strict=True))
    return rows, columns


def _table(op: Op, size: int, count: int) -> NDArray[Any]:
    inner = op.options.get("align_corners", False) and count > 1
    span, steps = (size - 1, count - 1) if inner else (size, count)
    scale = (_ONE * span + steps // 2) // steps
    at = np.arange(count, dtype=np.int64) * scale
    if op.options.get("half_pixel_centers", False):
        at += scale // 2 - _ONE // 2
    lower = np.maximum(at // _ONE, 0)  # C truncates, and what is negative becomes 0 either way
    upper = np.minimum(np.maximum(at + _ONE - 1, 0) // _ONE, size - 1)
    return np.stack([lower, upper, at - _ONE * lower], axis=1)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """The means, rounded to nearest with ties away from zero."""
    (value, *_), (rows, columns) = values, tables(graph, op)
    assert value is not None  # accepts
    x = value.astype(np.int64)
    down, right = rows[:, 2].reshape(-1, 1, 1), columns[:, 2].reshape(-1, 1)
    x = x[:, :, rows[:, 0]] * (_ONE - down) + x[:, :, rows[:, 1]] * down
    x = x[:, :, :, columns[:, 0]] * (_ONE - right) + x[:, :, :, columns[:, 1]] * right
    rounded = x + np.where(x > 0, _ONE * _ONE // 2, -_ONE * _ONE // 2)
    return [(np.sign(rounded) * (np.abs(rounded) // (_ONE * _ONE))).astype(np.int8)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call of ``resize_bilinear``; the tables hold byte offsets."""
    rows, columns = tables(graph, op)
    batch, height, width, depth = input_tensor(graph, op, 0).shape
    fields: dict[str, int | Array] = {
        "images": batch,
        "image": height * width * depth,
        "channels": depth,
        "row_count": len(rows),
        "column_count": len(columns),
        "rows": _offsets("rows", rows, width * depth),
        "columns": _offsets("columns", columns, depth),
    }
    return (Call("resize_bilinear", op.index, (op.inputs[0],), (op.outputs[0],), fields),)


def _offsets(role: str, table: NDArray[Any], step: int) -> Array:
    return Array(role, (table * [step, step, 1]).astype(np.int32).reshape(-1))


OP = OpSpec("RESIZE_BILINEAR", accepts=accepts, reference=reference, lower=lower)
