"""Student and representative data set to a full-int8 .tflite, by TensorFlow's converter."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import codegen
from kd_embedded.errors import ModelError
from kd_embedded.progress import silenced
from kd_embedded.tflite.check import check_full_int8
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model
from kd_embedded.tflite.slim import slim


@dataclass(frozen=True)
class Settings:
    """What the converter is told, as it is written to run.json."""

    softmax: bool
    per_tensor_dense: bool
    representative_samples: int
    batch: int = 1
    inference_input_type: str = "int8"
    inference_output_type: str = "int8"
    supported_ops: str = "TFLITE_BUILTINS_INT8"
    optimizations: str = "DEFAULT"

    def document(self) -> dict[str, Any]:
        return asdict(self)


def quantize(
    student: Any, representative: NDArray[np.float32], settings: Settings, where: str, engine: str = "tflm"
) -> tuple[bytes, Graph]:
    """The int8 flatbuffer of ``student`` and its graph.

    ``representative`` float32 [K, ...], in the student's own input units, sets the activation ranges. int8 in and out,
    batch 1, weights per channel (Dense per tensor where the settings say so). Raises ModelError where an op would stay
    float, a shape is dynamic, or an op is outside what ``engine`` has; it names the layer, or the op for aot.
    """
    model = _convert(student, representative, settings, where)
    if engine == "aot":
        return model, codegen.checked_graph(model, where, engine)
    graph = parse_model(model, where)
    for op in graph.ops:
        if op.name not in ("QUANTIZE", "DEQUANTIZE") and graph.tensors[op.outputs[0]].dtype == "float32":
            raise _no_int8(op.name, layer_in(graph.tensors[op.outputs[0]].name, student), where)
    check_full_int8(graph, where)
    return model, graph


def float_graph(student: Any, where: str) -> Graph:
    """The graph that the converter makes of ``student`` before it quantizes: normalization folded, activations fused.

    Raises a ModelError as ``quantize``.
    """
    _refuse_loops(student, where)
    concrete = _inference(student, softmax=False)
    try:
        return parse_model(_run_converter(concrete, None), where)
    except _ConverterError as error:
        raise _explain(str(error), concrete, student, where) from None


def with_ranges(concrete: Any, settings: Settings, where: str) -> bytes:
    """The int8 flatbuffer of a concrete function whose fake quantization ops give every activation its range.

    Batch 1, int8 in and out, weights quantized by the converter as ``settings`` say. Raises ModelError where it fails.
    """
    try:
        return _run_converter(concrete, settings)
    except _ConverterError as error:
        reason = next(line for line in str(error).splitlines() if line.strip())
        raise ModelError(f"cannot be converted to int8: {reason.strip()}", where=where) from None


def _convert(student: Any, representative: NDArray[np.float32], settings: Settings, where: str) -> bytes:
    _refuse_loops(student, where)
    concrete = _inference(student, settings.softmax)
    try:
        return _run_converter(concrete, settings, representative)
    except _ConverterError as error:
        raise _explain(str(error), concrete, student, where) from None


def _inference(student: Any, softmax: bool) -> Any:
    """The concrete function of ``student`` for a batch of one."""
    import tensorflow as tf

    shape = (1, *student.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="input")])
    def inference(inputs: Any) -> Any:
        logits = student(inputs, training=False)
        return tf.nn.softmax(logits) if softmax else logits

    return inference.get_concrete_function()


def _refuse_loops(student: Any, where: str) -> None:
    """The converter dies of a loop in full int8; the interpreters of microcontrollers have none."""
    import keras

    for layer in student._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and not layer.unroll:
            raise ModelError(
                f"layer {layer.name!r} ({type(layer).__name__}) is a loop",
                where=where,
                todo="make the layer with unroll=True, or use convolutions",
            )


class _ConverterError(Exception):
    """All the converter said, on every channel it has."""


def _run_converter(
    concrete: Any, settings: Settings | None, representative: NDArray[np.float32] | None = None
) -> bytes:
    """Full int8 and slim, or float32 without ``settings``; ranges are of ``concrete`` or from ``representative``."""
    import tensorflow as tf

    with silenced() as said:
        # Without a trackable object the graph is frozen in memory, which takes a second where a SavedModel takes ten
        # and gives the same bytes whatever else the process did; the converter only warns that the way is an older one.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if settings is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if representative is not None:
                converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in representative)
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
            converter._experimental_disable_per_channel_quantization_for_dense_layers = settings.per_tensor_dense
        try:
            model = bytes(converter.convert())
        except Exception as error:  # the converter raises its own kinds, and plain RuntimeError and ValueError
            failure = str(error)
        else:
            return slim(model) if settings else model
    raise _ConverterError(f"{failure}\n{said.getvalue()}")


def _explain(text: str, concrete: Any, student: Any, where: str) -> ModelError:
    """The converter's page of MLIR as one line: the op, and the layer that holds it."""
    unknown = re.search(r"'tfl?\.(\w+)' op is neither", text)
    unquantized = re.search(r"not yet supported for op: '?(\w+)", text)
    if unknown:
        op, path = unknown.group(1), re.search(r'callsite\("([\w/]+)"', text)
        layer = layer_in(path.group(1), student) if path else ""
    elif unquantized:
        op = unquantized.group(1)
        layer = _layer_of_float_op(op, concrete, student)
    else:
        reason = next((line for line in text.splitlines() if line.strip()), "no reason given")
        return ModelError(f"cannot be converted to int8: {reason.strip()}", where=where)
    return _no_int8(op, layer, where)


def _no_int8(op: str, layer: str, where: str) -> ModelError:
    return ModelError(
        f"the op {op}{f' in layer {layer!r}' if layer else ''} has no int8 form in TensorFlow Lite",
        where=where,
        todo="replace the layer by one that converts to a TFLite builtin",
    )


def _layer_of_float_op(op: str, concrete: Any, student: Any) -> str:
    """The layer of the first ``op`` in the model as it converts without quantization."""
    graph = parse_model(_run_converter(concrete, None), "float model")
    paths = [graph.tensors[found.outputs[0]].name for found in graph.ops if found.name == op]
    return layer_in(paths[0], student) if paths else ""


def layer_in(path: str, student: Any) -> str:
    """The layer of ``student`` that a graph node's path goes through; empty where it goes through none."""
    return _layer_of(path.split(";")[0], [layer.name for layer in student.layers])


def last_layer_in(path: str, student: Any) -> str:
    """The last layer of ``student`` that an op of the graph holds, by the names of all nodes fused into it."""
    names = [layer.name for layer in student.layers]
    found = {_layer_of(name, names) for name in path.split(";")}
    return next((name for name in reversed(names) if name in found), "")


def _layer_of(path: str, names: list[str]) -> str:
    """The first part of ``path`` that is one of ``names``, with or without the number that TensorFlow appends.

    Keras opens a layer's scope once for the build before it does for each call, so a node of ``relu`` is in ``relu_1``
    (of a second call in ``relu_3``) and one of a layer ``relu_1`` in ``relu_1_2``: the number is taken off first.
    """
    for part in path.split("/"):
        for name in (re.sub(r"_\d+$", "", part), part):
            if name in names:
                return name
    return ""
