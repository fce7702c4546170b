"""How large a model's tensor arena must be: probed where the TFLM interpreter is at hand, estimated elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from kd_embedded import interpreters
from kd_embedded.fit import ARENA_MARGIN_BYTES, Fit
from kd_embedded.scratch import ALIGNMENT
from kd_embedded.tflite.graph import Graph, Tensor

# What the interpreter keeps for good, on a 64-bit host: chosen so that the eight public models need less than that.
_FIXED_BYTES = 1024
_TENSOR_BYTES = 32
_OP_BYTES = 256
_CHANNEL_BYTES = 8  # multiplier and shift

_FOUND = (
    "the smallest with which the TensorFlow Lite Micro interpreter allocates and runs this model,",
    "found by trying on a 64-bit host (pointers on the board are half as long)",
)
_ESTIMATED = (
    "AN ESTIMATE: no TensorFlow Lite Micro interpreter was at hand to find the smallest by trying;",
    "generate on Linux x86-64, where there is one",
)


@dataclass(frozen=True)
class Arena:
    """``bytes`` is what the reference kernels need on this host; ``probed`` is False where that is an estimate."""

    bytes: int
    probed: bool


def parts(arena: Arena, fitted: Fit) -> tuple[str, ...]:
    """What ``fitted.arena_bytes`` is made of, line by line, as the source tells it."""
    found = _FOUND if arena.probed else _ESTIMATED
    return (
        f"{arena.bytes} {found[0]}",
        f"    {found[1]}",
        f"+ {fitted.scratch_bytes} scratch that the board's kernels ask for and the host's do not",
        f"+ {ARENA_MARGIN_BYTES} margin for another version of the library and its memory plan",
        f"rounded up to {ALIGNMENT}",
    )


def size_arena(model: bytes, graph: Graph) -> Arena:
    """The arena without the board's scratch: probed with the real interpreter, or estimated where it has no wheel."""
    if interpreters.available()["tflm"]:
        return Arena(estimate(graph), probed=False)
    return Arena(interpreters.probe_arena(model), probed=True)


def estimate(graph: Graph) -> int:
    """An upper estimate, in bytes, of what ``probe_arena`` finds: planned activations plus what the interpreter keeps.

    The plan is the greedy one of tensorflow/lite/micro/memory_planner/greedy_memory_planner.h: largest first, each at
    the lowest offset that is free during its lifetime.
    """
    activations = _lifetimes(graph)
    channels = sum(len(t.quant.scale) for t in graph.tensors if t.dtype == "int8" and t.data is not None and t.quant)
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
    return -(-size // ALIGNMENT) * ALIGNMENT
