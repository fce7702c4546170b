"""How large a model's tensor arena must be on a board: probed where the interpreter is at hand, plus scratch, plus a margin."""

from __future__ import annotations

from dataclasses import dataclass

from kd_embedded import interpreters
from kd_embedded.errors import ToolError
from kd_embedded.tflite.graph import Graph, Tensor

_ALIGNMENT = 16
# What the interpreter keeps for good, on the 64-bit host: found by probing the eight public models (see the tests).
_FIXED_BYTES = 1024
_TENSOR_BYTES = 32
_OP_BYTES = 256
_CHANNEL_BYTES = 8  # multiplier and shift


@dataclass(frozen=True)
class Arena:
    """``base`` is what the reference kernels need on this host, ``scratch`` what the board's kernels want beyond that.

    ``probed`` is False where ``base`` is an estimate. All in bytes.
    """

    base: int
    probed: bool
    scratch: int = 0

    @property
    def margin(self) -> int:
        """Room for another version of the library: a sixteenth, at least 256 bytes."""
        return _align(max(256, self.base // 16))

    @property
    def total(self) -> int:
        return _align(self.base) + _align(self.scratch) + self.margin

    def parts(self) -> tuple[str, ...]:
        """What the total is made of, line by line, as the source tells it."""
        if self.probed:
            found = ("the smallest with which the TensorFlow Lite Micro interpreter allocates and runs this model,",
                     "found by trying on a 64-bit host (pointers on the board are half as long)")  # fmt: skip
        else:
            found = ("AN ESTIMATE: no TensorFlow Lite Micro interpreter was at hand to find the smallest by trying;",
                     "generate on Linux x86-64, where there is one")  # fmt: skip
        return (
            f"{_align(self.base)} {found[0]}",
            f"    {found[1]}",
            f"+ {_align(self.scratch)} scratch that the board's kernels ask for and the host's do not",
            f"+ {self.margin} margin for another version of the library (a sixteenth, at least 256)",
        )


def size_arena(model: bytes, graph: Graph) -> Arena:
    """The arena without the board's scratch: probed with the real interpreter, or estimated where it has no wheel."""
    try:
        return Arena(interpreters.probe_arena(model), probed=True)
    except ToolError:
        return Arena(estimate(graph), probed=False)


def estimate(graph: Graph) -> int:
    """An upper estimate in bytes of what ``probe_arena`` finds: the planned activations plus what the interpreter keeps.

    The plan is the greedy one of tensorflow/lite/micro/memory_planner/greedy_memory_planner.h: largest first, each at
    the lowest offset that is free during its lifetime.
    """
    activations = _lifetimes(graph)
    channels = sum(len(t.quant.scale) for t in graph.tensors if t.data is not None and t.quant)
    kept = _FIXED_BYTES + _TENSOR_BYTES * len(graph.tensors) + _OP_BYTES * len(graph.ops) + _CHANNEL_BYTES * channels
    return _align(_plan(activations) + kept)


def _lifetimes(graph: Graph) -> list[tuple[int, int, int]]:
    """(bytes, first op, last op) of each activation; -1 and len(ops) stand for the input's and the output's ends."""
    first: dict[int, int] = dict.fromkeys(graph.inputs, -1)
    last: dict[int, int] = {}
    for op in graph.ops:
        for i in op.outputs:
            first.setdefault(i, op.index)
            last[i] = op.index
        for i in op.inputs:
            last[i] = op.index
    last.update(dict.fromkeys(graph.outputs, len(graph.ops)))
    return [(_bytes(graph.tensors[i]), begin, last.get(i, begin)) for i, begin in first.items()]


def _bytes(tensor: Tensor) -> int:
    return _align(tensor.bytes)


def _plan(buffers: list[tuple[int, int, int]]) -> int:
    placed: list[tuple[int, int, int, int]] = []
    for size, first, last in sorted(buffers, key=lambda buffer: -buffer[0]):
        offset = 0
        for start, end, begin, finish in sorted(placed):
            if begin <= last and first <= finish and start < offset + size:
                offset = max(offset, end)
        placed.append((offset, offset + size, first, last))
    return max((end for _, end, _, _ in placed), default=0)


def _align(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
