"""What GATHER and RESIZE_NEAREST_NEIGHBOR share: rows and columns picked by tables, the kernel ``gather``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops.spec import Accepts, OpSpec, Values, elements, input_tensor, output_tensor, refuse
from kd_embedded.program import Array, Call, Step, Target
from kd_embedded.tflite.graph import Graph, Op


@dataclass(frozen=True, eq=False)
class Picks:
    """The input seen as [planes, row_size, column_size, run]; ``rows`` and ``columns`` int64 are what is picked."""

    planes: int
    row_size: int
    column_size: int
    run: int
    rows: NDArray[Any]
    columns: NDArray[Any]

    def take(self, value: NDArray[Any]) -> NDArray[Any]:
        """What is picked of ``value`` [N, *shape], as [N, planes, rows, columns, run]."""
        seen = value.reshape(len(value), self.planes, self.row_size, self.column_size, self.run)
        return seen[:, :, self.rows][:, :, :, self.columns]

    def call(self, op: Op) -> Call:
        """The call of the kernel."""
        row, run = self.column_size * self.run, self.run
        fields: dict[str, int | Array] = {
            "planes": self.planes,
            "plane": self.row_size * row,
            "row_count": len(self.rows),
            "column_count": len(self.columns),
            "run": run,
            "rows": Array("rows", (self.rows * row).astype(np.int32)),
            "columns": Array("columns", (self.columns * run).astype(np.int32)),
        }
        return Call("gather", op.index, (op.inputs[0],), (op.outputs[0],), fields)


def picking_op(name: str, accepts: Accepts, picks: Callable[[Graph, Op], Picks]) -> OpSpec:
    """The OpSpec of an op that gives what ``picks`` picks, as it is."""

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        (value, *_), output = values, output_tensor(graph, op)
        assert value is not None  # accepts
        return [picks(graph, op).take(value).reshape(len(value), *output.shape)]

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        return (picks(graph, op).call(op),)

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower)


def require_int8_activation(graph: Graph, op: Op) -> None:
    """Refuses a first input that is a constant, and types other than int8."""
    data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
    if data.dtype != "int8" or output.dtype != "int8" or data.data is not None or not elements(output):
        raise refuse(graph, op, f"takes {data.dtype} and gives {output.dtype}, and int8 of the run is supported")
