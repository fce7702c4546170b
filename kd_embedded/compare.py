"""Interpreters side by side, byte for byte; and the first op in which two of them part."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import interpreters
from kd_embedded.errors import ModelError
from kd_embedded.progress import Progress
from kd_embedded.tflite.graph import Graph

Array = NDArray[Any]
_PART = 1000  # inputs that one child process runs
_FEW = 8  # inputs that show where two interpreters part; those that differ at the output are taken first


@dataclass(frozen=True)
class Difference:
    """Two arrays of int8, or int32 indices, compared. ``max_difference`` is in quantization steps, or indices."""

    bytes_compared: int
    bytes_different: int
    max_difference: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each interpreter gave: ``outputs`` [N, ...] by name, and ``refused``, why there are none."""

    outputs: Mapping[str, Array]
    refused: Mapping[str, str]

    def difference(self, one: str, other: str) -> Difference | None:
        """Interpreter ``one`` against ``other``, or None where either gave nothing."""
        if one not in self.outputs or other not in self.outputs:
            return None
        return difference(self.outputs[one], self.outputs[other])


@dataclass(frozen=True)
class FirstDifference:
    """The first op, in order of execution, whose inputs are equal in two interpreters and whose output is not."""

    op_index: int
    op_name: str
    tensor: str
    bytes_different: int
    max_difference: int


def difference(one: Array, other: Array) -> Difference:
    """``one`` against ``other``, both int8 or int32 [N, ...]. Raises ModelError where they hold no bytes or differ in
    shape or type."""
    if one.shape != other.shape or one.dtype != other.dtype or not one.size:
        raise ModelError(
            f"outputs {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)} cannot be compared",
            where="comparison of interpreters",
            todo="give at least one input",
        )
    steps = np.abs(one.astype(np.int64) - other.astype(np.int64))
    wrong = np.count_nonzero(as_bytes(one) != as_bytes(other))
    return Difference(one.nbytes, int(wrong), int(steps.max()))


def as_bytes(values: Array) -> NDArray[np.int8]:
    """int8 [N, bytes] of ``values`` [N, ...]: as they lie in memory, little-endian as all the boards are."""
    whole = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return whole.reshape(len(whole), -1).view(np.int8)


def compare(
    model: bytes,
    inputs: Array,
    names: Sequence[str] = interpreters.NAMES,
    progress: Progress = Progress(),  # noqa: B008  # it has no state
) -> Comparison:
    """Runs ``inputs``, int8 [N, ...], through each interpreter of ``names`` that is available, on all cores.

    An interpreter that is absent, or refuses the model, is told in ``refused``. ``progress`` counts blocks of inputs.
    Raises ModelError where there are no inputs.
    """
    if not len(inputs):
        raise ModelError("no inputs to run", where="comparison of interpreters", todo="give at least one")
    refused = {name: reason for name, reason in interpreters.available().items() if reason and name in names}
    parts = [inputs[start : start + _PART] for start in range(0, len(inputs), _PART)]
    jobs = [(name, part) for name in names if name not in refused for part in parts]
    outputs: dict[str, list[Array]] = {}
    shown = progress if len(parts) > 1 else Progress()
    with shown.task("interpreters", len(jobs)) as task, ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [(name, pool.submit(interpreters.run, name, model, part)) for name, part in jobs]
        for name, job in running:
            try:
                outputs.setdefault(name, []).append(job.result())
            except interpreters.ModelRefusedError as error:
                refused[name] = error.what
            task.advance()
    whole = {name: np.concatenate(found) for name, found in outputs.items() if name not in refused}
    return Comparison(whole, refused)


def first_difference(
    model: bytes, graph: Graph, inputs: Array, one: str = "builtin_ref", other: str = "tflm"
) -> FirstDifference | None:
    """Where two interpreters that keep all tensors part, or None where every op gives the same bytes.

    ``inputs`` is int8 [N, ...]; the first few are run. Raises ModelRefusedError where an interpreter cannot run them.
    """
    tensors = [index for op in graph.ops for index in op.outputs]
    kept = [interpreters.run_keeping(name, model, inputs[:_FEW], tensors) for name in (one, other)]
    for op in graph.ops:
        for index in op.outputs:
            values = [np.ascontiguousarray(each[index]) for each in kept]
            if values[0].size and values[0].tobytes() != values[1].tobytes():
                found = difference(values[0], values[1].reshape(values[0].shape))
                tensor = graph.tensors[index].name
                return FirstDifference(op.index, op.name, tensor, found.bytes_different, found.max_difference)
    return None


def differing_first(inputs: Array, one: Array, other: Array) -> Array:
    """``inputs`` [N, ...], those first whose outputs ``one`` and ``other`` [N, ...] differ: for first_difference."""
    apart = (one.reshape(len(one), -1) != other.reshape(len(other), -1)).any(axis=1)
    return inputs[np.argsort(~apart, kind="stable")]
