"""`kd-embedded inspect`: what a model is made of, what it costs, where it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.cli._columns import columns
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.tflite.graph import Graph, QuantParams, Tensor


@click.argument("model", metavar="MODEL.tflite", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["tflm", "aot"]),
    default="tflm",
    show_default=True,
    help="What is to run it: TensorFlow Lite Micro, or C compiled from it ahead of time.",
)
@verb
def command(progress: Progress, model: Path, engine: str) -> Outcome:
    """Show a full-int8 MODEL.tflite: ops, tensors, quantization, MACs, weights, arena, which boards it fits."""
    from kd_embedded.codegen import checked_graph
    from kd_embedded.tflite.read import read_bytes

    data = read_bytes(model)
    graph = checked_graph(data, str(model), engine)
    document = _document(data, graph, engine)
    return Outcome(document, _text(str(model), graph, document))


def _document(data: bytes, graph: Graph, engine: str) -> dict[str, Any]:
    from dataclasses import asdict

    from kd_embedded import codegen
    from kd_embedded.boards import load_boards
    from kd_embedded.config import CodegenSpec
    from kd_embedded.tflite.analyze import analyze
    from kd_embedded.tflite.check import reference_departures, tflm_departures
    from kd_embedded.tflite.read import parse_model

    analysis = analyze(graph)
    arena, spec = codegen.ENGINES[engine].arena(data, graph), CodegenSpec.model_validate({"engine": engine})
    fits = {board.name: codegen.fit(data, graph, board, spec, arena) for board in load_boards()}
    return {
        "name": parse_model(data, graph.name).name,
        "engine": engine,
        "sha256": graph.sha256,
        "ops": [{**asdict(cost), "output_shape": list(cost.output_shape)} for cost in analysis.ops],
        "macs": analysis.macs,
        "weight_bytes": analysis.weight_bytes,
        "model_bytes": graph.model_bytes,
        "arena_bytes": arena.bytes if arena else max(found.arena_bytes for found in fits.values()),
        "arena_probed": arena is None or arena.probed,
        "input": _tensor(graph.input),
        "output": _tensor(graph.output),
        "tensors": [_tensor(tensor) for tensor in graph.tensors],
        "departures": [asdict(departure) for departure in tflm_departures(graph)],
        "reference_departures": [asdict(departure) for departure in reference_departures(graph)],
        "boards": {name: asdict(found) for name, found in fits.items()},
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "index": tensor.index,
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "constant": tensor.data is not None,
        **_quantization(tensor.quant),
    }


def _quantization(quant: QuantParams | None) -> dict[str, Any]:
    """One number per tensor, a list per channel, null where a tensor is not quantized."""
    if quant is None:
        return {"scale": None, "zero_point": None}
    if quant.per_channel:
        return {"scale": list(quant.scale), "zero_point": list(quant.zero_point), "axis": quant.axis}
    return {"scale": quant.scale[0], "zero_point": quant.zero_point[0]}


def _text(where: str, graph: Graph, document: Mapping[str, Any]) -> str:
    arena = "the smallest that TensorFlow Lite Micro runs with on a 64-bit host"
    if document["engine"] == "aot":
        arena = "exact, on the board that takes most"
    elif not document["arena_probed"]:
        arena = "an estimate: no TensorFlow Lite Micro interpreter is here to find the smallest with"
    ops = [
        (str(op["index"]), op["name"], _shape(op["output_shape"]), f"{op['macs']:,}", f"{op['weight_bytes']:,}")
        for op in document["ops"]
    ]
    total = ("", "in all", "", f"{document['macs']:,}", f"{document['weight_bytes']:,}")
    departures = {
        who: [f"  op {found['op_index']} ({found['op_name']}): {found['why']}" for found in document[key]]
        for who, key in (
            ("TensorFlow Lite Micro computes these ops differently:", "departures"),
            ("BUILTIN_REF of tflite-runtime computes these ops wrongly:", "reference_departures"),
        )
    }
    return "\n".join(
        [
            f"{where}: {document['model_bytes']:,} bytes, {len(graph.ops)} ops, {len(graph.tensors)} tensors",
            *columns([("OP", "", "OUTPUT", "MACS", "WEIGHT BYTES"), *ops, total], right=(0, 3, 4)),
            "",
            f"input   {_edge(document['input'])}",
            f"output  {_edge(document['output'])}",
            f"arena   {document['arena_bytes']:,} bytes, {arena}",
            *(line for who, lines in departures.items() if lines for line in ("", who, *lines)),
            "",
            *_boards(document["boards"]),
        ]
    )


def _boards(boards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        (name, "fits" if found["fits"] else "no", _kib(found["flash_bytes"]), _kib(found["ram_bytes"]), found["reason"])
        for name, found in boards.items()
    ]
    return columns([("BOARD", "", "FLASH", "RAM", ""), *rows], right=(2, 3))


def _edge(tensor: Mapping[str, Any]) -> str:
    if tensor["scale"] is None:
        return f"{tensor['dtype']} {_shape(tensor['shape'])}, indices of classes, tensor {tensor['name']}"
    formula = f"real = {tensor['scale']:.9g} * (q - {tensor['zero_point']})".replace("- -", "+ ")
    return f"{tensor['dtype']} {_shape(tensor['shape'])}, {formula}, tensor {tensor['name']}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _kib(count: int) -> str:
    return f"{count / 1024:.1f} KiB"
