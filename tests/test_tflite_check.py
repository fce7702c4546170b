"""Every kind of model that cannot become firmware, each with the op, the tensor and the way out in its message."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_builder import O, T, build, dense, relu6_alone, sequence_dense

from kd_embedded.errors import ModelError
from kd_embedded.tflite.check import check_full_int8, per_channel_dense, reference_departures, tflm_departures
from kd_embedded.tflite.read import parse_model

WEIGHTS = np.ones([4, 4])


def one_op(name: str, source: T, result: T, **more: object) -> bytes:
    return build([source, result], [O(name, [0], [1], **more)])


FLOAT = T([1, 4], "float32", None, name="real")
INT8 = T([1, 4], name="whole")
ARG_MAX = O("ARG_MAX", [0, 1], [2])
CASES = {
    "float": (
        build([FLOAT, T([4, 4], "float32", None, data=WEIGHTS), FLOAT], [O("FULLY_CONNECTED", [0, 1, -1], [2])]),
        ["op 0 (FULLY_CONNECTED) computes in float32", "tensor real", "full int8"],
    ),
    "dynamic range": (
        build([FLOAT, T([4, 4], data=WEIGHTS), FLOAT], [O("FULLY_CONNECTED", [0, 1, -1], [2])]),
        ["op 0 (FULLY_CONNECTED) is dynamic range quantized", "tensor real", "representative_dataset"],
    ),
    "dynamic range, small weights left in float": (
        build(
            [FLOAT, T([4, 4], "float32", None, data=WEIGHTS), FLOAT, T([4, 4], data=WEIGHTS), FLOAT],
            [O("FULLY_CONNECTED", [0, 1, -1], [2]), O("FULLY_CONNECTED", [2, 3, -1], [4])],
        ),
        ["op 1 (FULLY_CONNECTED) is dynamic range quantized", "tensor real"],
    ),
    "weights only": (
        build(
            [FLOAT, T([4, 4], data=WEIGHTS), T([4, 4], "float32", None), FLOAT],
            [O("DEQUANTIZE", [1], [2]), O("FULLY_CONNECTED", [0, 2, -1], [3])],
        ),
        ["op 0 (DEQUANTIZE) expands quantized weights to floats"],
    ),
    "int16": (dense(dtype="int16"), ["op 0 (FULLY_CONNECTED) has int16 activations", "tensor tensor_0", "int8"]),
    "uint8": (one_op("RELU", T([1, 4], "uint8"), T([1, 4], "uint8")), ["op 0 (RELU) has uint8 values"]),
    "float input": (
        one_op("QUANTIZE", FLOAT, INT8),
        ["op 0 (QUANTIZE) takes a float32 input", "inference_input_type=tf.int8"],
    ),
    "float output": (
        one_op("DEQUANTIZE", INT8, FLOAT),
        ["op 0 (DEQUANTIZE) gives a float32 output", "inference_output_type"],
    ),
    "float op left over": (
        build(
            [INT8, FLOAT, T([1, 4], "float32", None, name="left over"), INT8],
            [O("DEQUANTIZE", [0], [1]), O("SIN", [1], [2]), O("QUANTIZE", [2], [3])],
        ),
        ["op 0 (DEQUANTIZE) computes in float32", "tensor real"],
    ),
    "custom op": (one_op("CUSTOM", INT8, INT8, custom_code="Fancy"), ["op 0 (Fancy) is a custom op", "SELECT_TF_OPS"]),
    "op outside TFLM": (
        one_op("GELU", INT8, INT8),
        ["op 0 (GELU) is not among the ops of TensorFlow Lite Micro", "replace"],
    ),
    "two inputs": (
        build([INT8, T([1, 4], name="other"), INT8], [O("ADD", [0, 1], [2])], inputs=[0, 1]),
        ["has 2 inputs (whole, other)", "one is supported"],
    ),
    "two outputs": (
        build([INT8, T([1, 2]), T([1, 2])], [O("SPLIT", [0], [1, 2])]),
        ["has 2 outputs", "one is supported"],
    ),
    "dynamic shape": (
        one_op("RELU", T([1, 1, 1, 3], signature=[-1, -1, -1, 3], name="open"), T([1, 1, 1, 3])),
        ["op 0 (RELU) uses tensor open, whose shape is dynamic in axes [0, 1, 2]", "fixed input shape"],
    ),
    "batch of 8": (
        one_op("RELU", T([8, 4]), T([8, 4])),
        ["its input (tensor tensor_0) has shape [8, 4]", "batch of 1"],
    ),
    "scalar output": (build([INT8, T([])], [O("SUM", [0], [1])]), ["its output (tensor tensor_1) has shape []"]),
    "empty tensor": (one_op("RELU", T([1, 0]), T([1, 0])), ["empty", "[1, 0]"]),
    "no scale": (one_op("RELU", T([1, 4], scale=None), INT8), ["lack one scale and zero point", "tensor_0"]),
    "per-channel activation": (one_op("RELU", T([1, 2], "int8", [0.1, 0.2], [0, 0], 1), INT8), ["lack one scale"]),
    "int32 output": (one_op("CAST", INT8, T([1, 4], "int32", None)), ["its output", "int32", "inference_output_type"]),
    "int64 indices": (
        build([INT8, T([1], "int32", None, data=np.array([1])), T([1], "int64", None, name="best")], [ARG_MAX]),
        ["op 0 (ARG_MAX) gives int64 indices (tensor best), and int32 is supported", "output_type=tf.int32"],
    ),
    "indices of a batch": (
        build([INT8, T([1], "int32", None, data=np.array([0])), T([4], "int32", None)], [ARG_MAX]),
        ["its output (tensor tensor_2) has shape [4]", "batch of 1"],
    ),
    "constant output": (
        build([INT8, INT8, T([1, 4], data=np.zeros([1, 4]))], [O("RELU", [0], [1])], outputs=[2]),
        ["is a constant"],
    ),
}


@pytest.mark.parametrize(("model", "words"), CASES.values(), ids=CASES.keys())
def test_refused_with_a_way_out(model: bytes, words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        check_full_int8(parse_model(model, "m.tflite"), "m.tflite")
    for word in ["m.tflite: ", *words]:
        assert word in str(caught.value)
    assert caught.value.todo and "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [dense(), dense(per_channel=True), relu6_alone(after_dense=True)])
def test_full_int8_is_accepted(model: bytes) -> None:
    check_full_int8(parse_model(model, "m.tflite"), "m.tflite")


def test_open_batch_axis_is_accepted() -> None:
    model = one_op("RELU", T([1, 4], signature=[-1, 4]), T([1, 4], signature=[-1, 4]))
    check_full_int8(parse_model(model, "m.tflite"), "m.tflite")


def test_departures_name_the_op() -> None:
    (departure,) = tflm_departures(parse_model(relu6_alone(after_dense=True), "m"))
    assert (departure.op_index, departure.op_name) == (1, "RELU6")
    assert "requantize" in departure.why
    same_scale = one_op("RELU6", T([1, 4], scale=0.02, zero_point=-128), T([1, 4], scale=0.02, zero_point=-128))
    assert tflm_departures(parse_model(same_scale, "m")) == ()
    lstm = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", T([1, 2, 3]), T([1, 2, 3]))
    assert [d.op_index for d in tflm_departures(parse_model(lstm, "m"))] == [0]


@pytest.mark.parametrize("lead", [(1, 3), (1, 2, 2), (1, 1, 1)])
def test_builtin_ref_departs_at_dense_layers_on_more_axes(lead: tuple[int, ...]) -> None:
    (departure,) = reference_departures(parse_model(sequence_dense(lead), "m"))
    assert (departure.op_index, departure.op_name) == (0, "FULLY_CONNECTED") and "first two axes" in departure.why
    for model in (sequence_dense((1,)), sequence_dense(lead, rows=1), dense(per_channel=True)):
        assert reference_departures(parse_model(model, "m")) == ()


def test_per_channel_dense() -> None:
    assert per_channel_dense(parse_model(dense(per_channel=True), "m")) == (0,)
    assert per_channel_dense(parse_model(dense(), "m")) == ()
