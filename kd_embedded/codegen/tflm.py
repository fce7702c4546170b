"""The engine on TensorFlow Lite Micro: what it cannot run rightly, and which ops to register."""

from __future__ import annotations

from collections.abc import Iterator

from kd_embedded.boards import Board, TflmLibrary
from kd_embedded.codegen import literals
from kd_embedded.codegen.arena import Arena, parts, size_arena
from kd_embedded.codegen.made import Made, Size
from kd_embedded.codegen.names import model_symbol
from kd_embedded.errors import ModelError
from kd_embedded.fit import ARENA_MARGIN_BYTES, Fit, golden_bytes
from kd_embedded.fit import fit as fit_tflm
from kd_embedded.program import Optimize
from kd_embedded.tflite.check import check_full_int8, per_channel_dense, tflm_departures
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model

TEMPLATES = "tflm"

_NOTES = (
    "`arena_used_bytes` in the answer to `info` is what the prepared model holds; it leaves out what is needed only",
    "while preparing, so do not size an arena by it.",
)
_ARENA = (
    "The memory set aside for the tensors, and how much of it the library says it uses.",
    "The second figure leaves out what is needed only while the model is being prepared: do not size an arena by it.",
)


def checked_graph(data: bytes, where: str) -> Graph:
    """The graph of a full-int8 model; ModelError otherwise."""
    graph = parse_model(data, where)
    check_full_int8(graph, where)
    return graph


def check(graph: Graph, board: Board, where: str) -> None:
    """Raises a ModelError where TFLM, or the board's version of it, would silently compute something else."""
    departures = tflm_departures(graph)
    if departures:
        first = departures[0]
        raise ModelError(f"op {first.op_index} ({first.op_name}) is {first.why}", where=where)
    library = board.library
    dense = per_channel_dense(graph)
    if dense and not library.per_channel_dense:
        ops = ", ".join(str(index) for index in dense)
        raise ModelError(
            f"FULLY_CONNECTED ops {ops} have one weight scale per output channel, which {library.title} on "
            f"{board.name} silently computes with one scale for all",
            where=where,
            todo='in a run, set quantize.dense = "per-tensor" in kd.toml; convert a model of your own with '
            "converter._experimental_disable_per_channel_quantization_for_dense_layers = True; or choose a board whose "
            "library has it (kd-embedded boards NAME tells)",
        )


def arena(data: bytes, graph: Graph) -> Arena:
    """The arena without a board's scratch."""
    return size_arena(data, graph)


def fit(
    data: bytes, graph: Graph, board: Board, *, golden_vectors: int, arena: Arena | None, optimize: Optimize
) -> Fit:
    """What the firmware takes of ``board``; the arena is found by trying where it is None."""
    return fit_tflm(board, graph, (arena or size_arena(data, graph)).bytes, golden_vectors=golden_vectors)


def make(
    data: bytes, graph: Graph, board: Board, *, name: str, golden_vectors: int, arena: Arena | None, optimize: Optimize
) -> Made:
    """The firmware of ``graph`` on ``board``. ``arena`` is that of the model, sized here where it is None."""
    arena = arena or size_arena(data, graph)
    fitted = fit_tflm(board, graph, arena.bytes, golden_vectors=golden_vectors)
    sizes = tuple(_sizes(graph, arena, golden_vectors, board, fitted))
    context = _context(data, graph, board, arena, fitted, name)
    return Made(fitted, context, {}, sizes, board.platformio, arena.probed)


def _sizes(graph: Graph, arena: Arena, golden_vectors: int, board: Board, fitted: Fit) -> Iterator[Size]:
    found = "found by trying the real interpreter" if arena.probed else "AN ESTIMATE: no interpreter was at hand to try"
    known = "" if board.allowance.measured else "AN ESTIMATE: "
    allowance = f"{known}allowance of the board file for framework, TensorFlow Lite Micro and harness"
    parts = f"{arena.bytes} {found}, {fitted.scratch_bytes} scratch of the board's kernels, {ARENA_MARGIN_BYTES} margin"
    yield Size("model (flash)", graph.model_bytes, "the file")
    yield Size("golden vectors (flash)", golden_bytes(graph, golden_vectors), "the arrays")
    yield Size("the rest of the image (flash)", board.allowance.flash_bytes, allowance)
    yield Size(f"flash, of {board.flash_bytes}", fitted.flash_bytes, "sum")
    yield Size("arena (RAM)", fitted.arena_bytes, parts)
    yield Size("the rest of the image (RAM)", board.allowance.ram_bytes, allowance)
    yield Size(f"RAM, of {board.ram_bytes}", fitted.ram_bytes, "sum")


def _context(data: bytes, graph: Graph, board: Board, arena: Arena, fitted: Fit, name: str) -> dict[str, object]:
    """What ``engine_tflm.cpp.j2`` and ``model_data.cpp.j2`` are rendered with."""
    library = board.library
    kinds = [_kind(graph, library, kind) for kind in sorted({op.name for op in graph.ops})]
    return {
        "model_symbol": model_symbol(name),
        "model_rows": literals.bytes_rows(data),
        "library_comment": literals.comment(library.title),
        "engine_comment": literals.comment(library.title),
        "engine_notes": _NOTES,
        "engine_whose": "The library's",
        "arena_comment": _ARENA,
        "allowance_measured": board.allowance.measured,
        "loop_stack_bytes": board.firmware.loop_stack_bytes,
        "library_include": library.include,
        "engine_text": literals.string(f"TensorFlow Lite Micro ({library.title}, kernels: {library.kernels})"),
        "arena_bytes": fitted.arena_bytes,
        "arena_parts": [literals.comment(part) for part in parts(arena, fitted)],
        "op_kinds": kinds,
        "has_int8_registrations": any(kind["registration"] for kind in kinds),
    }


def _kind(graph: Graph, library: TflmLibrary, name: str) -> dict[str, str]:
    ops = [str(op.index) for op in graph.ops if op.name == name]
    registration = library.int8_registrations.get(name, "")
    return {
        "name": name,
        "comment": f"{name}: op{'s' if len(ops) > 1 else ''} {', '.join(ops)}",
        "method": library.resolver_methods[name],
        "registration": f"tflite::{registration}()" if registration else "",
    }
