"""Does a model fit a board, by figures that are known before anything is built? Pure arithmetic on graph and board."""

from __future__ import annotations

from dataclasses import dataclass

from kd_embedded.aot import Program
from kd_embedded.boards import Board
from kd_embedded.scratch import ALIGNMENT, scratch_bytes
from kd_embedded.tflite.check import per_channel_dense
from kd_embedded.tflite.graph import Graph

# Added to the arena that was probed on the host. Scratch buffers are counted one by one, but each also takes a handle
# and a place in the memory plan, the plan is a greedy one that another buffer may stir, and the library on the board is
# another version than the one probed. (Its structures have 4-byte pointers, the host's 8: that works the other way.)
# Measured: Chirale 2.0.0 on an emulated Cortex-M4 ran eight public int8 models (mlcommons/tiny, TFLM's examples) with
# 768 to 7 600 bytes less than probe and scratch without this margin.
ARENA_MARGIN_BYTES = 1024
# Input and expected output of this many golden vectors lie in flash beside the model.
GOLDEN_VECTORS = 8
# The kernels of the aot engine that a model calls: none of the eight public models (mlcommons/tiny, TFLM's examples)
# links as much on any core.
KERNEL_BYTES = 8192


FLASH_PARTS = ("framework and runtime", "model", "golden vectors")
RAM_PARTS = ("framework and runtime", "arena", "kernel scratch", "margin")


@dataclass(frozen=True)
class Fit:
    """``flash_bytes`` and ``ram_bytes`` are what the firmware takes in all, ``arena_bytes`` the arena it reserves.

    ``scratch_bytes`` is the part of the arena for the board's kernels; ``reason`` is one line, "" where the model fits.
    ``flash_parts`` are those of FLASH_PARTS, ``ram_parts`` those of RAM_PARTS, in bytes. ``suits``: the board's
    library can run the model, whatever its size.
    """

    fits: bool
    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    scratch_bytes: int
    reason: str
    flash_parts: tuple[int, ...]
    ram_parts: tuple[int, ...]
    suits: bool = True


def fit(board: Board, graph: Graph, arena_bytes: int, *, golden_vectors: int = GOLDEN_VECTORS) -> Fit:
    """Whether the firmware of the int8 ``graph`` fits ``board``.

    ``arena_bytes`` is the smallest arena that the host's interpreter runs with. Flash: model, golden vectors, and the
    board's allowance for framework, runtime and harness. RAM: that arena, the scratch of the board's kernels,
    ARENA_MARGIN_BYTES, and the board's allowance. ModelError where an op lacks a tensor it needs.
    """
    scratch = scratch_bytes(graph, board.library.kernels, board.core).bytes
    arena = -(-(arena_bytes + scratch + ARENA_MARGIN_BYTES) // ALIGNMENT) * ALIGNMENT
    golden = golden_bytes(graph, golden_vectors)
    flash = graph.model_bytes + golden + board.allowance.flash_bytes
    ram = arena + board.allowance.ram_bytes
    reasons = _unsupported(board, graph)
    suits = not reasons
    if flash > board.flash_bytes:
        parts = f"model {_kib(graph.model_bytes)}, {golden_vectors} golden vectors {_kib(golden)}"
        parts += f", framework and runtime {_kib(board.allowance.flash_bytes)}"
        reasons.append(f"needs {_kib(flash)} KiB of flash ({parts}) and has {_kib(board.flash_bytes)}")
    if ram > board.ram_bytes:
        parts = f"arena {_kib(arena_bytes)}, kernel scratch {_kib(scratch)}, margin {_kib(ARENA_MARGIN_BYTES)}"
        parts += f", framework and runtime {_kib(board.allowance.ram_bytes)}"
        reasons.append(f"needs {_kib(ram)} KiB of RAM ({parts}) and has {_kib(board.ram_bytes)}")
    flash_parts = (board.allowance.flash_bytes, graph.model_bytes, golden)
    ram_parts = (board.allowance.ram_bytes, arena_bytes, scratch, arena - arena_bytes - scratch)
    return Fit(not reasons, flash, ram, arena, scratch, "; ".join(reasons), flash_parts, ram_parts, suits)


def fit_program(board: Board, program: Program, *, golden_vectors: int = GOLDEN_VECTORS) -> Fit:
    """Whether the firmware of a compiled ``program`` fits ``board``; nothing of its arena is an estimate.

    Flash: the program's values and constants, KERNEL_BYTES, golden vectors, and the board's allowance less the TFLM
    runtime's part. RAM: the arena, and the board's allowance less that part.
    """
    allowance, golden = board.allowance, golden_bytes(program.graph, golden_vectors)
    rest_flash = allowance.flash_bytes - allowance.runtime_flash_bytes
    rest_ram = allowance.ram_bytes - allowance.runtime_ram_bytes
    data = program.flash.weights + program.flash.constants
    flash, ram = data + KERNEL_BYTES + golden + rest_flash, program.arena_bytes + rest_ram
    reasons = []
    if flash > board.flash_bytes:
        parts = f"model {_kib(data)}, kernels {_kib(KERNEL_BYTES)}, {golden_vectors} golden vectors {_kib(golden)}"
        parts += f", framework {_kib(rest_flash)}"
        reasons.append(f"needs {_kib(flash)} KiB of flash ({parts}) and has {_kib(board.flash_bytes)}")
    if ram > board.ram_bytes:
        parts = f"arena {_kib(program.arena_bytes)}, framework {_kib(rest_ram)}"
        reasons.append(f"needs {_kib(ram)} KiB of RAM ({parts}) and has {_kib(board.ram_bytes)}")
    flash_parts, ram_parts = (rest_flash, data + KERNEL_BYTES, golden), (rest_ram, program.arena_bytes, 0, 0)
    return Fit(not reasons, flash, ram, program.arena_bytes, 0, "; ".join(reasons), flash_parts, ram_parts)


def golden_bytes(graph: Graph, vectors: int) -> int:
    """What ``vectors`` golden vectors take in flash: an input and an output each."""
    return vectors * (graph.input.bytes + graph.output.bytes)


def _unsupported(board: Board, graph: Graph) -> list[str]:
    library = board.library
    reasons = []
    absent = {op.name: op.index for op in reversed(graph.ops) if op.name not in library.resolver_methods}
    if absent:
        ops = ", ".join(f"{name} (op {index})" for name, index in sorted(absent.items(), key=lambda item: item[1]))
        reasons.append(f"{library.title} has no {ops}")
    dense = () if library.per_channel_dense else per_channel_dense(graph)
    if dense:
        ops = ", ".join(str(index) for index in dense)
        reasons.append(
            f"{library.title} silently computes dense layers with per-channel weights wrongly (op {ops}): "
            'quantize with dense = "per-tensor"'
        )
    return reasons


def _kib(count: int) -> str:
    return f"{count / 1024:.1f}"
