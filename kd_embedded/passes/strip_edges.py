"""Float and uint8 edges taken off: a model that is int8 between a QUANTIZE and a DEQUANTIZE becomes int8 throughout.

Most published models are so. What goes in and out of the stripped graph are the int8 values on the inner side of the
edges, with their scale and zero point; the caller quantizes and dequantizes. A uint8 edge differs from int8 by 128 in
value and zero point alone: the tensor is taken as int8, and a QUANTIZE that changed nothing else goes.

Sources: tensorflow/lite/kernels/internal/reference/quantize.h:32 (v2.14), AffineQuantize (divides in float32, rounds
half away from zero); dequantize.h:31, Dequantize; requantize.h:28, Requantize.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.errors import ModelError
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor

Array = NDArray[Any]
_HALF = 128  # from uint8 to int8
_ALL_VALUES = np.arange(-_HALF, _HALF)


@dataclass(frozen=True)
class Edge:
    """The model's own input or output ``tensor``, which is float32 or uint8, and what stands for it.

    ``inner`` is the int8 tensor of the stripped graph; ``op`` the index of the op that is gone between the two, None
    where the uint8 tensor itself is taken as int8. A real value is ``scale * (q - zero_point)``, q int8.
    """

    tensor: int
    dtype: str
    inner: int
    op: int | None
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Stripped:
    """``graph`` has int8 input and output, where the model had edges that could be taken off; else it is unchanged.

    Tensors and ops keep their indices: those of the file.
    """

    graph: Graph
    input: Edge | None
    output: Edge | None

    def feed(self, inputs: Array) -> Array:
        """``inputs`` of the stripped graph, int8 [N, ...], as the whole model takes them: to the byte the same.

        Floats are ``scale * (q - zero_point)`` in float32, which QUANTIZE gives back as q; ModelError where not so.
        """
        edge = self.input
        if edge is None:
            return inputs
        if edge.dtype == "uint8":
            return (inputs.astype(np.int16) + _HALF).astype(np.uint8)
        if not np.array_equal(_quantize(_dequantize(_ALL_VALUES, edge), edge), _ALL_VALUES):
            raise ModelError(
                f"input scale {edge.scale} loses values in float32", where=self.graph.name, todo="convert it again"
            )
        return _dequantize(inputs, edge)

    def fetch(self, values: Array) -> Array:
        """The values of tensor ``graph.outputs[0]`` in the whole model as the stripped graph's output, int8."""
        return (values.astype(np.int16) - _HALF).astype(np.int8) if values.dtype == np.uint8 else values


def strip_edges(graph: Graph) -> Stripped:
    """``graph`` without its float or uint8 edges."""
    graph, input_edge = _strip_input(graph)
    graph, output_edge = _strip_output(graph)
    return Stripped(graph, input_edge, output_edge)


def _strip_input(graph: Graph) -> tuple[Graph, Edge | None]:
    if len(graph.inputs) != 1:
        return graph, None
    outer = graph.input
    readers = [op for op in graph.ops if outer.index in op.inputs]
    if len(readers) != 1 or readers[0].name != "QUANTIZE" or outer.index in graph.outputs:
        return graph, None
    op = readers[0]
    inner = graph.tensors[op.outputs[0]]
    if not _is_edge(outer, inner):
        return graph, None
    if outer.dtype == "uint8" and not _is_flip(outer, inner):
        return _as_int8(graph, outer), _edge(outer, outer.index, None)
    return replace(_without(graph, op), inputs=(inner.index,)), _edge(outer, inner.index, op.index, inner.quant)


def _strip_output(graph: Graph) -> tuple[Graph, Edge | None]:
    if len(graph.outputs) != 1:
        return graph, None
    outer = graph.output
    writers = [op for op in graph.ops if outer.index in op.outputs]
    read = any(outer.index in op.inputs for op in graph.ops)
    if len(writers) != 1 or writers[0].name not in ("DEQUANTIZE", "QUANTIZE") or read:
        return graph, None
    op = writers[0]
    inner = graph.tensors[op.inputs[0]]
    if not _is_edge(outer, inner) or inner.data is not None:
        return graph, None
    if outer.dtype == "uint8" and not _is_flip(outer, inner):
        return _as_int8(graph, outer), _edge(outer, outer.index, None)
    return replace(_without(graph, op), outputs=(inner.index,)), _edge(outer, inner.index, op.index, inner.quant)


def _is_edge(outer: Tensor, inner: Tensor) -> bool:
    quantized = [inner, *([outer] if outer.dtype == "uint8" else [])]
    return (
        outer.dtype in ("float32", "uint8")
        and inner.dtype == "int8"
        and outer.data is None
        and outer.shape == inner.shape
        and all(tensor.quant is not None and not tensor.quant.per_channel for tensor in quantized)
    )


def _is_flip(outer: Tensor, inner: Tensor) -> bool:
    """Whether uint8 ``outer`` and int8 ``inner`` stand for the same reals, byte for byte."""
    return outer.quant is not None and inner.quant == _int8_quant(outer.quant)


def _int8_quant(quant: QuantParams) -> QuantParams:
    return replace(quant, zero_point=(quant.zero_point[0] - _HALF,))


def _as_int8(graph: Graph, tensor: Tensor) -> Graph:
    assert tensor.quant is not None
    changed = replace(tensor, dtype="int8", quant=_int8_quant(tensor.quant))
    return replace(graph, tensors=tuple(changed if each.index == tensor.index else each for each in graph.tensors))


def _edge(outer: Tensor, inner: int, op: int | None, quant: QuantParams | None = None) -> Edge:
    if quant is None:
        assert outer.quant is not None
        quant = _int8_quant(outer.quant)
    return Edge(outer.index, outer.dtype, inner, op, quant.scale[0], quant.zero_point[0])


def _without(graph: Graph, op: Op) -> Graph:
    return replace(graph, ops=tuple(other for other in graph.ops if other is not op))


def _dequantize(values: Array, edge: Edge) -> Array:
    return np.asarray((values.astype(np.float32) - np.float32(edge.zero_point)) * np.float32(edge.scale), np.float32)


def _quantize(reals: Array, edge: Edge) -> Array:
    quotients = reals / np.float32(edge.scale)
    rounded = np.trunc(quotients + np.copysign(np.float32(0.5), quotients))  # of integers within float32's error
    return np.asarray(np.clip(rounded.astype(np.int64) + edge.zero_point, -_HALF, _HALF - 1))
