"""Gradual pruning of whole channels while a network is trained, and the smaller network that is left.

The share of pruned channels rises by the cubic schedule of Zhu and Gupta 2017, "To prune, or not to prune", equation 1.
A channel's magnitude is the norm of its kernel times its batch norm's scale over its deviation (Liu et al. 2017,
"Network Slimming", take the scale; Li et al. 2017, "Pruning Filters for Efficient ConvNets", the kernel): that of the
weights as they are folded for the board. The weakest of each group are set to zero, kernel, scale and shift, so that
they give zero whatever the input, and at the end they are cut off without changing the output.

Channels form a group where they must go together: a convolution's, or those of all that a sum adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.errors import ModelError

Kept = Mapping[int, NDArray[np.int64]]

_START, _END = 0.1, 0.6  # of the epochs: weights settle before, and recover after
_MULTIPLE = 4  # of channels that are left, as blocks.channels has them: kernels read words
_PRODUCERS = ("Conv2D", "Dense")
_PASSES = (
    *("BatchNormalization", "DepthwiseConv2D", "Dropout", "SpatialDropout2D", "GaussianNoise", "ZeroPadding2D"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D"),
    *("ReLU", "LeakyReLU", "PReLU", "ELU"),
)
_JOINS = ("Add", "Subtract", "Average", "Maximum", "Minimum")
_ZERO_AT_ZERO = ("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "silu", "gelu", "tanh", "hard_silu")


@dataclass
class Groups:
    """The channels of a Keras model: ``inputs`` and ``outputs`` give each layer's group, ``sizes`` its channels.

    ``prunable`` are the groups made by convolutions and dense layers alone, whose pruned channels are zero everywhere.
    """

    model: Any
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    prunable: tuple[int, ...] = ()

    def makers(self, group: int) -> list[Any]:
        """The convolutions and dense layers whose outputs are the channels of ``group``."""
        return self._layers(group, _PRODUCERS)

    def passers(self, group: int) -> list[Any]:
        """The layers with a weight for each channel of ``group`` that they read and write: batch norm, depthwise."""
        return self._layers(group, ("BatchNormalization", "DepthwiseConv2D"))

    def _layers(self, group: int, kinds: tuple[str, ...]) -> list[Any]:
        return [layer for layer in self.model.layers if _kind(layer) in kinds and self.outputs[layer.name] == group]


def groups(model: Any) -> Groups:
    """The groups of channels of a functional Keras ``model``.

    Raises ModelError where none can be pruned: all are inputs, logits, or read by layers that are not known here.
    """
    import keras

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    found, parents, frozen = Groups(model), dict[int, int](), set[int]()

    def root(group: int) -> int:
        while parents[group] != group:
            group = parents[group]
        return group

    of_tensor: dict[int, int] = {}
    for node in _in_order(model):
        layer, sources = node.operation, [of_tensor[id(tensor)] for tensor in node.input_tensors]
        group = _passed(node, sources)
        if group is not None:
            for source in sources:
                parents[root(source)] = root(group)
        else:
            group = len(parents)
            parents[group] = group
            found.sizes[group] = int(node.output_tensors[0].shape[-1] or 0)
            cuttable = _kind(layer) in _PRODUCERS and getattr(layer, "groups", 1) == 1
            frozen |= set() if cuttable and _is_zero_at_zero(layer) else {group}
            frozen |= set() if cuttable else set(sources)
        if layer.name in found.outputs:  # called again, on other channels
            frozen |= {group, found.outputs[layer.name], found.inputs[layer.name], *sources}
        if sources:
            found.inputs[layer.name] = sources[0]
        found.outputs[layer.name] = group
        of_tensor |= {id(tensor): group for tensor in node.output_tensors}
    frozen |= {of_tensor[id(tensor)] for tensor in model.outputs}
    blocked = {root(group) for group in frozen}
    for table in (found.inputs, found.outputs):
        table |= {name: root(group) for name, group in table.items()}
    found.sizes = {group: found.sizes[group] for group in parents if root(group) == group}
    found.prunable = tuple(group for group in found.sizes if group not in blocked and found.makers(group))
    if not found.prunable:
        raise ModelError("has no channels that can be pruned", where="student.prune", todo="set it to 0")
    return found


def share_at(epoch: float, epochs: int, final: float) -> float:
    """The share of channels pruned after ``epoch`` of ``epochs``: ``final * (1 - (1 - t)^3)`` with t from 0 to 1."""
    t = np.clip((epoch - _START * epochs) / ((_END - _START) * epochs), 0.0, 1.0)
    return float(final * (1.0 - (1.0 - t) ** 3))


def settled(epochs: int) -> int:
    """The first of ``epochs`` epochs in which no more channels go: only from here on epochs compare."""
    return min(int(np.ceil(_END * epochs)), epochs - 1)


def count(channels: int, share: float) -> int:
    """How many of a group's ``channels`` go at ``share``; of a multiple of four another multiple of four is left."""
    multiple = _MULTIPLE if channels % _MULTIPLE == 0 else 1
    left = max(multiple, int(np.ceil(channels * (1.0 - share) / multiple - 1e-9)) * multiple)
    return channels - left


def after_step(model: Any, epochs: int, final: float) -> Callable[[Any, float], None]:
    """What training.fit calls after each step: sets the weakest channels to zero, as many as the schedule says."""
    found = groups(model)

    def prune(_: Any, epoch: float) -> None:
        share = share_at(epoch, epochs, final)
        for group in found.prunable:
            if number := count(found.sizes[group], share):
                _clear(found, group, np.argsort(magnitudes(found, group), kind="stable")[:number])

    return prune


def magnitudes(found: Groups, group: int) -> NDArray[np.float64]:
    """float64 [C]: the magnitude of each channel, summed over the layers that make it."""
    total = np.zeros(found.sizes[group])
    for layer in found.makers(group):
        kernel = layer.kernel.numpy().astype(np.float64)
        norms = np.sqrt((kernel.reshape(-1, kernel.shape[-1]) ** 2).sum(axis=0))
        for norm in {id(node.operation): node.operation for node in layer._outbound_nodes}.values():
            if _kind(norm) == "BatchNormalization" and norm.scale:
                norms = norms * np.abs(norm.gamma.numpy()) / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        total += norms
    return total


def removed(model: Any) -> Any:
    """``model`` without the channels that are zero: the same function, in a smaller Keras model."""
    found = groups(model)
    kept = {}
    for group in found.prunable:
        alive = np.zeros(found.sizes[group], bool)
        for layer in (*found.makers(group), *found.passers(group)):
            for weight in _by_channel(layer):
                alive |= np.any(weight.numpy().reshape(-1, len(alive)), axis=0)
        kept[group] = np.flatnonzero(alive) if alive.any() else np.array([0])
    return _cut(found, kept)


def narrowed(model: Any, share: float) -> Any:
    """An untrained ``model`` as it will be when ``share`` of its channels are gone; which ones is not known yet.

    Raises ModelError where no layer has so many channels that one would go.
    """
    found = groups(model)
    left = {group: found.sizes[group] - count(found.sizes[group], share) for group in found.prunable}
    if all(left[group] == found.sizes[group] for group in left):
        raise ModelError(
            f"{share:g} takes no channel away: layers have {max(left.values())} at most, and a multiple of {_MULTIPLE} "
            "is left where there was one",
            where="student.prune",
            todo="raise it, widen the student, or set it to 0",
        )
    return _cut(found, {group: np.arange(size) for group, size in left.items()})


def _cut(found: Groups, kept: Kept) -> Any:
    import keras

    def smaller(layer: Any) -> Any:
        config = layer.get_config()
        if _kind(layer) in _PRODUCERS and found.outputs[layer.name] in kept:
            config["filters" if _kind(layer) == "Conv2D" else "units"] = len(kept[found.outputs[layer.name]])
        return layer.__class__.from_config(config)

    result = keras.models.clone_model(found.model, clone_function=smaller)
    for layer in found.model.layers:
        if layer.weights:
            result.get_layer(layer.name).set_weights(_cut_weights(found, kept, layer))
    return result


def _cut_weights(found: Groups, kept: Kept, layer: Any) -> list[NDArray[Any]]:
    weights: list[NDArray[Any]] = layer.get_weights()
    ins, outs = (kept.get(table.get(layer.name, -1)) for table in (found.inputs, found.outputs))
    if _kind(layer) in _PRODUCERS:
        weights = [weight if outs is None else weight[..., outs] for weight in weights]
        if ins is not None:
            weights[0] = weights[0].take(ins, axis=-2)
    elif _kind(layer) == "DepthwiseConv2D" and outs is not None:
        weights = [weights[0][:, :, outs], *(weight[outs] for weight in weights[1:])]
    elif _kind(layer) in ("BatchNormalization", "PReLU") and outs is not None:
        weights = [weight if weight.shape[-1] == 1 else weight[..., outs] for weight in weights]  # 1: for all channels
    return weights


def _clear(found: Groups, group: int, channels: NDArray[np.int64]) -> None:
    for layer in (*found.makers(group), *found.passers(group)):
        for weight in _by_channel(layer):
            value = np.array(weight)
            value.reshape(-1, found.sizes[group])[:, channels] = 0.0
            weight.assign(value)


def _by_channel(layer: Any) -> list[Any]:
    """Weights of ``layer``, channels last but for a trailing 1; where they are zero, zero gives zero."""
    if _kind(layer) == "BatchNormalization":
        shift = layer.gamma if layer.scale else layer.moving_mean
        return [weight for weight in (shift, layer.beta) if weight is not None]
    return [weight for weight in (layer.kernel, layer.bias) if weight is not None]


def _passed(node: Any, sources: list[int]) -> int | None:
    """The group of the output of a layer's call where it is that of its inputs; None for a new one.

    A join with a constant, as ``x + 1``, has one input and need not keep zeros; one channel joined to many is no group.
    """
    layer = node.operation
    kind, channels = _kind(layer), {tensor.shape[-1] for tensor in node.input_tensors}
    joins = kind in _JOINS and len(sources) > 1 and len(channels) == 1
    by_channel = kind != "DepthwiseConv2D" or (layer.depth_multiplier == 1 and _is_zero_at_zero(layer))
    if (kind in _PASSES and by_channel) or joins or (kind == "Activation" and _is_zero_at_zero(layer)):
        return sources[0]
    return None


def _is_zero_at_zero(layer: Any) -> bool:
    activation = getattr(layer, "activation", None)
    return activation is None or getattr(activation, "__name__", "") in _ZERO_AT_ZERO


def _kind(layer: Any) -> str:
    return str(type(layer).__name__)


def _in_order(model: Any) -> list[Any]:
    """The calls of layers, Keras' nodes, each after those it reads; a loaded layer may have others, of no model."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]
