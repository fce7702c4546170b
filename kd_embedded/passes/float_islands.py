"""Functions of one float between two int8 tensors, made one op: DEQUANTIZE, SQUARE, QUANTIZE is a table of 256 bytes.

The converter leaves an op without an int8 kernel in float (NEG, SQUARE and SQRT of layer and group normalization, ELU),
between a DEQUANTIZE and a QUANTIZE. Value by value it is a function of int8 all the same: the QUANTIZE takes the int8
tensor itself, and keeps the names of the functions between as its attribute ``functions`` (ops/quantize.py).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from kd_embedded.ops.quantize import FUNCTIONS
from kd_embedded.tflite.graph import Graph, Op


def fold_float_islands(graph: Graph) -> Graph:
    """``graph`` with each such chain as one QUANTIZE, without the ops that nothing reads any more."""
    makers = {index: op for op in graph.ops for index in op.outputs}
    ops, gone = [], set[int]()
    for op in graph.ops:
        chain = _chain(graph, op, makers)
        if chain is not None:
            options = MappingProxyType({"functions": tuple(made.name for made in chain[1:])})
            gone |= {made.index for made in chain}
            op = replace(op, inputs=chain[0].inputs, options=options)
        ops.append(op)
    return replace(graph, ops=_read(graph, ops, gone))


def _chain(graph: Graph, op: Op, makers: dict[int, Op]) -> list[Op] | None:
    """From a DEQUANTIZE of int8 through known functions to the input of the QUANTIZE ``op``; None where it is other."""
    if op.name != "QUANTIZE" or not _is_unary(op):
        return None
    shape, chain = graph.tensors[op.outputs[0]].shape, [op]
    while True:
        index = chain[-1].inputs[0]
        tensor, maker = graph.tensors[index], makers.get(index)
        if tensor.shape != shape or tensor.dtype != "float32" or maker is None or not _is_unary(maker):
            return None
        chain.append(maker)
        if maker.name == "DEQUANTIZE":
            source = graph.tensors[maker.inputs[0]]
            return chain[:0:-1] if source.dtype == "int8" and source.shape == shape else None
        if maker.name not in FUNCTIONS or len(chain) > len(graph.ops):
            return None


def _is_unary(op: Op) -> bool:
    return len(op.inputs) == len(op.outputs) == 1 and op.inputs[0] >= 0


def _read(graph: Graph, ops: list[Op], gone: set[int]) -> tuple[Op, ...]:
    """``ops`` without those of ``gone`` that neither another op nor the model's output reads."""
    kept: list[Op] = []
    read = set(graph.outputs)
    for op in reversed(ops):
        if op.index not in gone or read & set(op.outputs):
            read |= set(op.inputs)
            kept.append(op)
    return tuple(reversed(kept))
