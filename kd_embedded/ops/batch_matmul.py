"""BATCH_MATMUL: each output value sums over the inner axis of the left operand, ``[..., M, K]``.

Sources (v2.14): tensorflow/lite/kernels/batch_matmul.cc, Prepare (the shapes, and one multiplier, of a product of
scales in float32) and Eval; internal/reference/batch_matmul.h, BatchMatMul. Eval folds the axis before the last two of
the left operand into its rows where the right one has 1 there, and does so wrongly with adj_x (tflite/check.py,
reference_departures); ours, as that of tensorflow/tflite-micro, broadcasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops._binary import broadcast, extended, joined_axes, strides
from kd_embedded.ops._weights import operand, per_tensor_multiplier, quant, requantize, result
from kd_embedded.ops.spec import OpSpec, Values, elements, input_tensor, output_tensor, refuse, size
from kd_embedded.program import Array, Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor

_RANKS = range(2, 6)  # of the reference kernel


@dataclass(frozen=True, eq=False)
class _Product:
    """``matrices`` products [rows, depth] x [depth, columns], whose operands are told by their batch axes."""

    x: Tensor
    y: Tensor
    rows: int
    depth: int
    columns: int
    batch: tuple[int, ...]
    multiplier: NDArray[Any]  # int32 [1]
    shift: NDArray[Any]
    zero_point: int

    @property
    def matrices(self) -> int:
        return math.prod(self.batch)


def macs(graph: Graph, op: Op) -> int:
    """Output values times K (``adj_x`` says that the left operand comes transposed)."""
    inner = -2 if op.options.get("adj_x") else -1
    return elements(output_tensor(graph, op)) * size(graph, op, input_tensor(graph, op, 0), inner)


def accepts(graph: Graph, op: Op) -> None:
    """Refuses shapes that do not fit, more than five axes, and two constants."""
    _product(graph, op)


def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
    """The output [N, *shape]; the sums are exact in float64."""
    it = _product(graph, op)
    x, y = (
        _centred(value, tensor, len(it.batch) + 2, transposed)
        for value, tensor, transposed in zip(values, (it.x, it.y), _transposed(op), strict=True)
    )
    sums = np.matmul(x, y).astype(np.int64)
    return [requantize(sums, it.multiplier, it.shift, it.zero_point, -128, 127)]


def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    """One call; a constant lies as the kernel reads it, and needs no transposing there."""
    it, adjoint = _product(graph, op), _transposed(op)
    x_is_columns = adjoint[0] and it.x.data is None
    y_is_columns = adjoint[1] or it.y.data is not None
    args: Mapping[str, int | Array] = {
        "rows": it.rows,
        "depth": it.depth,
        "columns": it.columns,
        "x_is_columns": int(x_is_columns),
        "y_is_columns": int(y_is_columns),
        **_loops(it),
        "zero_point_x": quant(it.x).zero_point[0],
        "zero_point_y": quant(it.y).zero_point[0],
        "zero_point": it.zero_point,
        "multiplier": int(it.multiplier[0]),
        "shift": int(it.shift[0]),
    }
    scratch = 4 * it.columns + (0 if y_is_columns else it.columns * it.depth) + (it.depth if x_is_columns else 0)
    inputs = _constant(it.x, swapped=adjoint[0]), _constant(it.y, swapped=not adjoint[1])
    overlaps = _overlaps(it, x_is_columns, y_is_columns)
    return (Call("batch_matmul", op.index, inputs, op.outputs, args, scratch, overlaps),)


def _product(graph: Graph, op: Op) -> _Product:
    x, y, output = operand(graph, op, 0), operand(graph, op, 1), result(graph, op)
    if x.data is not None and y.data is not None:
        raise refuse(graph, op, "has two constant operands")
    if len(x.shape) not in _RANKS or len(y.shape) not in _RANKS:
        raise refuse(graph, op, f"has operands of shapes {list(x.shape)} and {list(y.shape)}: 2 to 5 axes are possible")
    (rows, depth), (inner, columns) = (
        tensor.shape[:-3:-1] if transposed else tensor.shape[-2:]
        for tensor, transposed in zip((x, y), _transposed(op), strict=True)
    )
    batch = broadcast([x.shape[:-2], y.shape[:-2]])
    if batch is None or inner != depth or output.shape != (*batch, rows, columns):
        told = f"makes shape {list(output.shape)} of {list(x.shape)} and {list(y.shape)}"
        raise refuse(graph, op, f"{told} (adj_x {_transposed(op)[0]}, adj_y {_transposed(op)[1]})")
    multiplier, shift = per_tensor_multiplier(graph, op, x, y, None, output, 1)
    return _Product(x, y, rows, depth, columns, batch, multiplier, shift, quant(output).zero_point[0])


def _transposed(op: Op) -> tuple[bool, bool]:
    """Whether the left operand comes as [..., K, M], and the right one as [..., N, K]."""
    return bool(op.options.get("adj_x")), bool(op.options.get("adj_y"))


def _centred(value: NDArray[Any] | None, tensor: Tensor, rank: int, transposed: bool) -> NDArray[Any]:
    """float64 [N, *batch, rows, columns], less the zero point."""
    found = extended(value, rank).astype(np.float64) - quant(tensor).zero_point[0]
    return found.swapaxes(-1, -2) if transposed else found


def _loops(it: _Product) -> dict[str, int | Array]:
    """How the operands go on from matrix to matrix: rounds and steps, the innermost first."""
    steps = (
        [step * matrix for step in strides(tensor.shape[:-2], it.batch)]
        for tensor, matrix in ((it.x, it.rows * it.depth), (it.y, it.depth * it.columns))
    )
    axes = joined_axes(it.batch, *steps)
    return {"loops": len(axes), "loop": Array("loop", np.array(axes, np.int32).reshape(-1))}


def _constant(tensor: Tensor, swapped: bool) -> int | Array:
    if tensor.data is None:
        return tensor.index
    values = tensor.data.swapaxes(-1, -2) if swapped else tensor.data
    return Array("operand", values.reshape(-1), "weights")


def _overlaps(it: _Product, x_is_columns: bool, y_is_columns: bool) -> tuple[Overlap, ...]:
    """Output rows trail those of x, output matrices those of y that are copied: the kernel's comment says how far.

    Not over an operand that is read again: one that is broadcast, or both at once.
    """
    if it.x.index == it.y.index:
        return ()
    found, rows, made = [], it.matrices * it.rows, it.rows * it.columns
    if it.x.data is None and not x_is_columns and elements(it.x) == rows * it.depth:
        found.append(Overlap(0, "forward", max(it.columns, rows * it.columns - (rows - 1) * it.depth)))
    if it.y.data is None and not y_is_columns and elements(it.y) == it.matrices * it.depth * it.columns:
        behind = (it.matrices - 1) * (made - it.depth * it.columns)
        found.append(Overlap(1, "forward", max(0, behind)))
    return tuple(found)


OP = OpSpec("BATCH_MATMUL", macs, accepts, reference, lower)
