"""A full-int8 ``.tflite`` and a board to a PlatformIO project. Python decides and formats, templates hold structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kd_embedded import __version__, tasks
from kd_embedded.artifacts import sha256_bytes
from kd_embedded.boards import Board, Platformio
from kd_embedded.codegen import aot, folder, literals, names, tflm
from kd_embedded.codegen.arena import Arena
from kd_embedded.codegen.made import Engine, Made
from kd_embedded.codegen.render import banner, render
from kd_embedded.config import CodegenSpec
from kd_embedded.errors import ConfigError, DataError, KdError
from kd_embedded.fit import Fit
from kd_embedded.golden import FEWEST, Golden, from_npz, from_random
from kd_embedded.ops.spec import elements
from kd_embedded.program import Optimize
from kd_embedded.tflite.classes import class_count, index_op
from kd_embedded.tflite.graph import Graph, Tensor
from kd_embedded.tflite.read import read_bytes

ENGINES: Mapping[str, Engine] = {"tflm": tflm, "aot": aot}
USERS_FILE = "src/user_input.cpp"
_TOOL = f"kd-embedded {__version__}"


@dataclass(frozen=True)
class Project:
    """A generated project: its files by path, and what it takes of the board in bytes (allowances included).

    ``arena_probed`` is False where the engine is TFLM, no interpreter of it was at hand, and the arena is an estimate.
    """

    files: tuple[str, ...]
    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    arena_probed: bool


@dataclass(frozen=True)
class Plan:
    """A project that is decided and rendered, and not yet written."""

    out: Path
    project: Project
    about: Mapping[str, Any] = field(repr=False)
    generated: Mapping[str, str] = field(repr=False)
    users: Mapping[str, str] = field(repr=False)

    def write(self) -> Project:
        """Writes the project; see ``folder.write_project``."""
        folder.write_project(self.out, self.generated, self.users, self.about)
        return self.project


def generate(
    model: Path,
    board: Board,
    out: Path,
    *,
    name: str,
    labels: Sequence[str],
    golden: Golden,
    provenance: Mapping[str, str],
    engine: str = "tflm",
    optimize: Optimize = "speed",
) -> Project:
    """Generates the project of ``model`` for ``board`` in ``out``, which is absent, empty or an earlier generation.

    ``labels`` has one name for each output, or none at all; ``provenance`` tells where the model comes from, shown by
    ``info`` and the README. Raises a KdError before anything is written where the model cannot run rightly on the board
    or does not fit it. The same arguments give the same bytes.
    """
    return plan(
        read_bytes(model), board, out, where=model.name, name=name, labels=labels, golden=golden, provenance=provenance,
        engine=engine, optimize=optimize,
    ).write()  # fmt: skip


def plan_file(
    model: Path,
    outs: Sequence[tuple[Board, Path]],
    *,
    name: str,
    labels: Path | None = None,
    golden: Path | None = None,
    engine: str = "tflm",
    optimize: Optimize = "speed",
) -> tuple[Plan, ...]:
    """Plans for a model of the user's own, one for each board, all decided before any is written.

    ``labels`` is a text file with one name a line, ``golden`` an ``.npz`` (``golden.from_npz``); without it the golden
    vectors are seeded random inputs. Raises KdErrors as ``generate`` does.
    """
    data = read_bytes(model)
    graph = checked_graph(data, model.name, engine)
    names.identifier(name)
    classes = read_labels(labels) if labels else ()
    _check_labels(classes, graph, str(labels))
    for board, out in outs:
        folder.check_ours(out)
        ENGINES[engine].check(graph, board, model.name)
    on_tflm = engine == "tflm"
    tests = from_npz(golden, data, graph, on_tflm=on_tflm) if golden else from_random(data, graph, on_tflm=on_tflm)
    arena = ENGINES[engine].arena(data, graph)  # once for all boards
    return tuple(
        plan(
            data, board, out, where=model.name, name=name, labels=classes, golden=tests, provenance={}, arena=arena,
            engine=engine, optimize=optimize,
        )
        for board, out in outs
    )  # fmt: skip


def fit(data: bytes, graph: Graph, board: Board, spec: CodegenSpec, arena: Arena | None) -> Fit:
    """What the firmware of ``spec`` takes of ``board``; ``arena`` is what the engine's own ``arena`` gave."""
    engine = ENGINES[spec.engine]
    return engine.fit(data, graph, board, golden_vectors=spec.golden_vectors, arena=arena, optimize=spec.optimize)


def read_labels(path: Path) -> tuple[str, ...]:
    """One label for each line of a UTF-8 text file; DataError where it cannot be read."""
    try:
        return tuple(path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n"))  # of CR LF too
    except FileNotFoundError:
        raise DataError("no such file", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as UTF-8 text: {error}", where=str(path)) from None


def checked_graph(data: bytes, where: str, engine: str = "tflm") -> Graph:
    """The graph of a model that ``engine`` runs, its input and output those of the firmware; ModelError otherwise."""
    if engine not in ENGINES:
        raise ConfigError(f"no such engine {engine!r}", where="--engine", todo=f"there are: {', '.join(ENGINES)}")
    return ENGINES[engine].checked_graph(data, where)


def plan(
    data: bytes,
    board: Board,
    out: Path,
    *,
    where: str,
    name: str,
    labels: Sequence[str],
    golden: Golden,
    provenance: Mapping[str, str],
    arena: Arena | None = None,
    engine: str = "tflm",
    optimize: Optimize = "speed",
    task: str = tasks.CLASSIFICATION,
) -> Plan:
    """Decides and renders a project without writing it. ``data`` is the model.

    ``arena`` is the model's in TFLM without the board's scratch, found anew where it is None; ``optimize`` is for the
    aot engine. ``task`` is what the outputs are: a regression answers with real numbers, and so does a single output.
    """
    graph = checked_graph(data, where, engine)
    name = names.identifier(name)
    ENGINES[engine].check(graph, board, where)
    _check_labels(labels, graph, where)
    _check_golden(golden, graph)
    folder.check_ours(out)
    made = ENGINES[engine].make(
        data, graph, board, name=name, golden_vectors=len(golden), arena=arena, optimize=optimize
    )
    if not made.fit.fits:
        raise KdError(f"does not fit {board.name}: {made.fit.reason}", where=where, todo="see kd-embedded boards")
    context = {
        **made.context,
        **_board_context(board, made),
        **_model_context(data, graph, name, labels, provenance),
        **_golden_context(golden, labels),
        **_answer_context(graph, task),
        "sizes": made.sizes,
    }
    texts = {**render(("common", ENGINES[engine].TEMPLATES), context), **made.files}
    texts = {file: banner(file, _banner(file, name, graph)) + text for file, text in texts.items()}
    users = {USERS_FILE: texts.pop(USERS_FILE)}
    about = {"tool": _TOOL, "board": board.name, "engine": engine, "model": {"name": name, "sha256": graph.sha256}}
    project = Project(
        tuple(sorted((*texts, *users, folder.MARKER))),
        made.fit.flash_bytes,
        made.fit.ram_bytes,
        made.fit.arena_bytes,
        made.arena_probed,
    )
    return Plan(out, project, about, texts, users)


def _check_labels(labels: Sequence[str], graph: Graph, where: str) -> None:
    classes = class_count(graph)
    if labels and len(labels) != classes:
        raise DataError(f"{len(labels)} labels for {classes} outputs", where=where, todo="give one for each output")
    for label in labels:
        if "\0" in label:
            raise DataError(f"the label {label!r} holds a NUL, which ends a C string", where=where, todo="rename it")


def _check_golden(golden: Golden, graph: Graph) -> None:
    inputs, outputs = (len(golden), *graph.input.shape[1:]), (len(golden), *graph.output.shape[1:])
    if len(golden) < FEWEST:
        raise DataError(
            f"{len(golden)} golden vectors, and fewer than {FEWEST} prove too little",
            where=golden.source,
            todo=f"give at least {FEWEST} inputs: in a run, a larger test split",
        )
    if golden.x_q.shape != inputs or golden.y_q.shape != outputs:
        raise DataError(
            f"golden vectors of shapes {list(golden.x_q.shape)} and {list(golden.y_q.shape)}",
            where=golden.source,
            todo=f"the model takes [K, *{list(inputs[1:])}] and gives [K, *{list(outputs[1:])}]",
        )


def _banner(file: str, name: str, graph: Graph) -> tuple[str, ...]:
    made, model = f"enerated by {_TOOL} from the model {name}", f"SHA-256 {graph.sha256}"
    if file == USERS_FILE:
        return f"First g{made}", model, "THIS FILE IS YOURS: edit it; generating again never overwrites it."
    return f"G{made}", model, "Do not edit: generating again overwrites this file."


def _board_context(board: Board, made: Made) -> dict[str, object]:
    attribute = board.arch_flash_attribute
    return {
        "board_name": literals.string(board.name),
        "board_title": literals.string(board.title),
        "board_title_comment": literals.comment(board.title),
        "baud": board.platformio.monitor_speed,
        "rx_buffer_bytes": board.firmware.rx_buffer_bytes,
        "native_usb": board.firmware.native_usb,
        "flash_hint": literals.comment(board.firmware.flash_hint),
        "flash_attribute": f" {attribute}" if attribute else "",
        "flash_include": "<avr/pgmspace.h>" if attribute == "PROGMEM" else "",
        "env": board.name,
        "settings": _settings(made.platformio),
    }


def _settings(pio: Platformio) -> list[tuple[str, list[str]]]:
    """The options of the PlatformIO environment, those without a value left out."""
    options: list[tuple[str, list[str]]] = [
        ("platform", [pio.platform]),
        ("board", [pio.board]),
        ("framework", [pio.framework]),
        ("monitor_speed", [str(pio.monitor_speed)]),
        ("monitor_echo", ["yes"]),
        ("monitor_filters", ["send_on_enter"]),
        ("lib_deps", pio.lib_deps),
        ("build_unflags", pio.build_unflags),
        ("build_flags", pio.build_flags),
        *((key, value.splitlines()) for key, value in pio.extra.items()),
    ]
    return [(key, values) for key, values in options if values]


def _model_context(
    data: bytes, graph: Graph, name: str, labels: Sequence[str], provenance: Mapping[str, str]
) -> dict[str, object]:
    told = [(literals.comment(key), literals.comment(value)) for key, value in provenance.items()]
    return {
        "model_name": name,
        "model_name_text": literals.string(name),
        "model_sha256": sha256_bytes(data),
        "model_bytes": len(data),
        "tool_text": literals.string(_TOOL),
        "input": _tensor_context(graph, graph.input),
        "output": _output_context(graph),
        "labels": [literals.string(label) for label in labels],
        "provenance": [(literals.string(key), literals.string(value)) for key, value in told],
        "provenance_comments": told,
    }


def _output_context(graph: Graph) -> dict[str, object]:
    """``length`` is how the C++ names the number of values; int32 ``indices`` have no scale and zero point."""
    if index_op(graph) is None:
        return {**_tensor_context(graph, graph.output), "indices": False, "type": "int8_t", "length": "kOutputBytes"}
    text = literals.edge(graph, graph.output)
    return {
        "bytes": graph.output.bytes,
        "count": elements(graph.output),
        "comment": text,
        "text": literals.string(text),
        "indices": True,
        "type": "int32_t",
        "length": "kOutputCount",
    }


def _answer_context(graph: Graph, task: str) -> dict[str, object]:
    """What an inference is answered with beside its output: a "class", real "values", or "nothing"."""
    if index_op(graph):
        return {"answer": "class", "answered": 'index=3 label="..." output=3'}
    if task == tasks.REGRESSION or elements(graph.output) == 1:
        return {"answer": "values", "answered": "value=21.437,... output=-128,..."}
    if task == tasks.CLASSIFICATION:
        return {"answer": "class", "answered": 'index=3 label="..." output=-128,...'}
    return {"answer": "nothing", "answered": "output=-128,..."}


def _tensor_context(graph: Graph, tensor: Tensor) -> dict[str, object]:
    assert tensor.quant is not None  # checked_graph has seen to it
    text = literals.edge(graph, tensor)
    return {
        "bytes": tensor.bytes,
        "scale": literals.real(tensor.quant.scale[0]),
        "zero_point": tensor.quant.zero_point[0],
        "comment": text,
        "text": literals.string(text),
    }


def _golden_context(golden: Golden, labels: Sequence[str]) -> dict[str, object]:
    return {
        "golden": [_vector(golden, index, labels) for index in range(len(golden))],
        "golden_source_comment": literals.comment(golden.source),
        "golden_source_text": literals.string(literals.comment(golden.source)),
        "golden_reference_comment": literals.comment(golden.reference),
    }


def _vector(golden: Golden, index: int, labels: Sequence[str]) -> dict[str, object]:
    comment = ""
    if golden.labels is not None:
        label = int(golden.labels[index])
        comment = f": class {label}" + (f" ({literals.comment(labels[label])})" if labels else "")
    return {
        "comment": comment,
        "input_rows": literals.integer_rows(golden.x_q[index]),
        "output_rows": literals.integer_rows(golden.y_q[index : index + 1]),
    }
