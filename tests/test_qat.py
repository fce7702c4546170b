"""Fake quantization: the converter takes our ranges as they are, and training computes as the int8 model does."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_reference

from kd_embedded import (
    calibrate,
    codegen,
    float_graph,
    golden,
    interpreters,
    keras_files,
    qat,
    quantize,
    reference,
    students,
    training,
)
from kd_embedded.config import DistillSpec, StudentSpec
from kd_embedded.errors import ModelError
from kd_embedded.progress import Progress
from kd_embedded.tflite.check import per_channel_dense
from kd_embedded.tflite.graph import Graph, Op, QuantParams
from kd_embedded.tflite.read import parse_model

keras_files.start_tensorflow()
_SETTINGS = quantize.Settings(softmax=False, per_tensor_dense=False, representative_samples=40)
_SHAPE = (12, 12, 3)


def _x(count: int = 40) -> Any:
    return np.random.default_rng(0).random((count, *_SHAPE), np.float32)


def _as_trained(model: Any) -> Any:
    """Statistics, scales and biases that differ from channel to channel, as training leaves them."""
    generator = np.random.default_rng(1)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if "variance" in variable.path:
            variable.assign(generator.uniform(0.5, 2.0, shape))
        elif "kernel" not in variable.path and "seed" not in variable.path:
            variable.assign(variable.numpy() + generator.normal(0.0, 0.2, shape))
    return model


def _mixture() -> Any:
    """What the students do not have: layers without batch norm, pools, a join, batch norm after a sum, other curves."""
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE, name="input")
    x = layers.Conv2D(6, 3, padding="same", activation="relu6", name="first")(inputs)
    x = layers.Dropout(0.1)(layers.MaxPooling2D(name="largest")(x))
    y = layers.Conv2D(6, 1, dilation_rate=1, use_bias=False, name="plain")(x)
    z = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="twice")(x)
    y = layers.Add(name="sum")([layers.LeakyReLU(name="leaky")(y), x])
    y = layers.ReLU()(layers.BatchNormalization(name="late")(y))
    x = layers.Concatenate(name="join")([layers.AveragePooling2D(2, name="mean")(y), layers.MaxPooling2D(2)(z)])
    x = layers.ZeroPadding2D(1, name="border")(x)
    x = layers.Conv2D(4, 3, strides=2, activation="tanh", name="curve")(x)
    x = layers.Reshape((4, -1), name="fold")(x)
    x = layers.Dense(5, activation="sigmoid", name="gate")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4, use_bias=False, name="logits")(x), name="mixture")


def _rarities() -> Any:
    """Ops that few students have."""
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE, name="input")
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="hard_silu", name="swish")(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="other")(x)
    x = layers.Multiply(name="product")([layers.Subtract(name="difference")([x, y]), y])
    x = layers.Maximum(name="larger")([x, layers.Activation("tanh", name="bent")(y)])
    x = layers.UpSampling2D(2, interpolation="bilinear", name="grown")(x)
    x = layers.GlobalMaxPooling2D(name="most")(layers.Permute((2, 1, 3), name="turned")(x))
    return keras.Model(inputs, layers.Dense(5, name="logits")(layers.Softmax(name="shares")(x)), name="rarities")


def _dilated() -> Any:
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE, name="input")
    x = layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="relu", name="same")(inputs)
    x = layers.DepthwiseConv2D(3, dilation_rate=2, name="depthwise")(x)
    x = layers.Conv2D(4, 3, dilation_rate=(2, 1), name="valid")(x)
    return keras.Model(inputs, layers.Dense(5, name="logits")(layers.Flatten()(x)), name="dilated")


def _dilated_1d() -> Any:
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE, name="input")
    x = layers.Reshape((48, 9), name="line")(inputs)
    x = layers.Conv1D(6, 3, strides=2, activation="relu", name="first")(x)
    x = layers.Conv1D(6, 3, padding="same", dilation_rate=2, name="same")(x)
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=4, activation="relu", name="causal")(x)
    return keras.Model(inputs, layers.Dense(5, name="logits")(layers.Flatten()(x)), name="dilated_1d")


def _repeats() -> Any:
    """A layer that is called twice, and what the others lack."""
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE, name="input")
    shared = layers.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    x = layers.Add(name="sum")([shared(shared(inputs)), inputs])
    x = layers.Minimum(name="smaller")([x, layers.ReLU(name="alone")(layers.Conv2D(3, 1, name="other")(inputs))])
    x = layers.Resizing(18, 24, interpolation="nearest", name="grown")(x)
    dense = layers.Dense(6, name="twice")
    x = dense(dense(layers.Dense(6, activation="relu", name="wide")(layers.GlobalAveragePooling2D()(x))))
    return keras.Model(inputs, layers.Dense(5, name="logits")(x), name="repeats")


@cache
def _student(arch: str) -> Any:
    own = {
        "mixture": _mixture,
        "rarities": _rarities,
        "dilated": _dilated,
        "dilated_1d": _dilated_1d,
        "repeats": _repeats,
    }
    if arch in own:
        return _as_trained(own[arch]())
    return _as_trained(students.build(StudentSpec(arch=arch, width=0.5), _SHAPE, 5, 1, Path()))


@cache
def _rounded(arch: str, method: str = "minmax") -> qat.FakeQuantized:
    graph = qat.trace(_student(arch), _x(4), arch)
    return qat.fake_quantized(graph, calibrate.ranges(graph, _x(), method), student=_student(arch))


@cache
def _exported(arch: str) -> Graph:
    return parse_model(qat.export(_rounded(arch), _SETTINGS, arch), arch)


@cache
def _converted(arch: str) -> Graph:
    return quantize.quantize(_student(arch), _x(), _SETTINGS, arch)[1]


def _story(graph: Graph, op: Op) -> tuple[Any, ...]:
    return op.name, graph.tensors[op.outputs[0]].shape, dict(op.options), [i >= 0 for i in op.inputs]


def _computing(graph: Graph) -> list[Op]:
    """The ops but those that only change the scale, in one order with the float graph's."""
    return [op for op in graph.ops if op.name != "QUANTIZE"]


_ALL = ("mlp", "ds_cnn", "resnet8", "mixture", "rarities", "dilated", "dilated_1d", "repeats")


@pytest.mark.parametrize("arch", _ALL)
def test_the_ops_are_those_of_the_converter_alone(arch: str) -> None:
    ours, theirs = _exported(arch), _converted(arch)
    assert [_story(ours, op) for op in ours.ops] == [_story(theirs, op) for op in theirs.ops]
    assert ("QUANTIZE" in {op.name for op in ours.ops}) == (arch == "rarities")  # where a tanh meets other values


@pytest.mark.parametrize("arch", _ALL)
def test_every_tensor_has_our_scale_and_zero_point(arch: str) -> None:
    ours, rounded = _exported(arch), _rounded(arch)
    pairs = [(ours.input, rounded.graph.inputs[0])]
    pairs += [
        (ours.tensors[op.outputs[0]], source.outputs[0])
        for op, source in zip(_computing(ours), rounded.graph.ops, strict=True)
    ]
    for tensor, index in pairs:
        assert tensor.quant
        assert (tensor.quant.scale, tensor.quant.zero_point) == (
            rounded.ranges[index].scale,
            rounded.ranges[index].zero_point,
        )


@pytest.mark.parametrize("arch", _ALL)
def test_weights_are_rounded_to_the_bytes_of_the_converter(arch: str) -> None:
    graph, ours, theirs = _rounded(arch).graph, _exported(arch), _converted(arch)
    kernels = float_graph.constants(graph)
    layers = [op for op in graph.ops if op.name in float_graph.WEIGHTED]
    assert layers
    for op in layers:
        exported, converted = (found.tensors[_computing(found)[op.index].inputs[1]] for found in (ours, theirs))
        assert exported.data is not None and converted.data is not None and converted.quant
        assert np.array_equal(exported.data, converted.data)
        rounded = np.asarray(qat.round_weights(kernels[op.inputs[1]]))
        steps = np.rint(rounded / np.array(converted.quant.scale, np.float32))
        bytes_ = converted.data[0] if op.name == "DEPTHWISE_CONV_2D" else np.moveaxis(converted.data, 0, -1)
        assert np.array_equal(steps, bytes_)


@pytest.mark.parametrize("arch", _ALL)
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_the_keras_model_computes_what_the_int8_model_does(arch: str, method: str) -> None:
    rounded, x = _rounded(arch, method), _x(100)
    graph = parse_model(qat.export(rounded, _SETTINGS, arch), arch)
    assert graph.input.quant and graph.output.quant
    (scale,), (zero_point,) = graph.output.quant.scale, graph.output.quant.zero_point
    ours = np.rint(np.asarray(rounded.model(x)) / scale) + zero_point
    theirs = reference.run(graph, golden.quantize(x, graph.input.quant))
    assert np.mean(np.abs(ours - theirs) <= 1) > 0.8 and np.abs(ours - theirs).max() <= 5
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) >= 0.95


@pytest.mark.parametrize("largest", [-8e-7, -1e-9, 0.0, 1e-42, 3e-8, 4e-7, 5e-7, 8e-7, 1e-6, 1.0002e-6, 2e-6])
def test_tiny_ranges_are_not_widened_by_the_converter(largest: float) -> None:
    import keras

    student = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6, use_bias=False), keras.layers.Dense(3)])
    student.layers[0].kernel.assign(np.eye(6) * largest)
    x = np.eye(6, dtype=np.float32)
    graph = qat.trace(student, x, "student")
    ranges = calibrate.ranges(graph, x, "minmax")
    found = parse_model(qat.export(qat.fake_quantized(graph, ranges), _SETTINGS, "student"), "student")
    for op, source in zip(_computing(found), graph.ops, strict=True):
        assert found.tensors[op.outputs[0]].quant == ranges[source.outputs[0]]
    if largest == 0.0:
        assert ranges[graph.ops[0].outputs[0]] == QuantParams((1.0,), (-128,))


@pytest.mark.parametrize("largest", [0.0, 1e-9, 2e-7, 5e-7, 5.1e-7, 2e-6])
def test_tiny_weights_are_rounded_to_the_bytes_of_the_converter(largest: float) -> None:
    import keras

    student = keras.Sequential([keras.Input((40,)), keras.layers.Dense(3, use_bias=False)])
    kernel = np.random.default_rng(2).uniform(-1, 1, (40, 3)).astype(np.float32)
    kernel *= np.array([1, largest, 2 * largest], np.float32)
    student.layers[0].kernel.assign(kernel)
    theirs = quantize.quantize(student, np.ones((4, 40), np.float32), _SETTINGS, "student")[1]
    weights = theirs.tensors[theirs.ops[0].inputs[1]]
    assert weights.quant and weights.data is not None
    rounded = np.asarray(qat.round_weights(kernel))
    assert np.array_equal(np.rint(rounded / np.array(weights.quant.scale, np.float32)), weights.data.T)


@pytest.mark.parametrize("engine", ["tflm", "aot"])
def test_both_engines_take_what_is_exported(engine: str) -> None:
    settings = quantize.Settings(softmax=True, per_tensor_dense=True, representative_samples=40)
    graph = qat.trace(_student("tiny_cnn"), _x(4), "student")
    rounded = qat.fake_quantized(graph, calibrate.ranges(graph, _x(), "minmax"), per_tensor_dense=True)
    model = qat.export(rounded, settings, "student")
    found = codegen.checked_graph(model, "student", engine)
    assert found.ops[-1].name == "SOFTMAX" and found.output.quant and found.output.quant.scale == (1 / 256,)
    assert not per_channel_dense(found)
    theirs = quantize.quantize(_student("tiny_cnn"), _x(), settings, "student")[1]
    assert [_story(found, op) for op in found.ops] == [_story(theirs, op) for op in theirs.ops]
    dense, other = (g.tensors[g.ops[-2].inputs[1]].data for g in (found, theirs))
    assert dense is not None and other is not None and np.array_equal(dense, other)


@needs_reference
@pytest.mark.parametrize("arch", ["resnet8", "mixture"])
def test_tflm_computes_it_as_the_reference(arch: str) -> None:
    model = qat.export(_rounded(arch), _SETTINGS, arch)
    x = np.random.default_rng(1).integers(-128, 128, (20, *_SHAPE)).astype(np.int8)
    wanted = interpreters.run("builtin_ref", model, x)
    assert np.array_equal(interpreters.run("tflm", model, x), wanted)
    assert np.array_equal(interpreters.run("reference", model, x), wanted)


def test_layers_keep_the_names_of_the_student() -> None:
    names = [layer.name for layer in _rounded("resnet8").model.layers]
    assert {"conv_relu", "block1_a_relu", "block2_shortcut_bn", "block3_out", "pool"} <= set(names)


def test_equal_biases_are_trained_apart() -> None:
    """The converter stores the zeros of layers without a bias but once."""
    import keras
    from keras import layers

    x = inputs = keras.Input((8, 8, 2))
    for name in ("one", "two", "three"):
        x = layers.Conv2D(4, 3, use_bias=False, name=name)(x)
    student = keras.Model(inputs, layers.Flatten()(x))
    stored = [op.inputs[2] for op in quantize.float_graph(student, "student").ops if op.name == "CONV_2D"]
    graph = qat.trace(student, np.ones((2, 8, 8, 2), np.float32), "student")
    assert len(stored) == 3 and len(set(stored)) == 1
    assert len(float_graph.kernels(graph)) == len(float_graph.biases(graph)) == 3


def test_a_bias_that_another_op_reads_is_trained_apart_from_it() -> None:
    import keras
    import tensorflow as tf

    values = np.array([0.5, 0.25, -1.0, 2.0], np.float32)
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 1)(inputs)
    student = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Lambda(lambda y: tf.maximum(y, values))(x)))
    student.layers[1].bias.assign(values)
    sample = np.random.default_rng(0).random((4, 8, 8, 4), np.float32)
    stored = quantize.float_graph(student, "student").ops
    assert stored[0].inputs[2] in stored[1].inputs  # the converter's way
    graph = qat.trace(student, sample, "student")
    rounded = qat.fake_quantized(graph, calibrate.ranges(graph, sample, "minmax"))
    (bias,) = float_graph.biases(graph)
    rounded.variables[bias].assign(values - 9.0)
    exported = parse_model(qat.export(rounded, _SETTINGS, "student"), "student")
    assert exported.input.quant and exported.output.quant
    outputs = reference.run(exported, golden.quantize(sample, exported.input.quant))
    found = golden.dequantize(outputs, exported.output.quant)
    assert np.allclose(found.reshape(-1, 4), values, atol=exported.output.quant.scale[0])


def test_layers_with_equal_kernels_keep_their_biases() -> None:
    import keras
    from keras import layers

    x = inputs = keras.Input((8, 8, 2))
    for bias in ("ones", "zeros"):
        x = layers.Conv2D(2, 3, kernel_initializer="ones", bias_initializer=bias, activation="relu")(x)
    student = keras.Model(inputs, layers.Flatten()(x))
    graph = qat.trace(student, np.ones((2, 8, 8, 2), np.float32), "student")
    assert len(float_graph.kernels(graph)) == 1 and len(float_graph.biases(graph)) == 2


def test_gradients_pass_the_rounding_and_stop_where_it_clips() -> None:
    import tensorflow as tf

    params = calibrate.quant_params(-1.0, 1.0)
    value = tf.constant([-3.0, -0.5, 0.0, 0.3, 0.9, 2.0])
    kernel = tf.constant([[0.5, -2.0], [0.1, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch([value, kernel])
        total = tf.reduce_sum(qat.round_activations(value, params)) + tf.reduce_sum(qat.round_weights(kernel) ** 2)
    on_value, on_kernel = tape.gradient(total, [value, kernel])
    assert on_value.numpy().tolist() == [0, 1, 1, 1, 1, 0]
    assert np.allclose(on_kernel, 2 * qat.round_weights(kernel))


def test_a_layer_that_fake_quantization_does_not_know_is_named() -> None:
    import keras
    from keras import layers

    inputs = keras.Input(_SHAPE)
    x = layers.Conv2DTranspose(4, 3, name="grow")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ModelError, match=r"TRANSPOSE_CONV in layer 'grow' is not known .* leave qat_epochs"):
        qat.trace(model, _x(4), "student.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_student_whose_outputs_are_not_finite_is_refused(value: float) -> None:
    import keras

    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    student.layers[-1].bias.assign([0.0, value, 0.0])
    with pytest.raises(ModelError, match=r"student.keras: its outputs are not finite: train it with a lower"):
        qat.trace(student, np.ones((2, 4), np.float32), "student.keras")


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_a_graph_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(float_graph, "runner", lambda graph, wanted: lambda x: [np.full((len(x), 5), value)])
    with pytest.raises(ModelError, match="fake quantization does not follow it"):
        qat.trace(_student("mlp"), _x(4), "student")


@pytest.mark.parametrize("name", ["dilated", "dilated_1d"])
def test_dilated_convolutions_are_trained_on_any_cpu(name: str) -> None:
    """oneDNN, which TensorFlow does not have everywhere, differentiates what its own kernels do not."""
    code = f"""
import numpy as np, test_qat, tensorflow as tf
from kd_embedded import calibrate, qat
student = test_qat._student({name!r})
x = np.random.default_rng(0).random((4, *student.input.shape[1:]), np.float32)
graph = qat.trace(student, x, "student")
model = qat.fake_quantized(graph, calibrate.ranges(graph, x, "minmax")).model
with tf.GradientTape() as tape:
    total = tf.reduce_sum(tf.square(model(x)))
assert all(np.any(found) for found in tape.gradient(total, model.trainable_variables))
"""
    _without_onednn(code)


def test_a_layer_that_cannot_be_trained_is_named() -> None:
    """Strides beside a dilation: Keras has no such layer."""
    code = """
import keras, numpy as np, pytest, tensorflow as tf
from kd_embedded import keras_files, qat
from kd_embedded.errors import ModelError
keras_files.start_tensorflow()
kernel = tf.ones((3, 3, 2, 4))
odd = keras.layers.Lambda(lambda x: tf.nn.conv2d(x, kernel, 2, "VALID", dilations=2), name="odd")
student = keras.Sequential([keras.Input((9, 9, 2)), odd, keras.layers.Flatten(), keras.layers.Dense(3)])
x = np.ones((4, 9, 9, 2), np.float32)
with pytest.raises(ModelError, match="no gradient here for the CONV_2D in layer 'odd': set qat_epochs = 0"):
    qat.trace(student, x, "student.keras")
qat.trace(student, x, "student.keras", trained=False)
"""
    _without_onednn(code)


def _without_onednn(code: str) -> None:
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fine_tuning_restores_what_coarse_ranges_cost(tmp_path: Path) -> None:
    """Digits: ranges of a quarter of what is needed ruin the student; training under them mends it."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = (found.images[..., np.newaxis] / 16).astype(np.float32), found.target.astype(np.int64)
    samples = training.Samples(lambda at: x[at], y[:1200], np.ones(1200, np.float32), lambda at: x[1200 + at], y[1200:])
    student = students.build(StudentSpec(arch="tiny_cnn", width=0.5), (8, 8, 1), 10, 1, Path())
    spec = DistillSpec(epochs=8, learning_rate=0.01)

    def fit(model: Any, name: str, **changes: Any) -> float:
        history = training.fit(
            model,
            samples,
            spec.model_copy(update=changes),
            training.Objective(),
            seed=1,
            checkpoint=tmp_path / name,
            key=name,
            title=name,
            progress=Progress(),
        )
        return max(record["val_accuracy"] for record in history)

    def accuracy(rounded: qat.FakeQuantized) -> float:
        graph = parse_model(qat.export(rounded, _SETTINGS, "student"), "student")
        assert graph.input.quant
        return float(np.mean(reference.run(graph, golden.quantize(x[1200:], graph.input.quant)).argmax(1) == y[1200:]))

    before = fit(student, "float")
    graph = qat.trace(student, x[:8], "student")
    ranges = calibrate.ranges(graph, x[:200], "minmax")
    coarse = {
        i: calibrate.quant_params(*(0.25 * v for v in calibrate.limits_of(p))) if i != graph.inputs[0] else p
        for i, p in ranges.items()
    }
    good, bad = (qat.fake_quantized(graph, chosen, student=student) for chosen in (ranges, coarse))
    exact, ruined = accuracy(good), accuracy(bad)
    after = fit(bad.model, "rounded", epochs=6, learning_rate=0.003)
    assert exact > before - 0.01
    assert accuracy(bad) >= exact - 0.05 > ruined + 0.1
    assert abs(accuracy(bad) - after) < 0.01  # what training saw is what the device computes
