"""RESIZE_NEAREST_NEIGHBOR: each output pixel is the nearest one of the input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._movement import require_rank, require_shape, vector
from kd_embedded.ops._tables import Picks, picking_op, require_int8_activation
from kd_embedded.ops.spec import input_tensor, output_tensor
from kd_embedded.tflite.graph import Graph, Op


def accepts(graph: Graph, op: Op) -> None:
    """Refuses what is not an int8 image."""
    require_int8_activation(graph, op)
    picks(graph, op)


def picks(graph: Graph, op: Op) -> Picks:
    """Which row and column each output pixel takes."""
    data = input_tensor(graph, op, 0)
    require_rank(graph, op, data, 4)
    batch, height, width, depth = data.shape
    wanted = vector(graph, op, 1, 2)
    require_shape(graph, op, output_tensor(graph, op), (batch, *wanted, depth))
    rows, columns = (_nearest(op, size, count) for size, count in zip((height, width), wanted, strict=True))
    return Picks(batch, height, width, depth, rows, columns)


def _nearest(op: Op, size: int, count: int) -> NDArray[Any]:
    """For each of ``count`` outputs the nearest of ``size`` inputs, in the float arithmetic of the reference.

    Source: kernels/internal/reference/resize_nearest_neighbor.h:28, GetNearestNeighbor.
    """
    corners, half = op.options.get("align_corners", False), op.options.get("half_pixel_centers", False)
    inner = corners and count > 1
    scale = np.float32(size - 1) / np.float32(count - 1) if inner else np.float32(size) / np.float32(count)
    at = (np.arange(count, dtype=np.float32) + np.float32(0.5 if half else 0)) * scale
    # std::round is exact on the float; the sum in double is too.
    nearest = np.floor(at.astype(np.float64) + 0.5) if corners else np.floor(at)
    return np.asarray(np.clip(nearest.astype(np.int64), 0, size - 1))


OP = picking_op("RESIZE_NEAREST_NEIGHBOR", accepts, picks)
