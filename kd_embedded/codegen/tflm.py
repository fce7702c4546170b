"""The engine on TensorFlow Lite Micro: what it cannot run rightly, and which ops to register."""

from __future__ import annotations

from kd_embedded.boards import Board, TflmLibrary
from kd_embedded.codegen import literals
from kd_embedded.codegen.arena import Arena, parts
from kd_embedded.codegen.names import model_symbol
from kd_embedded.errors import ModelError
from kd_embedded.fit import Fit
from kd_embedded.tflite.check import per_channel_dense, tflm_departures
from kd_embedded.tflite.graph import Graph

TEMPLATES = "tflm"


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


def context(graph: Graph, board: Board, arena: Arena, fitted: Fit, name: str) -> dict[str, object]:
    """What ``engine_tflm.cpp.j2`` is rendered with."""
    library = board.library
    kinds = [_kind(graph, library, kind) for kind in sorted({op.name for op in graph.ops})]
    return {
        "model_symbol": model_symbol(name),
        "library_comment": literals.comment(library.title),
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
