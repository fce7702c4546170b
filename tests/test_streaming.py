"""Streams: every schedule is interpreted in poisoned memory, with the ops' own references for kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kd_embedded import kernels, ops, streaming
from kd_embedded.kernels.layers import Layer
from kd_embedded.ops import _layers
from kd_embedded.program import Array, Call, Overlap, Place, Stream, Target
from kd_embedded.tflite.graph import Graph, Op
from kd_embedded.tflite.read import parse_model
from tests.tflite_builder import O, T, build

TARGET = Target("c", "ram")
POISON = 99


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that carry the layer itself, so that the schedule is tested and not the C code."""

    def layer_call(layer: Layer, op: int, target: Target) -> tuple[Call, ...]:
        return (Call("layer", op, (layer.input,), (layer.output,), {"layer": layer}, scratch=4),)

    def add_call(graph: Graph, op: Op, target: Target) -> tuple[Call, ...]:
        overlaps = (Overlap(0, "same"), Overlap(1, "same"))
        held = {"graph": graph, "op": op}
        return (Call("add", op.index, op.inputs, op.outputs, held, overlaps=overlaps),)

    real = ops.spec
    add = replace(real("ADD"), lower=add_call)
    monkeypatch.setattr(kernels, "lower", layer_call)
    monkeypatch.setattr(streaming.ops, "spec", lambda name: add if name == "ADD" else real(name))


def interpret(graph: Graph, stream: Stream, x: NDArray[np.int8]) -> NDArray[np.int8]:
    """What the calls of ``stream`` compute from the bytes they find, none of which is zeroed before."""
    (output,), (source,) = stream.outputs, stream.inputs
    gap, size = stream.overlaps[0].gap, graph.tensors[output].bytes
    shared = np.full(x.size + size + abs(gap), POISON, np.int8)  # input and output, as close as the overlap lets them
    before, after = max(-gap, 0), max(gap, 0)
    memory: dict[int | None, NDArray[np.int8]] = {
        None: np.full(stream.scratch, POISON, np.int8),
        source: shared[after : after + x.size],
        output: shared[before : before + size],
    }
    memory[source][:] = x.reshape(-1)

    def at(place: Place | Array, size: int, i: int) -> NDArray[np.int8]:
        assert isinstance(place, Place)
        start = place.offset + place.step * i
        limit = stream.rows_bytes if place.tensor is None else len(memory[place.tensor])
        assert start >= 0 and start + size <= limit, "out of its memory"
        return memory[place.tensor][start : start + size]

    for repeat in stream.repeats:
        for i in range(repeat.count):
            for row in repeat.body:
                _do(row.call, [*row.inputs, *row.outputs], at, i)
    return memory[output]


def _do(call: Call, places: list[Any], at: Any, i: int) -> None:
    if call.kernel == "slide":
        size = call.args["bytes"]
        at(places[1], size, i)[:] = at(places[0], size, i).copy()
    elif call.kernel == "layer":
        layer: Any = call.args["layer"]
        result = _layers.evaluate(layer, at(places[0], int(np.prod(layer.input_shape)), i).copy())
        at(places[1], result.size, i)[:] = result.reshape(-1)
    else:
        graph, op = call.args["graph"], call.args["op"]
        size = graph.tensors[op.outputs[0]].bytes
        both = [at(place, size, i).copy() for place in places[:2]]
        at(places[2], size, i)[:] = both[0] // 2 + both[1] // 2  # any function of both


@dataclass(frozen=True, repr=False)
class Case:
    """A model, the seed of its inputs, and what hypothesis tells of it."""

    model: bytes
    seed: int
    ops: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Case({self.seed}, {self.ops})"


@st.composite
def chains(draw: st.DrawFn) -> Case:
    """2 to 7 convolutions, depthwise ones and residual additions."""
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    shape = (1, draw(st.integers(3, 14)), draw(st.integers(3, 6)), draw(st.integers(1, 3)))
    tensors, made, activations = [T(shape, scale=0.1)], [], [0]
    for _ in range(draw(st.integers(2, 7))):
        source = activations[-1]
        shape = tuple(tensors[source].shape)
        alike = [i for i in activations[1:-1] if tuple(tensors[i].shape) == shape]
        if alike and draw(st.booleans()):
            made.append(O("ADD", [source, draw(st.sampled_from(alike))], [len(tensors)], "AddOptions"))
            tensors.append(T(shape, scale=0.1))
        else:
            made.append(_convolution(draw, generator, tensors, source))
        activations.append(made[-1].outputs[0])
    told = (f"{o.name} {tensors[o.inputs[0]].shape} {tensors[o.inputs[1]].shape} {o.attributes}" for o in made)
    return Case(build(tensors, made), seed, tuple(told))


def _convolution(draw: st.DrawFn, generator: np.random.Generator, tensors: list[T], source: int) -> O:
    _, height, width, depth = tensors[source].shape
    kernel, stride = draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 1, 1, 2, 3]))
    dilation = draw(st.sampled_from([1, 1, 2])) if stride == 1 else 1
    padding = 0 if (kernel - 1) * dilation + 1 > min(height, width) else draw(st.sampled_from([0, 0, 1]))
    depthwise = depth > 1 and draw(st.booleans())
    channels = depth if depthwise else draw(st.sampled_from([depth, 1, 2, 3]))
    filters = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, depth)
    taken = (kernel - 1) * dilation + 1
    sizes = [-(-n // stride) if padding == 0 else -(-(n - taken + 1) // stride) for n in (height, width)]
    first = len(tensors)
    tensors += [
        T(filters, data=generator.integers(-127, 128, filters, dtype=np.int8), scale=0.01),
        T((channels,), "int32", scale=0.001, data=generator.integers(-500, 500, channels, dtype=np.int32)),
        T((1, *sizes, channels), scale=0.1, zero_point=3),
    ]
    attributes = {"Padding": padding, "StrideH": stride, "StrideW": stride}
    attributes |= {"DilationHFactor": dilation, "DilationWFactor": dilation}
    if depthwise:
        return O("DEPTHWISE_CONV_2D", [source, first, first + 1], [first + 2], "DepthwiseConv2DOptions",
                 attributes | {"DepthMultiplier": 1})  # fmt: skip
    return O("CONV_2D", [source, first, first + 1], [first + 2], "Conv2DOptions", attributes)


def _expected(graph: Graph, x: NDArray[np.int8]) -> NDArray[np.int8]:
    values: dict[int, NDArray[np.int8]] = {graph.inputs[0]: x}
    for op in graph.ops:
        if op.name == "ADD":
            values[op.outputs[0]] = values[op.inputs[0]] // 2 + values[op.inputs[1]] // 2
        else:
            values[op.outputs[0]] = _layers.evaluate(_layers.to_layer(graph, op), values[op.inputs[0]])
    return values[graph.outputs[0]].reshape(-1)


@given(chains())
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_stream_computes_what_its_ops_do(case: Case) -> None:
    graph = parse_model(case.model, "model")
    stream = streaming.stream(graph, graph.ops, TARGET)
    dead_ends = {i for op in graph.ops[:-1] for i in op.outputs} - {i for op in graph.ops for i in op.inputs}
    if dead_ends:
        assert stream is None
        return
    assert stream is not None
    x = np.random.default_rng(case.seed).integers(-128, 128, graph.input.shape, dtype=np.int8)
    assert np.array_equal(interpret(graph, stream, x), _expected(graph, x))


def _resnet_block(height: int) -> bytes:
    """Two convolutions and an addition around them, on [1, height, 4, 2]."""
    shape, filters = (1, height, 4, 2), (2, 3, 3, 2)
    tensors, made = [T(shape)], []
    for source in (0, 1, 4):
        weights = T(filters, data=np.ones(filters, np.int8), scale=0.01)
        bias = T((2,), "int32", scale=0.001, data=np.zeros(2, np.int32))
        first = len(tensors)
        tensors += [T(shape), weights, bias] if not made else [weights, bias, T(shape)]
        out, w = (first, first + 1) if not made else (first + 2, first)
        source = 0 if not made else made[-1].outputs[0]
        made.append(O("CONV_2D", [source, w, w + 1], [out], "Conv2DOptions", {"StrideH": 1, "StrideW": 1}))
    tensors.append(T(shape))
    made.append(O("ADD", [made[0].outputs[0], made[2].outputs[0]], [len(tensors) - 1], "AddOptions"))
    return build(tensors, made)


def test_rows_kept_do_not_grow_with_the_image() -> None:
    kept = []
    for height in (10, 20):
        graph = parse_model(_resnet_block(height), "model")
        stream = streaming.stream(graph, graph.ops, TARGET)
        assert stream is not None
        kept.append(stream.rows_bytes)
    assert kept[0] == kept[1] == 2 * 3 * 8  # three rows of 8 bytes of each of the two tensors before the addend


def test_loops_hold_most_of_the_calls() -> None:
    graph = parse_model(_resnet_block(40), "model")
    stream = streaming.stream(graph, graph.ops, TARGET)
    assert stream is not None
    written = sum(len(repeat.body) for repeat in stream.repeats)
    done = sum(len(repeat.body) * repeat.count for repeat in stream.repeats)
    assert written < 40 and done > 200


def test_a_pool_that_may_write_over_its_input_is_not_by_value() -> None:
    tensors = [T([1, 5, 5, 3], "int8", 0.05, 3) for _ in range(4)]
    pool = {"Padding": 0, "StrideH": 1, "StrideW": 1, "FilterHeight": 2, "FilterWidth": 2}
    middle = O("MAX_POOL_2D", [1], [2], "Pool2DOptions", pool)
    graph = parse_model(build(tensors, [O("RELU", [0], [1]), middle, O("RELU", [2], [3])]), "pool")
    assert streaming.stream(graph, graph.ops, TARGET) is None


def test_smallest_never_grows_the_arena() -> None:
    graph = parse_model(_resnet_block(20), "model")

    def arena(steps: streaming.Steps) -> int:
        return sum(step.scratch or 0 for step in steps if isinstance(step, Stream)) + 10 * sum(
            isinstance(step, Call) for step in steps
        )

    lowered = [(op, tuple(_lower(graph, op))) for op in graph.ops]
    steps = streaming.smallest(graph, lowered, TARGET, arena)
    assert arena(steps) <= arena(tuple(step for _, some in lowered for step in some))


def _lower(graph: Graph, op: Op) -> Iterator[Call]:
    yield Call("any", op.index, op.inputs[:1], op.outputs)
