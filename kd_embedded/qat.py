"""Fine-tuning with fake quantization: a trained student computes in training as its int8 model will on the board.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", with
the batch norm's running statistics folded before (Krishnamoorthi 2018, section 3.2.2, their frozen form): the network
trained is the converter's own float graph. Weights are rounded per output channel, symmetric, to -127..127; activations
per tensor, after the fused activation, wherever the int8 model has a tensor. Gradients pass the rounding straight
through (Bengio et al. 2013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import calibrate, float_graph, quantize
from kd_embedded.errors import ModelError
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor

_LEAST_WEIGHT = 5e-7  # what the converter takes for the largest of a channel where all are smaller


@dataclass(frozen=True, eq=False)
class FakeQuantized:
    """``model`` is what training.fit trains: Keras, inputs [N, ...] to logits [N, C] as int8 would give them.

    ``variables`` are its kernels and biases by tensor of ``graph``; ``ranges`` those of the activations.
    """

    model: Any
    graph: Graph
    ranges: calibrate.Ranges
    variables: Mapping[int, Any]


def trace(student: Any, sample: NDArray[np.float32], where: str, *, trained: bool = True) -> Graph:
    """The float graph of a Keras ``student`` as the converter makes it; ``sample`` float32 [K, ...] are some inputs.

    Raises a ModelError that names the layer whose op fake quantization does not have or, where the graph is to be
    ``trained``, TensorFlow cannot differentiate.
    """

    def layer_of(tensor: Tensor) -> str:
        return quantize.last_layer_in(tensor.name, student)

    graph = float_graph.untied(quantize.float_graph(student, where))
    float_graph.check(graph, layer_of, where)
    (found,) = float_graph.runner(graph, graph.outputs)(sample)
    wanted = np.asarray(student(sample, training=False))
    if not np.isfinite(wanted).all():
        raise ModelError("its outputs are not finite", where=where, todo="train it with a lower learning rate")
    if not np.abs(found - wanted).max() <= 1e-3 * (np.abs(wanted).max() + 1e-3):
        raise ModelError("fake quantization does not follow it", where=where, todo=float_graph.WAY_OUT)
    if trained:
        float_graph.check_gradients(graph, sample, layer_of, where)
    return graph


def fake_quantized(
    graph: Graph, ranges: calibrate.Ranges, *, per_tensor_dense: bool = False, student: Any = None
) -> FakeQuantized:
    """A Keras model of the float ``graph`` in which everything is rounded as in int8, with its weights to be trained.

    Its layers are the ops; where ``student`` is given they are named after its layers, by the last one an op holds.
    """
    import keras

    variables: dict[int, Any] = {}
    names = _Names(graph, student)
    inputs = keras.Input(graph.input.shape[1:], name="input")
    values = {graph.inputs[0]: _rounding_layer()(ranges[graph.inputs[0]], name="input_int8")(inputs)}
    for op in graph.ops:
        layer = _op_layer()(graph, op, variables, ranges, per_tensor_dense, name=names.take(op))
        values[op.outputs[0]] = layer([values[index] for index in op.inputs if index in values])
    return FakeQuantized(keras.Model(inputs, values[graph.outputs[0]], name="fake_quantized"), graph, ranges, variables)


def export(trained: FakeQuantized, settings: quantize.Settings, where: str) -> bytes:
    """The int8 flatbuffer with the weights of ``trained`` as they are now and its ranges as they are.

    The ranges go to the converter as fake quantization ops, the weights as floats: it rounds them as ``round_weights``.
    """
    import tensorflow as tf

    graph = trained.graph
    given = float_graph.constants(graph) | {index: v.numpy() for index, v in trained.variables.items()}

    def rounded(index: int, value: Any) -> Any:
        low, high = calibrate.limits_of(trained.ranges[index])
        return tf.quantization.fake_quant_with_min_max_args(value, low, high, num_bits=8)

    @tf.function(input_signature=[tf.TensorSpec(graph.input.shape, tf.float32, name="input")])
    def inference(inputs: Any) -> Any:
        values = {graph.inputs[0]: rounded(graph.inputs[0], inputs), **given}
        for op in graph.ops:
            value = float_graph.apply(graph, op, values)
            moves = op.name in float_graph.MOVES and not _requantized(graph, op, trained.ranges)
            values[op.outputs[0]] = value if moves else rounded(op.outputs[0], value)
        logits = values[graph.outputs[0]]
        return tf.nn.softmax(logits) if settings.softmax else logits

    return quantize.with_ranges(inference.get_concrete_function(), settings, where)


def round_weights(kernel: Any, *, per_channel: bool = True) -> Any:
    """``kernel`` float32 [..., C_OUT] rounded to -127..127 steps of a scale per output channel, or of one scale.

    A gradient passes as if nothing were rounded.
    """
    import tensorflow as tf

    axes = list(range(len(kernel.shape) - 1)) if per_channel else None
    scale = tf.maximum(tf.reduce_max(tf.abs(kernel), axes), _LEAST_WEIGHT) / 127.0
    return kernel + tf.stop_gradient(tf.round(kernel / scale) * scale - kernel)


def round_activations(value: Any, params: QuantParams) -> Any:
    """``value`` float32 rounded and clipped to int8 of ``params``; a gradient passes where it is not clipped."""
    import tensorflow as tf

    (scale,), (zero_point,) = params.scale, params.zero_point
    low, high = calibrate.limits_of(params)
    clipped = tf.clip_by_value(value, low, high)
    steps = tf.round(clipped / scale) + zero_point
    return clipped + tf.stop_gradient((steps - zero_point) * scale - clipped)


@cache
def _rounding_layer() -> Any:
    import keras

    class Rounding(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def __init__(self, params: QuantParams, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._params = params

        def call(self, inputs: Any) -> Any:
            return round_activations(inputs, self._params)

    return Rounding


@cache
def _op_layer() -> Any:
    import keras

    class RoundedOp(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        """One op of the graph on rounded values. ``variables`` holds the weights that ops share, by tensor."""

        def __init__(
            self,
            graph: Graph,
            op: Op,
            variables: dict[int, Any],
            ranges: calibrate.Ranges,
            per_tensor_dense: bool,
            **kwargs: Any,
        ) -> None:
            super().__init__(**kwargs)
            self._graph, self._op = graph, op
            self._output = ranges[op.outputs[0]]
            self._per_channel = not (per_tensor_dense and op.name == "FULLY_CONNECTED")
            self._constants = _rounded_constants(graph, op, ranges)
            self._requantized = _requantized(graph, op, ranges)
            for index, name in zip(op.inputs[1:], ("kernel", "bias"), strict=False):
                if op.name in float_graph.WEIGHTED and index >= 0:
                    setattr(self, name, self._shared(variables, index, name))

        def _shared(self, variables: dict[int, Any], index: int, name: str) -> Any:
            if index not in variables:
                value = self._constants[index]
                variables[index] = self.add_weight(shape=value.shape, initializer="zeros", name=name)
                variables[index].assign(value)
            return variables[index]

        def call(self, inputs: Any) -> Any:
            op = self._op
            values = dict(self._constants)
            for index, value in zip([i for i in op.inputs if i >= 0 and i not in values], inputs, strict=True):
                values[index] = round_activations(value, self._output) if index in self._requantized else value
            if op.name in float_graph.WEIGHTED:
                values[op.inputs[1]] = round_weights(self.kernel, per_channel=self._per_channel)
            if op.name in float_graph.WEIGHTED and float_graph.has_bias(op):
                values[op.inputs[2]] = self.bias
            output = float_graph.apply(self._graph, op, values)
            return output if op.name in float_graph.MOVES else round_activations(output, self._output)

    return RoundedOp


def _requantized(graph: Graph, op: Op, ranges: calibrate.Ranges) -> tuple[int, ...]:
    """The operands that the int8 model brings to the scale of the op's output before."""
    if op.name not in float_graph.SAME_SCALE:
        return ()
    return tuple(index for index in op.inputs if index in ranges and ranges[index] != ranges[op.outputs[0]])


def _rounded_constants(graph: Graph, op: Op, ranges: calibrate.Ranges) -> dict[int, Any]:
    """The constant operands of ``op``, those that are added or multiplied as the converter rounds them."""
    given = float_graph.constants(graph)
    found = {index: given[index] for index in op.inputs if index in given}
    for index, value in found.items() if op.name not in float_graph.WEIGHTED else ():
        if value.dtype == np.float32:
            own = calibrate.quant_params(float(value.min()), float(value.max()))
            params = ranges[op.outputs[0]] if op.name in float_graph.SAME_SCALE else own
            found[index] = np.asarray(round_activations(value, params))
    return found


class _Names:
    """A name for each op's layer, once."""

    def __init__(self, graph: Graph, student: Any) -> None:
        self._graph, self._student = graph, student
        self._taken = {"input", "input_int8"}

    def take(self, op: Op) -> str:
        name = quantize.last_layer_in(self._graph.tensors[op.outputs[0]].name, self._student) if self._student else ""
        if not name or name in self._taken:
            name = f"{name or op.name.lower()}_op{op.index}"
        self._taken.add(name)
        return name
