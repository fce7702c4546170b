"""Dead channels: what is found, what must stay, and that not a byte of the model's output changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_reference
from graph_writer import to_model
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tflite_builder import O, T, build

from kd_embedded import interpreters, reference
from kd_embedded.passes.dead_channels import Pruned, remove_dead_channels
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model

SAME, VALID = 0, 1
NONE, RELU, RELU6 = 0, 1, 3
MODELS = (
    "ad01_int8",
    "hello_world_int8",
    "kws_ref_model",
    "micro_speech_quantized",
    "person_detect",
    "pretrainedResnet_quant",
    "str_ww_ref_model",
    "vww_96_int8",
)


class Net:
    """A network in the making; each method adds an op and gives the tensor that it computes."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[T] = []
        self.ops: list[O] = []
        self.input = self.activation((1, *shape))

    def activation(self, shape: tuple[int, ...], scale: float | None = None, zero_point: int | None = None) -> int:
        scale = float(self.rng.choice([0.02, 0.05, 0.1])) if scale is None else scale
        zero_point = int(self.rng.integers(-128, 128)) if zero_point is None else zero_point
        return self.add_tensor(T(list(shape), "int8", scale, zero_point))

    def add_tensor(self, tensor: T) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.tensors[tensor].shape)

    def weights(self, data: NDArray[Any], axis: int, per_channel: bool = True) -> int:
        count = data.shape[axis] if per_channel else 1
        scales = [float(s) for s in self.rng.uniform(0.005, 0.02, count)]
        return self.add_tensor(T(data.shape, "int8", scales, [0] * count, axis, data=data))

    def bias(self, source: int, weights: int, data: NDArray[Any]) -> int:
        scales = np.atleast_1d(self.tensors[weights].scale) * self.tensors[source].scale
        return self.add_tensor(T(data.shape, "int32", [float(s) for s in scales], [0] * len(scales), data=data))

    def conv(
        self,
        source: int,
        data: NDArray[Any],
        bias: NDArray[Any] | None = None,
        *,
        padding: int = VALID,
        activation: int = NONE,
        zero_point: int | None = None,
    ) -> int:
        """``data`` [C_OUT, HK, WK, C_IN]."""
        weights = self.weights(data, 0)
        size = self._size(source, data.shape[1:3], padding)
        output = self.activation((1, *size, len(data)), zero_point=zero_point)
        attributes = {"Padding": padding, "StrideH": 1, "StrideW": 1, "FusedActivationFunction": activation}
        inputs = [source, weights, *([] if bias is None else [self.bias(source, weights, bias)])]
        self.ops.append(O("CONV_2D", inputs, [output], "Conv2DOptions", attributes, version=3))
        return output

    def depthwise(
        self, source: int, data: NDArray[Any], bias: NDArray[Any], *, padding: int = SAME, zero_point: int | None = None
    ) -> int:
        """``data`` [1, HK, WK, C_OUT]."""
        weights = self.weights(data, 3)
        size = self._size(source, data.shape[1:3], padding)
        output = self.activation((1, *size, data.shape[3]), zero_point=zero_point)
        attributes = {"Padding": padding, "StrideH": 1, "StrideW": 1}
        attributes["DepthMultiplier"] = data.shape[3] // self.shape(source)[3]
        inputs = [source, weights, self.bias(source, weights, bias)]
        self.ops.append(O("DEPTHWISE_CONV_2D", inputs, [output], "DepthwiseConv2DOptions", attributes, version=3))
        return output

    def dense(
        self, source: int, data: NDArray[Any], bias: NDArray[Any] | None = None, per_channel: bool = False
    ) -> int:
        """``data`` [C_OUT, K]."""
        weights = self.weights(data, 0, per_channel)
        output = self.activation((1, len(data)))
        inputs = [source, weights, *([] if bias is None else [self.bias(source, weights, bias)])]
        self.ops.append(O("FULLY_CONNECTED", inputs, [output], "FullyConnectedOptions", version=4))
        return output

    def add(self, left: int, right: int) -> int:
        output = self.activation(self.shape(left))
        self.ops.append(O("ADD", [left, right], [output], "AddOptions"))
        return output

    def unary(self, name: str, source: int) -> int:
        output = self.activation(self.shape(source))
        if name == "LOGISTIC" or name == "TANH":
            self.tensors[output].scale, self.tensors[output].zero_point = {
                "LOGISTIC": (1 / 256, -128),
                "TANH": (1 / 128, 0),
            }[name]
        options, attributes = ("LeakyReluOptions", {"Alpha": 0.3}) if name == "LEAKY_RELU" else ("", {})
        self.ops.append(O(name, [source], [output], options, attributes, version=2))
        return output

    def pool(self, name: str, source: int, padding: int = SAME) -> int:
        tensor = self.tensors[source]
        size = self._size(source, (2, 2), padding)
        output = self.activation((1, *size, self.shape(source)[3]), tensor.scale, tensor.zero_point)
        attributes = {"Padding": padding, "StrideH": 1, "StrideW": 1, "FilterHeight": 2, "FilterWidth": 2}
        self.ops.append(O(name, [source], [output], "Pool2DOptions", attributes, version=2))
        return output

    def mean(self, source: int) -> int:
        axes = self.add_tensor(T([2], "int32", None, data=np.array([1, 2])))
        output = self.activation((1, self.shape(source)[3]))
        self.ops.append(O("MEAN", [source, axes], [output], "ReducerOptions", {"KeepDims": False}, version=2))
        return output

    def concat(self, sources: list[int]) -> int:
        first = self.tensors[sources[0]]
        channels = sum(self.shape(source)[-1] for source in sources)
        output = self.activation((*self.shape(sources[0])[:-1], channels), first.scale, first.zero_point)
        for source in sources:
            self.tensors[source].scale, self.tensors[source].zero_point = first.scale, first.zero_point
        self.ops.append(O("CONCATENATION", sources, [output], "ConcatenationOptions", {"Axis": -1}, version=2))
        return output

    def flatten(self, source: int) -> int:
        tensor, size = self.tensors[source], int(np.prod(self.shape(source)))
        shape = self.add_tensor(T([2], "int32", None, data=np.array([1, size])))
        output = self.activation((1, size), tensor.scale, tensor.zero_point)
        self.ops.append(O("RESHAPE", [source, shape], [output], "ReshapeOptions"))
        return output

    def model(self) -> bytes:
        return build(self.tensors, self.ops, [self.input])

    def values(self, *shape: int) -> NDArray[Any]:
        return self.rng.integers(-127, 128, shape)

    def _size(self, source: int, kernel: tuple[int, ...], padding: int) -> tuple[int, int]:
        height, width = self.shape(source)[1:3]
        return (height, width) if padding == SAME else (height - kernel[0] + 1, width - kernel[1] + 1)


def prune(net: Net) -> tuple[Graph, Pruned]:
    graph = parse_model(net.model(), "m.tflite")
    return graph, remove_dead_channels(graph)


def assert_same(net: Net, samples: int = 4) -> Pruned:
    """Pruned, and both graphs compute the same."""
    graph, pruned = prune(net)
    inputs = np.random.default_rng(7).integers(-128, 128, (samples, *graph.input.shape[1:]), dtype=np.int8)
    assert np.array_equal(reference.run(graph, inputs), reference.run(pruned.graph, inputs))
    return pruned


def zero_filters(data: NDArray[Any], *channels: int) -> NDArray[Any]:
    data = data.copy()
    data[list(channels)] = 0
    return data


# ---------------------------------------------------------------------------------------------------------------------
# One rule at a time


def test_a_constant_channel_goes_into_the_next_bias() -> None:
    net = Net((5, 5, 3))
    x = net.conv(net.input, zero_filters(net.values(6, 3, 3, 3), 1, 4), net.values(6) * 9)
    net.conv(x, net.values(4, 2, 2, 6), net.values(4))
    pruned = assert_same(net)
    assert pruned.kept == {x: (0, 2, 3, 5)}
    assert [(s.op, s.channels_before, s.channels) for s in pruned.savings] == [(0, 6, 4), (1, 4, 4)]
    assert (pruned.savings[0].weight_bytes, pruned.savings[1].weight_bytes) == (2 * 27, 4 * 4 * 2)
    assert (pruned.savings[0].macs, pruned.savings[1].macs) == (9 * 2 * 27, 4 * 4 * 4 * 2)


def test_a_bias_is_made_where_there_was_none() -> None:
    net = Net((4, 4, 3))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 2), np.array([5, 6, 4000, 8]))
    net.conv(x, net.values(4, 2, 2, 4))
    pruned = assert_same(net)
    assert len(pruned.graph.ops[1].inputs) == 3


@pytest.mark.parametrize(("padding", "off_zero", "goes"), [(VALID, 0, True), (SAME, 0, True), (SAME, 60, False)])
def test_a_border_of_zero_points_makes_a_constant_none(padding: int, off_zero: int, goes: bool) -> None:
    """In a padded layer only a channel that equals the zero point everywhere is the same at the border."""
    net = Net((5, 5, 3))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1), np.full(4, off_zero * 100), zero_point=3)
    net.conv(x, net.values(2, 3, 3, 4), net.values(2), padding=padding)
    pruned = assert_same(net)
    assert (pruned.kept == {x: (0, 2, 3)}) is goes


def test_a_channel_that_is_always_clamped_is_constant() -> None:
    net = Net((4, 4, 3))
    bias = np.array([0, -(1 << 24), 0])
    x = net.conv(net.input, net.values(3, 1, 1, 3), bias, activation=RELU, zero_point=-128)
    net.conv(x, net.values(2, 3, 3, 3), net.values(2), padding=SAME)
    assert assert_same(net).kept == {x: (0, 2)}


def test_a_channel_that_nobody_reads_goes() -> None:
    net = Net((4, 4, 3))
    x = net.conv(net.input, net.values(5, 1, 1, 3), net.values(5))
    data = net.values(4, 3, 3, 5)
    data[..., [0, 3]] = 0
    net.conv(x, data, net.values(4), padding=SAME)
    assert assert_same(net).kept == {x: (1, 2, 4)}


def test_a_channel_that_one_of_two_reads_stays() -> None:
    net = Net((4, 4, 3))
    x = net.conv(net.input, net.values(5, 1, 1, 3), net.values(5))
    data = net.values(4, 1, 1, 5)
    data[..., 0] = 0
    net.add(net.conv(x, data), net.conv(x, net.values(4, 1, 1, 5)))
    assert not assert_same(net).kept


def test_constants_that_are_joined_have_a_range() -> None:
    net = Net((4, 4, 3))
    constant = net.add_tensor(T([1, 4, 4, 2], "int8", 0.05, 3, data=net.rng.integers(-128, 128, (1, 4, 4, 2))))
    joined = net.concat([constant, constant])
    net.add(net.conv(net.input, net.values(4, 1, 1, 3), net.values(4)), joined)
    assert_same(net)


def test_death_spreads_backwards() -> None:
    """A channel read by a dead filter alone dies in the next round."""
    net = Net((4, 4, 3))
    first = net.conv(net.input, net.values(4, 1, 1, 3), net.values(4))
    data = net.values(4, 1, 1, 4)
    data[[0, 1, 3], ..., 2] = 0  # only filter 2 reads channel 2
    second = net.conv(first, data, net.values(4))
    last = net.values(3, 1, 1, 4)
    last[..., 2] = 0  # and nobody reads filter 2
    net.conv(second, last, net.values(3))
    assert assert_same(net).kept == {first: (0, 1, 3), second: (0, 1, 3)}


def test_a_depthwise_layer_dies_with_its_input() -> None:
    net = Net((5, 5, 3))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1), np.zeros(4), zero_point=-5)
    y = net.depthwise(x, net.values(1, 3, 3, 4), net.values(4))
    net.conv(y, net.values(2, 1, 1, 4), net.values(2))
    assert assert_same(net).kept == {x: (0, 2, 3), y: (0, 2, 3)}


def test_a_depthwise_layer_with_a_multiplier_dies_by_its_input_channel() -> None:
    net = Net((5, 5, 3))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1), np.zeros(4), zero_point=-5)
    y = net.depthwise(x, net.values(1, 3, 3, 8), net.values(8))
    net.conv(y, net.values(2, 1, 1, 8), net.values(2))
    assert assert_same(net).kept == {x: (0, 2, 3), y: (0, 1, 4, 5, 6, 7)}


def test_a_depthwise_layer_of_one_input_channel_loses_outputs() -> None:
    net = Net((5, 5, 1))
    data = net.values(1, 3, 3, 6)
    data[..., [2, 3]] = 0
    y = net.depthwise(net.input, data, net.values(6))
    net.conv(y, net.values(2, 1, 1, 6), net.values(2))
    pruned = assert_same(net)
    assert pruned.kept == {y: (0, 1, 4, 5)}
    assert pruned.graph.ops[0].options["depth_multiplier"] == 4


def test_addends_go_together() -> None:
    net = Net((4, 4, 3))
    left = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1, 2), net.values(4) * 9)
    right = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1), net.values(4) * 9)
    total = net.add(left, right)
    net.conv(total, net.values(2, 1, 1, 4), net.values(2))
    assert assert_same(net).kept == dict.fromkeys((left, right, total), (0, 2, 3))


def test_an_addend_of_constant_channels_is_cut() -> None:
    net = Net((4, 4, 3))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1), net.values(4) * 9)
    constant = net.add_tensor(T([4], "int8", 0.05, 3, data=net.values(4)))
    y = net.add(x, constant)
    net.tensors[y].scale, net.tensors[y].zero_point = 0.2, 0  # nothing saturates
    net.conv(y, net.values(2, 1, 1, 4), net.values(2))
    pruned = assert_same(net)
    assert pruned.kept == {x: (0, 2, 3), y: (0, 2, 3)}
    assert pruned.graph.tensors[pruned.graph.ops[1].inputs[1]].shape == (3,)


@pytest.mark.parametrize("name", ["RELU", "LEAKY_RELU", "HARD_SWISH", "TANH", "LOGISTIC", "ABS", "QUANTIZE"])
def test_functions_of_one_value_pass_constants_on(name: str) -> None:
    net = Net((4, 4, 3))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 3), 1), net.values(4) * 9)
    if name == "ABS":
        net.tensors[x].scale = 0.1
    y = net.unary(name, x)
    net.conv(y, net.values(2, 1, 1, 4), net.values(2))
    assert assert_same(net).kept == {x: (0, 2, 3), y: (0, 2, 3)}


def test_a_flattened_channel_is_many_columns() -> None:
    net = Net((3, 3, 2))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 2), 1), net.values(4) * 9)
    y = net.flatten(x)
    net.dense(y, net.values(3, 36), net.values(3))
    pruned = assert_same(net)
    assert pruned.kept[x] == (0, 2, 3)
    assert pruned.kept[y] == tuple(i for i in range(36) if i % 4 != 1)
    assert pruned.graph.tensors[y].shape == (1, 27)


def test_one_pixel_of_a_flattened_channel_that_is_read_keeps_it() -> None:
    net = Net((2, 2, 2))
    x = net.conv(net.input, net.values(3, 1, 1, 2), net.values(3))
    data = net.values(3, 12)
    data[:, [1, 4, 7]] = 0  # channel 1, but for the last pixel
    net.dense(net.flatten(x), data)
    assert not assert_same(net).kept


def test_a_dense_layer_that_flattens_by_itself() -> None:
    net = Net((3, 3, 2))
    x = net.conv(net.input, zero_filters(net.values(4, 1, 1, 2), 1), net.values(4) * 9)
    net.dense(x, net.values(3, 36))
    assert assert_same(net).kept == {x: (0, 2, 3)}


def test_joined_channels_are_those_of_the_parts() -> None:
    net = Net((3, 3, 2))
    left = net.conv(net.input, zero_filters(net.values(3, 1, 1, 2), 1), net.values(3) * 9)
    right = net.conv(net.input, zero_filters(net.values(2, 1, 1, 2), 0), net.values(2) * 9)
    both = net.concat([left, right])
    net.conv(both, net.values(2, 1, 1, 5), net.values(2))
    assert assert_same(net).kept == {left: (0, 2), right: (1,), both: (0, 2, 4)}


def test_input_and_output_keep_all_channels() -> None:
    net = Net((3, 3, 2))
    data = zero_filters(net.values(3, 1, 1, 2), 1)
    data[..., 0] = 0
    net.conv(net.input, data, net.values(3) * 9)
    assert not assert_same(net).kept


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_model_of_zeros_keeps_a_channel(per_channel: bool) -> None:
    """Of a dense layer with a scale for each channel two stay: one scale would mean other arithmetic."""
    net = Net((6,))
    x = net.dense(net.input, np.zeros((5, 6)), net.values(5), per_channel)
    y = net.dense(x, np.zeros((4, 5)), net.values(4), per_channel)
    net.dense(y, net.values(3, 4), net.values(3))
    least = (0, 1) if per_channel else (0,)
    assert assert_same(net).kept == {x: least, y: least}


def test_sums_that_overflow_int32_are_no_constants() -> None:
    """The bias is clamped away only if the accumulator does not wrap."""
    net = Net((2, 2, 64))
    bias = np.array([0, -(1 << 31) + 1000, 0])
    x = net.conv(net.input, net.values(3, 1, 1, 64), bias, activation=RELU, zero_point=-128)
    net.conv(x, net.values(2, 1, 1, 3), net.values(2))
    assert not assert_same(net).kept


def test_a_folded_bias_wraps_as_the_accumulator_does() -> None:
    net = Net((2, 2, 3))
    x = net.conv(net.input, zero_filters(net.values(3, 1, 1, 3), 1), np.array([0, 1 << 20, 0]), zero_point=-100)
    net.conv(x, np.full((2, 1, 1, 3), 127), np.array([(1 << 31) - 1, (1 << 31) - 20000]))
    assert assert_same(net).kept == {x: (0, 2)}


def test_images_keep_a_multiple_of_channels() -> None:
    """The first dead ones are kept; what is tied to them comes along."""
    net = Net((4, 4, 3))
    x = net.conv(net.input, zero_filters(net.values(10, 1, 1, 3), 1, 4, 5, 7, 9), net.values(10) * 9)
    y = net.unary("RELU", x)
    net.conv(y, net.values(2, 1, 1, 10), net.values(2))
    graph = parse_model(net.model(), "m.tflite")
    pruned = remove_dead_channels(graph, 4)
    assert pruned.kept == dict.fromkeys((x, y), (0, 1, 2, 3, 4, 5, 6, 8))
    assert remove_dead_channels(graph, 3).kept == dict.fromkeys((x, y), (0, 1, 2, 3, 6, 8))
    inputs = np.random.default_rng(7).integers(-128, 128, (4, 4, 4, 3), dtype=np.int8)
    assert np.array_equal(reference.run(graph, inputs), reference.run(pruned.graph, inputs))


# ---------------------------------------------------------------------------------------------------------------------
# Random networks and public ones


def random_net(seed: int, pools: bool) -> Net:
    """2 to 7 ops with branches; about a third of all filters are zero, and some channels are not read."""
    rng = np.random.default_rng(seed)
    net = Net((int(rng.integers(3, 7)), int(rng.integers(3, 7)), int(rng.integers(1, 4))), seed)
    made = [net.input]
    for _ in range(rng.integers(1, 6)):
        source = made[-1] if rng.random() < 0.7 else made[rng.integers(len(made))]
        made.append(_random_op(net, rng, source, made, pools))
    last = made[-1] if not pools or rng.random() < 0.5 else net.mean(made[-1])
    size = int(np.prod(net.shape(last)))
    net.dense(last, _sparse(net, rng, (3, size), size), net.values(3), per_channel=bool(rng.random() < 0.5))
    return net


def _random_op(net: Net, rng: np.random.Generator, source: int, made: list[int], pools: bool) -> int:
    kind = rng.choice(["conv", "conv", "depthwise", "add", "unary", "concat", *(["pool"] if pools else [])])
    height, width, channels = net.shape(source)[1:]
    kernel = int(rng.integers(1, min(height, width, 3) + 1))
    padding = SAME if min(height, width) < 4 else int(rng.integers(2))
    zero_point = int(rng.choice([-128, 3, 40]))
    alike = [other for other in made if net.shape(other) == net.shape(source)]
    if kind == "conv":
        data = _sparse(net, rng, (int(rng.integers(1, 7)), kernel, kernel, channels), channels)
        bias = _biases(rng, len(data))
        activation = int(rng.choice([NONE, RELU, RELU6]))
        return net.conv(source, data, bias, padding=padding, activation=activation, zero_point=zero_point)
    if kind == "depthwise":
        outputs = channels * int(rng.integers(1, 3))
        data = np.moveaxis(_sparse(net, rng, (outputs, kernel, kernel, 1), 1), 0, -1).reshape(1, kernel, kernel, -1)
        return net.depthwise(source, data, _biases(rng, outputs), padding=padding, zero_point=zero_point)
    if kind == "add":
        return net.add(source, alike[rng.integers(len(alike))])
    if kind == "concat":
        return net.concat([net.unary("QUANTIZE", source), net.unary("QUANTIZE", alike[rng.integers(len(alike))])])
    if kind == "pool":
        return net.pool(str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"])), source)
    return net.unary(str(rng.choice(["RELU", "LEAKY_RELU", "LOGISTIC", "TANH", "QUANTIZE"])), source)


def _sparse(net: Net, rng: np.random.Generator, shape: tuple[int, ...], channels: int) -> NDArray[Any]:
    data = net.values(*shape)
    data[rng.random(shape[0]) < 0.35] = 0
    data[..., rng.random(channels) < 0.2] = 0
    return data


def _biases(rng: np.random.Generator, count: int) -> NDArray[Any]:
    return rng.choice([0, -5000, 300, -(1 << 22), 1 << 22], count)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=80, deadline=None)
def test_random_networks_by_our_reference(seed: int) -> None:
    assert_same(random_net(seed, pools=False), samples=3)


@needs_reference
def test_random_networks_by_the_oracle() -> None:
    """Each network and what is left of it, in one process of the interpreter that stands for the device."""
    nets = [random_net(seed, pools=True) for seed in range(60)]
    pruned = [remove_dead_channels(parse_model(net.model(), "m"), 1 + seed % 4) for seed, net in enumerate(nets)]
    inputs = [
        np.random.default_rng(1).integers(-128, 128, (3, *net.shape(net.input)[1:]), dtype=np.int8) for net in nets
    ]
    whole = interpreters.run_batch("builtin_ref", [net.model() for net in nets], inputs)
    cut = interpreters.run_batch("builtin_ref", [to_model(each.graph) for each in pruned], inputs)
    assert sum(bool(each.kept) for each in pruned) > 20
    for seed, (wanted, got) in enumerate(zip(whole, cut, strict=True)):
        assert isinstance(wanted, np.ndarray) and isinstance(got, np.ndarray), (seed, wanted, got)
        assert np.array_equal(wanted, got), seed


@needs_reference
@pytest.mark.parametrize("name", MODELS)
def test_public_models_keep_every_byte(name: str, public_model: Callable[[str], Path]) -> None:
    data = public_model(name).read_bytes()
    graph = parse_model(data, name)
    pruned = remove_dead_channels(graph)
    inputs = np.random.default_rng(3).integers(-128, 128, (4, *graph.input.shape[1:]), dtype=np.int8)
    inputs[0], inputs[1] = -128, 127
    whole = interpreters.run_oracle(data, inputs).outputs
    assert np.array_equal(interpreters.run("builtin_ref", to_model(pruned.graph), inputs), whole)


def test_more_than_half_of_a_public_model_is_dead(public_model: Callable[[str], Path]) -> None:
    pruned = remove_dead_channels(parse_model(public_model("vww_96_int8").read_bytes(), "vww"))
    assert sum(saving.channels_before - saving.channels for saving in pruned.savings) >= 1724
    assert sum(saving.weight_bytes for saving in pruned.savings) >= 179_046
