"""Channels that cannot matter are taken out of the graph, exactly: what the model computes stays the same to the byte.

Graph to graph. A channel is the last axis of an int8 activation. It can go where every layer that reads it can do
without: because all its weights for it are zero, or because the channel has one value whatever the model's input is,
which is then in the layer's bias. That value is found by propagating, for each channel, the lowest and highest value it
can have: through a layer by its accumulator's range, through other ops by their own integer references.

Channels that an op ties together (of the two addends of an ADD, of a depthwise convolution's input and output, the many
that a flattened one becomes) go together or not at all. Where an op is not known here, its channels stay. A layer
whose window reaches beyond the image reads the zero point there: a constant channel of another value is no constant to
it, and stays. At least one channel of a tensor stays. Each round may show new dead channels, until none is found.

A bias is an int32 that accumulators add modulo 2**32, so a value moved there is exact whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import ops
from kd_embedded.fixedpoint import INT32_MAX, INT32_MIN, multiply_by_quantized_multiplier, wrap32
from kd_embedded.kernels.layers import Layer
from kd_embedded.ops._layers import to_layer
from kd_embedded.ops.spec import output_tensor
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor

Array = NDArray[Any]
_Range = tuple[Array, Array]  # lowest and highest value of each channel of a tensor, int64 [C]
_MOST_CHANNELS = 1 << 17  # of all activations: the analysis looks at each
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_UNARY = (
    *("ABS", "ELU", "EXP", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG", "QUANTIZE", "RELU", "RELU6"),
    *("RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SQRT", "SQUARE", "TANH"),
)
_BINARY = ("ADD", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "SQUARED_DIFFERENCE", "SUB")
_REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")
_PADS = ("MIRROR_PAD", "PAD", "PADV2")
_IMAGES = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_IMAGE_AXES = 4
_RESHAPES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
# No output value falls when an input value rises, by the arithmetic of the references.
_MONOTONE = (*_REDUCTIONS, *_PADS, *_IMAGES, *_RESHAPES, "ADD", "CONCATENATION", "MAXIMUM", "MINIMUM")


@dataclass(frozen=True)
class Saving:
    """What one op lost: output channels, bytes of weights, multiply-accumulates of one inference."""

    op: int
    name: str
    channels_before: int
    channels: int
    weight_bytes: int
    macs: int


@dataclass(frozen=True)
class Pruned:
    """``graph`` without dead channels; tensors and ops keep their indices, new constants stand behind the others.

    ``kept`` has, for each activation that lost channels, the original numbers of those it still has.
    """

    graph: Graph
    savings: tuple[Saving, ...]
    kept: Mapping[int, tuple[int, ...]]


def remove_dead_channels(graph: Graph, multiple: int = 1) -> Pruned:
    """``graph``, which the aot engine accepts, less the channels that can be shown not to matter.

    Images keep a ``multiple`` of channels where they have so many: a kernel that takes four at a time gains nothing
    where one of eight goes.
    """
    if sum(_channels(tensor) for tensor in graph.tensors if _is_activation(tensor)) > _MOST_CHANNELS:
        return Pruned(graph, (), MappingProxyType({}))
    original, kept = graph, {tensor.index: np.arange(_channels(tensor)) for tensor in graph.tensors}
    while True:
        found = _Analysis(graph)
        keep = found.keep(multiple)
        if all(len(channels) == _channels(graph.tensors[index]) for index, channels in keep.items()):
            break
        graph = _Rewriter(graph, keep, found.layers, found.ranges).graph()
        kept |= {index: kept[index][channels] for index, channels in keep.items()}
    lost = {
        index: tuple(int(channel) for channel in kept[index])
        for index in keep
        if len(kept[index]) < _channels(original.tensors[index])
    }
    return Pruned(graph, tuple(_savings(original, graph)), MappingProxyType(lost))


def _savings(before: Graph, after: Graph) -> Iterator[Saving]:
    for old, new in zip(before.ops, after.ops, strict=True):
        count = ops.spec(old.name).macs
        if old.name in _LAYERS:
            weights = before.tensors[old.inputs[1]].bytes - after.tensors[new.inputs[1]].bytes
            channels = _channels(output_tensor(before, old)), _channels(output_tensor(after, new))
            if weights:
                yield Saving(old.index, old.name, *channels, weights, count(before, old) - count(after, new))


def _channels(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _is_activation(tensor: Tensor) -> bool:
    return tensor.data is None and tensor.dtype == "int8" and len(tensor.shape) > 0


def _activations(graph: Graph, op: Op) -> list[Tensor]:
    return [graph.tensors[i] for i in op.inputs if i >= 0 and _is_activation(graph.tensors[i])]


# ---------------------------------------------------------------------------------------------------------------------
# Layers: what they read of a channel, and between what their outputs lie


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer by channels: ``weights`` int64 [C_OUT, taps, C_IN], zero point subtracted.

    ``columns`` int64 [C_IN of ``weights``] is the input channel that each stands for: a dense layer may read a whole
    image flat. A depthwise layer has C_IN 1, and ``columns`` [C_OUT]: the input channel that each output is made of.
    """

    layer: Layer
    weights: Array
    columns: Array
    by_channel: bool  # each output channel is made of one input channel
    padded: bool

    def unused(self, channels: int) -> Array:
        """bool [channels]: the input channels whose weights are all zero."""
        used = np.zeros(channels, bool)
        np.logical_or.at(used, self.columns, (self.weights != 0).any(axis=(0, 1)))
        return ~used

    def outputs(self, low: Array, high: Array) -> _Range:
        """Lowest and highest output [C_OUT] for input channels between ``low`` and ``high`` [C_IN of the tensor]."""
        zero_point = self.layer.input_zero_point
        least, most = low[self.columns] - zero_point, high[self.columns] - zero_point
        if self.padded:
            least, most = np.minimum(least, 0), np.maximum(most, 0)
        rising, falling = np.maximum(self.weights, 0).sum(axis=1), np.minimum(self.weights, 0).sum(axis=1)
        if self.by_channel:
            rising, falling = rising[:, 0], falling[:, 0]
            sums = rising * least + falling * most, rising * most + falling * least
        else:
            sums = rising @ least + falling @ most, rising @ most + falling @ least
        return self._requantized(sums[0] + self.layer.bias, sums[1] + self.layer.bias)

    def _requantized(self, least: Array, most: Array) -> _Range:
        """The range of the outputs; all that the layer can give where int32 could overflow on the way."""
        layer = self.layer
        left = np.maximum(layer.shift.astype(np.int64), 0)
        limits = INT32_MIN >> left, INT32_MAX >> left
        safe = (least >= limits[0]) & (most <= limits[1])
        ends = [
            multiply_by_quantized_multiplier(np.clip(end, *limits), layer.multiplier, layer.shift)
            + layer.output_zero_point
            for end in (least, most)
        ]
        safe &= (ends[0] >= INT32_MIN) & (ends[1] <= INT32_MAX)
        low, high = (np.clip(end, layer.low, layer.high) for end in ends)
        return np.where(safe, low, layer.low), np.where(safe, high, layer.high)


def _layer(graph: Graph, op: Op) -> _Layer | None:
    """The op by channels; None where it is a grouped convolution, or reads its input in other pieces than pixels."""
    if op.name not in _LAYERS:
        return None
    layer = to_layer(graph, op)
    channels = _channels(graph.tensors[op.inputs[0]])
    weights = layer.weights.astype(np.int64) - layer.weights_zero_point
    by_channel = op.name == "DEPTHWISE_CONV_2D" and channels > 1
    if layer.kind == "depthwise":
        weights = np.moveaxis(weights, -1, 0)
    weights = weights.reshape(len(layer.bias), layer.kernel[0] * layer.kernel[1], -1)
    if by_channel:
        columns = np.arange(len(weights)) // (len(weights) // channels)
    elif layer.groups > 1 or weights.shape[2] % channels:
        return None
    else:
        columns = np.arange(weights.shape[2]) % channels
    outside = layer.input_shape[0] * layer.input_shape[1]
    padded = layer.kind != "dense" and bool((layer.taps() == outside).any())
    return _Layer(layer, weights, columns, by_channel, padded)


# ---------------------------------------------------------------------------------------------------------------------
# Which channels can go


@dataclass
class _Analysis:
    """One round over a graph."""

    source: Graph
    layers: dict[int, _Layer | None] = field(default_factory=dict)  # by op
    ranges: dict[int, _Range] = field(default_factory=dict)  # by tensor
    _first: dict[int, int] = field(default_factory=dict)  # by tensor, the number of its channel 0 among all
    _parent: list[int] = field(default_factory=list)  # of each channel, towards one of those it is tied to
    _stays: set[int] = field(default_factory=set)  # channels

    def keep(self, multiple: int) -> dict[int, Array]:
        """The channels that stay, for each activation."""
        graph = self.source
        for tensor in filter(_is_activation, graph.tensors):
            self._first[tensor.index] = len(self._parent)
            self._parent += range(len(self._parent), len(self._parent) + _channels(tensor))
            self.ranges[tensor.index] = _full(tensor)
        for index in (*graph.inputs, *graph.outputs):
            self._pin(index)
        for op in graph.ops:
            self.layers[op.index] = _layer(graph, op)
            self._tie(op)
            self.ranges |= _ranges(graph, op, self.layers[op.index], self.ranges)
        for op in graph.ops:
            self._pin_what_is_read(op)
        return self._without_dead(multiple)

    def _number(self, tensor: int) -> Array:
        return self._first[tensor] + np.arange(_channels(self.source.tensors[tensor]))

    def _root(self, channel: int) -> int:
        while self._parent[channel] != channel:
            self._parent[channel] = self._parent[self._parent[channel]]
            channel = self._parent[channel]
        return channel

    def _union(self, left: Array, right: Array) -> None:
        for pair in np.unique(left * len(self._parent) + right):
            a, b = divmod(int(pair), len(self._parent))
            self._parent[self._root(a)] = self._root(b)

    def _pin(self, tensor: int) -> None:
        if tensor in self._first:
            self._stays.update(int(channel) for channel in self._number(tensor))

    def _tie(self, op: Op) -> None:
        """Ties the channels that only go together; those of an op that is not known stay."""
        layer = self.layers[op.index]
        pairs = _ties(self.source, op, layer)
        if pairs is None:
            for tensor in (*op.inputs, *op.outputs):
                self._pin(tensor)
            return
        output = self._number(op.outputs[0])
        for tensor, of_input, of_output in pairs:
            self._union(self._number(tensor)[of_input], output[of_output])

    def _pin_what_is_read(self, op: Op) -> None:
        """The input channels that a layer cannot do without."""
        layer = self.layers[op.index]
        if layer is None or layer.by_channel:
            return
        tensor = op.inputs[0]
        low, high = self.ranges[tensor]
        constant = (low == high) & ((low == layer.layer.input_zero_point) | (not layer.padded))
        needed = ~(constant | layer.unused(len(low)))
        self._stays.update(int(channel) for channel in self._number(tensor)[needed])

    def _without_dead(self, multiple: int) -> dict[int, Array]:
        stays = {self._root(channel) for channel in self._stays}
        roots = {tensor: np.array([self._root(int(c)) for c in self._number(tensor)]) for tensor in self._first}
        keep = {tensor: np.isin(own, list(stays)) for tensor, own in roots.items()}

        def revive(root: int) -> None:
            for tensor, own in roots.items():
                keep[tensor] |= own == root

        for root in sorted(self._least(keep) - stays):  # a tensor needs a channel or two
            revive(root)
        for tensor, own in roots.items():
            for channel in range(len(own) if len(self.source.tensors[tensor].shape) == _IMAGE_AXES else 0):
                if keep[tensor].sum() % multiple and not keep[tensor][channel]:
                    revive(int(own[channel]))
        return {tensor: np.flatnonzero(kept) for tensor, kept in keep.items()}

    def _least(self, keep: Mapping[int, Array]) -> set[int]:
        """Groups that stay for the sake of tensors that would have too few channels left: their first ones.

        One scale for each channel means other arithmetic to a dense layer than one for all, so two of them stay.
        """
        wanted = dict.fromkeys(keep, 1)
        for op in self.source.ops:
            if (
                op.name == "FULLY_CONNECTED"
                and (quant := self.source.tensors[op.inputs[1]].quant)
                and quant.per_channel
            ):
                wanted[op.outputs[0]] = 2
        return {
            self._root(int(channel))
            for tensor, kept in keep.items()
            if kept.sum() < wanted[tensor]
            for channel in self._number(tensor)[: wanted[tensor]]
        }


def _full(tensor: Tensor) -> _Range:
    return np.full(_channels(tensor), -128, np.int64), np.full(_channels(tensor), 127, np.int64)


def _ties(graph: Graph, op: Op, layer: _Layer | None) -> list[tuple[int, Array, Array]] | None:
    """(input tensor, its channels, the output channels that they are tied to); None where that is not known."""
    if len(op.outputs) != 1 or not _is_activation(output_tensor(graph, op)):
        return None
    if op.name in _LAYERS:
        if layer is None:
            return None
        return [(op.inputs[0], layer.columns, np.arange(len(layer.columns)))] if layer.by_channel else []
    output, inputs = output_tensor(graph, op), _activations(graph, op)
    if op.name in _RESHAPES and inputs:
        elements = np.arange(np.prod(output.shape))
        return [(inputs[0].index, elements % _channels(inputs[0]), elements % _channels(output))]
    if op.name == "CONCATENATION" and len(inputs) == len(op.inputs):
        return _joined(op, inputs, output)
    if _passes_channels(graph, op, inputs, output):
        same = np.arange(_channels(output))
        return [(tensor.index, same, same) for tensor in inputs]
    return None


def _joined(op: Op, inputs: Sequence[Tensor], output: Tensor) -> list[tuple[int, Array, Array]]:
    by_channel = op.options.get("axis", 0) % len(output.shape) == len(output.shape) - 1
    pairs, start = [], 0
    for tensor in inputs:
        own = np.arange(_channels(tensor))
        pairs.append((tensor.index, own, start + own))
        start += len(own) if by_channel else 0
    return pairs


def _passes_channels(graph: Graph, op: Op, inputs: Sequence[Tensor], output: Tensor) -> bool:
    """Whether output channel k is made of channel k of each input alone, and of constants that can be cut alike."""
    channels = _channels(output)
    if not inputs or any(_channels(tensor) != channels for tensor in inputs):
        return False
    if op.name in _UNARY or op.name in _IMAGES:
        return True
    constants = [graph.tensors[i] for i in op.inputs if i >= 0 and graph.tensors[i].data is not None]
    if op.name in _BINARY:
        return all(tensor.dtype == "int8" and _channels(tensor) in (1, channels) for tensor in constants)
    rank, values = len(inputs[0].shape), constants[0].data if constants else None
    if values is None:
        return False
    if op.name in _REDUCTIONS:
        return all(int(axis) % rank != rank - 1 for axis in values.reshape(-1))
    return op.name in _PADS and not values.reshape(-1, 2)[-1].any()


def _ranges(graph: Graph, op: Op, layer: _Layer | None, known: Mapping[int, _Range]) -> dict[int, _Range]:
    """The range of the op's output, where it is known to be narrower than int8."""
    reference = ops.spec(op.name).reference
    if len(op.outputs) != 1 or op.outputs[0] not in known:
        return {}
    if layer is not None:
        return {op.outputs[0]: layer.outputs(*known[op.inputs[0]])}
    if op.name in _UNARY and reference is not None:
        return {op.outputs[0]: _through_table(graph, op, *known[op.inputs[0]])}
    if op.name in _MONOTONE and reference is not None and _has_ends(graph, op, known):
        values = [_ends(graph.tensors[i], known) if i >= 0 else None for i in op.inputs]
        ends = reference(graph, op, values)[0].astype(np.int64)  # one row where all operands are constants
        return {op.outputs[0]: (_by_channel(ends[0]).min(axis=0), _by_channel(ends[-1]).max(axis=0))}
    return {}


def _has_ends(graph: Graph, op: Op, known: Mapping[int, _Range]) -> bool:
    """Whether ``_ends`` is there for each operand; a scalar of the run has no channels."""
    return all(i < 0 or i in known or graph.tensors[i].data is not None for i in op.inputs)


def _ends(tensor: Tensor, known: Mapping[int, _Range]) -> Array:
    """[2, *shape]: every value the lowest of its channel, then every value the highest; a constant as it is."""
    if tensor.data is not None:
        return tensor.data[np.newaxis]
    ends = np.stack(known[tensor.index]).astype(np.int8)
    return np.broadcast_to(ends.reshape(2, *[1] * (len(tensor.shape) - 1), -1), (2, *tensor.shape))


def _by_channel(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def _through_table(graph: Graph, op: Op, low: Array, high: Array) -> _Range:
    """The range of a unary op, from its output for every value there is."""
    reference = ops.spec(op.name).reference
    assert reference is not None
    small = {i: replace(graph.tensors[i], shape=(1, 1)) for i in (op.inputs[0], op.outputs[0])}
    single = replace(graph, tensors=tuple(small.get(tensor.index, tensor) for tensor in graph.tensors))
    every = np.arange(-128, 128).astype(np.int8).reshape(256, 1, 1)
    table = reference(single, op, [every])[0].reshape(256).astype(np.int64)
    spans = [table[least + 128 : most + 129] for least, most in zip(low, high, strict=True)]
    return np.array([span.min() for span in spans]), np.array([span.max() for span in spans])


# ---------------------------------------------------------------------------------------------------------------------
# The graph without them


@dataclass
class _Rewriter:
    """Cuts shapes, weights and biases down to the channels ``keep``."""

    source: Graph
    keep: Mapping[int, Array]
    layers: Mapping[int, _Layer | None]
    ranges: Mapping[int, _Range]
    _added: list[Tensor] = field(default_factory=list)

    def graph(self) -> Graph:
        """The graph with those channels."""
        changed = tuple(self._op(op) for op in self.source.ops)
        tensors = tuple(self._activation(tensor) for tensor in self.source.tensors)
        return replace(self.source, ops=changed, tensors=tensors + tuple(self._added))

    def _is_cut(self, tensor: int) -> bool:
        return tensor in self.keep and len(self.keep[tensor]) < _channels(self.source.tensors[tensor])

    def _activation(self, tensor: Tensor) -> Tensor:
        if not self._is_cut(tensor.index):
            return tensor
        return replace(tensor, shape=(*tensor.shape[:-1], len(self.keep[tensor.index])))

    def _op(self, op: Op) -> Op:
        if not any(self._is_cut(tensor) for tensor in (*op.inputs, *op.outputs)):
            return op
        layer = self.layers[op.index]
        if layer is not None:
            return self._cut_layer(op, layer)
        if op.name in _RESHAPES:
            shape = self._activation(output_tensor(self.source, op)).shape
            return replace(op, name="RESHAPE", inputs=op.inputs[:1], options=MappingProxyType({"new_shape": shape}))
        if op.name in _BINARY:
            return replace(op, inputs=tuple(self._cut_constant(i, self.keep[op.outputs[0]]) for i in op.inputs))
        return op

    def _cut_constant(self, index: int, kept: Array) -> int:
        tensor = self.source.tensors[index]
        if tensor.data is None or _channels(tensor) == 1:
            return index
        return self._add(tensor, tensor.data[..., kept], tensor.quant)

    def _cut_layer(self, op: Op, layer: _Layer) -> Op:
        kept, tensor = self.keep[op.outputs[0]], self.source.tensors[op.inputs[1]]
        stays = np.isin(layer.columns, self.keep[op.inputs[0]])
        assert tensor.data is not None
        data = tensor.data[..., kept] if op.name == "DEPTHWISE_CONV_2D" else tensor.data[kept][..., stays]
        weights = self._add(tensor, data, _cut_quant(tensor.quant, kept))
        options = dict(op.options)
        if op.name == "DEPTHWISE_CONV_2D" and not layer.by_channel:
            options["depth_multiplier"] = len(kept)
        inputs = (op.inputs[0], weights, *self._cut_bias(op, layer, stays, kept))
        return replace(op, inputs=inputs, options=MappingProxyType(options))

    def _cut_bias(self, op: Op, layer: _Layer, stays: Array, kept: Array) -> tuple[int, ...]:
        """The bias with what the columns that go have always added; none where there was none and none is needed."""
        bias = layer.layer.bias.astype(np.int64)
        if not layer.by_channel:
            values = self.ranges[op.inputs[0]][0][layer.columns] - layer.layer.input_zero_point
            bias = wrap32(bias + layer.weights.sum(axis=1) @ np.where(stays, 0, values))
        data = bias[kept].astype(np.int32)
        if len(op.inputs) > 2 and op.inputs[2] >= 0:
            old = self.source.tensors[op.inputs[2]]
            return (self._add(old, data, _cut_quant(old.quant, kept)),)
        if not data.any():
            return op.inputs[2:]
        source, weights = (self.source.tensors[i].quant for i in op.inputs[:2])
        assert source is not None and weights is not None
        scales = tuple(source.scale[0] * scale for scale in weights.scale)
        quant = _cut_quant(QuantParams(scales, (0,) * len(scales)), kept)
        return (self._add(replace(self.source.tensors[op.inputs[1]], dtype="int32"), data, quant),)

    def _add(self, like: Tensor, data: Array, quant: QuantParams | None) -> int:
        """A new constant behind the others."""
        data = np.ascontiguousarray(data)
        data.flags.writeable = False
        index = len(self.source.tensors) + len(self._added)
        self._added.append(replace(like, index=index, shape=data.shape, data=data, quant=quant))
        return index


def _cut_quant(quant: QuantParams | None, kept: Array) -> QuantParams | None:
    """``quant`` of a tensor of which the output channels ``kept`` stay."""
    if quant is None or not quant.per_channel:
        return quant
    scales, zero_points = (tuple(values[i] for i in kept) for values in (quant.scale, quant.zero_point))
    return QuantParams(scales, zero_points, quant.axis if len(kept) > 1 else 0)
