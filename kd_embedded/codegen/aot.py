"""The engine compiled ahead of time: the model as C beside the kernels it calls, in a project without TFLM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from kd_embedded import __version__, cores
from kd_embedded.aot import Program, accepted, compile_model
from kd_embedded.boards import Board
from kd_embedded.codegen import literals
from kd_embedded.codegen.arena import Arena
from kd_embedded.codegen.c_source import Flash, kernel_files, model_files
from kd_embedded.codegen.made import Made, Size
from kd_embedded.codegen.names import symbol_prefix
from kd_embedded.fit import KERNEL_BYTES, Fit, fit_program, golden_bytes
from kd_embedded.program import Optimize, Target
from kd_embedded.tflite.check import check_batch
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model

TEMPLATES = "aot/project"

_NOTES = """
## The model as C

`src/aot/network.c` is the whole model: its values, and a line for each kernel it calls, with the op's shapes and the
bytes of the arena it reads and writes. `src/aot/kernels/` holds those kernels, each readable on its own. There is no
interpreter, no heap and nothing to prepare; the stack needs a few hundred bytes. With a build of your own, take the
folder `src/aot` alone: it needs a C99 compiler and nothing else.
"""
_EMULATED = """
`kd-embedded emulate DIR` compares every output byte with the golden vectors, {where}.
"""


def checked_graph(data: bytes, where: str) -> Graph:
    """The graph as it is compiled, float edges taken away; ModelError where the engine cannot run it to the byte."""
    graph = accepted(replace(parse_model(data, where), name=where))
    check_batch(graph, where)
    return graph


def check(graph: Graph, board: Board, where: str) -> None:
    """Nothing of a board changes what is computed."""


def arena(data: bytes, graph: Graph) -> None:
    """Each board's program has its own, exact one."""


def fit(
    data: bytes, graph: Graph, board: Board, *, golden_vectors: int, arena: Arena | None, optimize: Optimize
) -> Fit:
    """What the firmware takes of ``board``."""
    return fit_program(board, program(data, graph.name, target(board, optimize)), golden_vectors=golden_vectors)


def make(
    data: bytes, graph: Graph, board: Board, *, name: str, golden_vectors: int, arena: Arena | None, optimize: Optimize
) -> Made:
    """The firmware of the model ``data`` on ``board``. No ``arena`` is taken from outside: the plan has its size."""
    made = program(data, graph.name, target(board, optimize))
    fitted = fit_program(board, made, golden_vectors=golden_vectors)
    flash = Flash(board.arch_flash_attribute, flash_include(board))
    texts = {**model_files(made, symbol_prefix(name), file="network", flash=flash), **kernel_files(made.kernels)}
    files = {f"src/aot/{path}": text for path, text in texts.items()}
    sizes = tuple(_sizes(made, golden_vectors, board, fitted))
    return Made(fitted, _context(name, made, board), files, sizes, board.platformio_alone, arena_probed=True)


def target(board: Board, optimize: Optimize) -> Target:
    """The kernels for the board's core."""
    return Target(cores.of_board(board).cores[0].family, optimize)


def flash_include(board: Board) -> str:
    """The header of the board's attribute for constants in flash, "" where there is none."""
    return "<avr/pgmspace.h>" if board.arch_flash_attribute == "PROGMEM" else ""


@lru_cache(maxsize=8)
def program(data: bytes, where: str, target: Target) -> Program:
    """``compile_model``, once for the boards of one kind."""
    return compile_model(data, where, target)


def _context(name: str, made: Program, board: Board) -> dict[str, object]:
    kernels = {"c": "portable C", "dsp": "DSP extension", "helium": "Helium"}[made.target.family]
    about = f"kd-embedded {__version__} aot ({kernels}, for {made.target.optimize})"
    choice = cores.of_board(board)
    others = " and ".join(core.name for core in choice.cores)
    where = f"on {others}: the board's core has no emulator here" if choice.note else "on the board's core, emulated"
    return {
        "upper": name.upper(),
        "engine_text": literals.string(about),
        "engine_comment": "C code compiled from it ahead of time",
        "engine_notes": f"{_NOTES}{_EMULATED.format(where=where)}".rstrip("\n").split("\n"),
        "engine_whose": "The engine's",
        "arena_comment": ["The memory planned for the tensors; all of it is used, so both figures are the same."],
        "allowance_measured": False,
        "loop_stack_bytes": 0,
    }


def _sizes(made: Program, golden_vectors: int, board: Board, fitted: Fit) -> Iterator[Size]:
    allowance, golden = board.allowance, golden_bytes(made.graph, golden_vectors)
    rest = "AN ESTIMATE: allowance of the board file for framework and harness"
    yield Size("weights (flash)", made.flash.weights, "the arrays `w_...` in `src/aot/network.c`")
    yield Size("constants (flash)", made.flash.constants, "the arrays and arguments `c_...` there")
    yield Size("kernels (flash)", KERNEL_BYTES, "an upper estimate")
    yield Size("golden vectors (flash)", golden, "the arrays")
    yield Size("the rest of the image (flash)", allowance.flash_bytes - allowance.runtime_flash_bytes, rest)
    yield Size(f"flash, of {board.flash_bytes}", fitted.flash_bytes, "sum")
    yield Size("arena (RAM)", made.arena_bytes, "the plan: exact")
    yield Size("the rest of the image (RAM)", allowance.ram_bytes - allowance.runtime_ram_bytes, rest)
    yield Size(f"RAM, of {board.ram_bytes}", fitted.ram_bytes, "sum")
