"""Reading .tflite files: what is decoded, and that nothing but a Graph or a KdError ever comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite.BuiltinOperator import BuiltinOperator
from tflite.Model import Model
from tflite_builder import O, T, build, dense, relu6_alone

from kd_embedded.errors import KdError, ModelError
from kd_embedded.tflite.analyze import analyze
from kd_embedded.tflite.check import check_full_int8, per_channel_dense, tflm_departures
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model, read_model


def conv_model() -> bytes:
    weights = np.arange(2 * 3 * 3 * 1).reshape(2, 3, 3, 1)
    return build(
        [
            T([1, 8, 8, 1], signature=[-1, 8, 8, 1]),
            T([2, 3, 3, 1], "int8", [0.1, 0.2], [0, 0], axis=0, data=weights),
            T([2], "int32", [0.01, 0.02], [0, 0], data=np.array([5, -6])),
            T([1, 4, 4, 2]),
        ],
        [
            O(
                "CONV_2D",
                [0, 1, 2],
                [3],
                "Conv2DOptions",
                {"Padding": 0, "StrideW": 2, "StrideH": 2, "FusedActivationFunction": 3},
            )
        ],
    )


def test_decodes_everything_of_an_op() -> None:
    graph = parse_model(conv_model(), "conv")
    (op,) = graph.ops
    assert (op.name, op.inputs, op.outputs) == ("CONV_2D", (0, 1, 2), (3,))
    assert op.options["padding"] == "SAME"
    assert op.options["fused_activation_function"] == "RELU6"
    assert (op.options["stride_w"], op.options["dilation_h_factor"]) == (2, 1)
    filters = graph.tensors[1]
    assert filters.quant is not None and filters.quant.per_channel and filters.quant.axis == 0
    assert filters.data is not None and filters.data.tolist() == np.arange(18).reshape(2, 3, 3, 1).tolist()
    assert not filters.data.flags.writeable
    bias = graph.tensors[2].data
    assert bias is not None and bias.tolist() == [5, -6] and bias.dtype == np.int32
    assert graph.input.dynamic_axes == (0,) and graph.input.shape == (1, 8, 8, 1)
    assert graph.input.quant is not None and graph.input.quant.scale == pytest.approx((0.1,))
    assert graph.output.data is None
    assert len(graph.sha256) == 64 and graph.model_bytes == len(conv_model())


def test_cost_of_an_op() -> None:
    analysis = analyze(parse_model(conv_model(), "conv"))
    assert analysis.macs == 4 * 4 * 2 * 3 * 3
    assert analysis.weight_bytes == 18 + 8
    assert analysis.ops[0].output_shape == (1, 4, 4, 2)


# Two committed models, counted by hand; the figures of the MLPerf Tiny benchmark's four models, as its papers round
# them, and of TFLM's examples.
@pytest.mark.parametrize(
    ("name", "ops", "macs", "weight_bytes"),
    [
        # 4x4x4 outputs of 9 weights, twice; 16 to 3. Weights 36, 36, 48, biases 4 * (4 + 4 + 3), a shape of 8 bytes.
        ("tiny", 6, 1_200, 172),
        # 8x8x8 outputs of 9, 72 and 72 weights; 8 to 32 to 10. Weights 72, 576, 576, 256, 320, biases 4 * 66, axes 8.
        ("residual", 7, 78_912, 2_072),
        ("ad01_int8", 10, 264_192, 270_880),
        ("hello_world_int8", 3, 288, 420),
        ("kws_ref_model", 13, 2_656_768, 24_376),
        ("micro_speech_quantized", 4, 336_000, 16_704),
        ("person_detect", 31, 7_157_888, 218_928),
        ("pretrainedResnet_quant", 16, 12_501_632, 78_752),
        ("str_ww_ref_model", 11, 826_368, 49_420),
        ("vww_96_int8", 31, 7_489_664, 219_072),
    ],
)
def test_costs_of_whole_models(model_file, name: str, ops: int, macs: int, weight_bytes: int) -> None:
    graph = read_model(model_file(name))
    analysis = analyze(graph)
    assert (len(graph.ops), analysis.macs, analysis.weight_bytes) == (ops, macs, weight_bytes)
    check_full_int8(graph, name)
    assert tflm_departures(graph) == ()


def op_model(name: str, shapes: list[list[int]], output: list[int], options: str = "", **attributes: object) -> Graph:
    tensors = [T(shape, data=None if i == 0 else np.zeros(shape)) for i, shape in enumerate(shapes)]
    op = O(name, list(range(len(shapes))), [len(shapes)], options, dict(attributes))
    return parse_model(build([*tensors, T(output)], [op]), name)


def test_macs_of_the_other_contractions() -> None:
    depthwise = op_model("DEPTHWISE_CONV_2D", [[1, 8, 8, 4], [1, 3, 5, 8]], [1, 8, 8, 8])
    assert analyze(depthwise).macs == 8 * 8 * 8 * 15
    matmul = op_model("BATCH_MATMUL", [[2, 5, 3], [2, 5, 7]], [2, 3, 7], "BatchMatMulOptions", AdjX=True)
    assert analyze(matmul).macs == 2 * 3 * 7 * 5
    transposed = build(
        [
            T([4], "int32", None, data=np.array([1, 8, 8, 6])),
            T([6, 2, 2, 3], data=np.zeros([6, 2, 2, 3])),
            T([1, 4, 4, 3]),
            T([1, 8, 8, 6]),
        ],
        [O("TRANSPOSE_CONV", [0, 1, 2], [3], "TransposeConvOptions", {"StrideW": 2, "StrideH": 2})],
        inputs=[2],
    )
    assert analyze(parse_model(transposed, "transposed")).macs == 4 * 4 * 3 * 6 * 2 * 2
    svdf = op_model("SVDF", [[1, 10], [4, 10], [4, 7]], [1, 4])
    assert analyze(svdf).macs == 4 * 10 + 4 * 7
    lstm = build(
        [T([1, 6, 10])]
        + [T([5, 10], data=np.zeros([5, 10]))] * 4
        + [T([5, 5], data=np.zeros([5, 5]))] * 4
        + [T([1, 6, 5])],
        [O("UNIDIRECTIONAL_SEQUENCE_LSTM", [*range(9)], [9])],
    )
    assert analyze(parse_model(lstm, "lstm")).macs == 6 * 4 * (5 * 10 + 5 * 5)


def test_a_shared_constant_counts_once() -> None:
    weights = T([4, 4], data=np.ones([4, 4]))
    model = build(
        [T([1, 4]), weights, T([1, 4]), T([1, 4])],
        [O("FULLY_CONNECTED", [0, 1, -1], [2]), O("FULLY_CONNECTED", [2, 1, -1], [3])],
    )
    analysis = analyze(parse_model(model, "shared"))
    assert [cost.weight_bytes for cost in analysis.ops] == [16, 16]
    assert analysis.weight_bytes == 16


def test_quantization_parameters_as_toco_wrote_them() -> None:
    scale_of_one = T([1, 2, 2, 3], "int8", [0.5], [0], axis=3, data=np.zeros([1, 2, 2, 3]))
    bias = T([3], "int32", [0.1, 0.2, 0.3], [0, 0, 0], axis=3, data=np.zeros(3))
    model = build([T([1, 4, 4, 3]), scale_of_one, bias, T([1, 3, 3, 3])], [O("DEPTHWISE_CONV_2D", [0, 1, 2], [3])])
    tensors = parse_model(model, "toco").tensors
    assert tensors[1].quant is not None and not tensors[1].quant.per_channel and tensors[1].quant.axis == 0
    assert tensors[2].quant is not None and tensors[2].quant.axis == 0


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (build([T([1, 4]), T([1, 4])], [O("RELU", [0], [1])], version=2), "schema version 2"),
        (build([T([1, 4]), T([1, 4])], [O("RELU", [0], [1])], subgraphs=2), "2 subgraphs"),
        (build([T([1, 4]), T([1, 4])], [O("RELU", [0], [1])], inputs=[]), "no input"),
        (build([T([1, 4]), T([1, 4])], [O("RELU", [0], [7])]), "tensor index"),
        (build([T([1, 4]), T([1, 4])], [O("RELU", [0], [-1])]), "tensor index"),
        (build([T([1, 5], data=np.zeros(4)), T([1, 4])], [O("RELU", [0], [1])]), "cannot reshape"),
        (build([T([1 << 30, 1 << 30]), T([1, 4])], [O("RELU", [0], [1])]), "more than the 32 MiB"),
        (build([T([1, -4]), T([1, 4])], [O("RELU", [0], [1])]), "shape"),
        (build([T([1, 4], scale=[0.1, 0.2], zero_point=[0, 0]), T([1, 4])], [O("RELU", [0], [1])]), "2 scales"),
        (build([T([1, 4], scale=-1.0), T([1, 4])], [O("RELU", [0], [1])]), "impossible quantization"),
        (build([T([1, 4], scale=float("nan")), T([1, 4])], [O("RELU", [0], [1])]), "impossible quantization"),
        (build([T([1, 4], zero_point=400), T([1, 4])], [O("RELU", [0], [1])]), "impossible quantization"),
        (b"", "TFL3"),
        (b"\0" * 64, "TFL3"),
        (b"\xff\xff\xff\x7fTFL3" + b"\xff" * 200, "damaged"),
    ],
)
def test_what_is_no_model_is_refused(model: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        parse_model(model, "some.tflite")
    assert str(caught.value).startswith("some.tflite: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("ADD", "MulOptions"), ("SUB", "AddOptions"), ("MUL", "AddOptions"), ("MAXIMUM", "AddOptions")),
        *(("CONV_2D", "DepthwiseConv2DOptions"), ("DEPTHWISE_CONV_2D", "Conv2DOptions")),
        *(("TRANSPOSE_CONV", "Conv2DOptions"), ("FULLY_CONNECTED", "Conv2DOptions")),
        *(("AVERAGE_POOL_2D", "Conv2DOptions"), ("MAX_POOL_2D", "Conv2DOptions")),
        *(("MEAN", "ReshapeOptions"), ("REDUCE_MAX", "ReshapeOptions"), ("REDUCE_MIN", "ReshapeOptions")),
        *(("ARG_MAX", "ArgMinOptions"), ("ARG_MIN", "ReducerOptions")),
        *(("SOFTMAX", "LeakyReluOptions"), ("LEAKY_RELU", "SoftmaxOptions"), ("GELU", "ReducerOptions")),
    ],
)
def test_options_of_another_op_are_refused(name: str, options: str) -> None:
    """The reference would take what lies in its memory; ours would read what has the same name."""
    model = build([T([1, 4]), T([1, 4])], [O(name, [0, 0], [1], options)])
    with pytest.raises(ModelError, match=f"an operator {name} has {options}"):
        parse_model(model, "some.tflite")


@pytest.mark.parametrize("field", [4, 10], ids=["deprecated_builtin_code", "builtin_code"])
def test_one_field_names_the_op(field: int) -> None:
    """Files from before 2020 lack the new one; TFLite takes the larger."""
    model = bytearray(build([T([1, 4]), T([1, 4])], [O("RELU", [0], [1])]))
    code = Model.GetRootAsModel(model, 0).OperatorCodes(0)._tab
    assert model[code.Pos + code.Offset(field)] == BuiltinOperator.RELU
    model[code.Pos + code.Offset(field)] = 0
    assert parse_model(bytes(model), "model").ops[0].name == "RELU"


def test_files_that_are_no_model(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.tflite", tmp_path):
        with pytest.raises(ModelError, match=r"no such file|is a folder"):
            read_model(path)
    big = tmp_path / "big.tflite"
    with big.open("wb") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(ModelError, match="64 MiB"):
        read_model(big)


def survives(data: bytes) -> bool:
    """Whether ``data`` is still a model; anything but a KdError on the way is the test's failure."""
    try:
        graph = parse_model(data, "mutant")
        analyze(graph)
        tflm_departures(graph)
        per_channel_dense(graph)
        check_full_int8(graph, "mutant")
    except KdError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("model", [dense(per_channel=True), conv_model(), relu6_alone(after_dense=True)])
def test_mutants_give_a_graph_or_a_kd_error(model: bytes) -> None:
    """Every truncation, every byte set to each of four values, and 300 seeded mutants with several bytes changed."""
    rng = np.random.default_rng(20)
    survivors = sum(survives(model[:length]) for length in range(len(model)))
    for position in range(len(model)):
        for value in (0, 0x7F, 0x80, 0xFF):
            survivors += survives(model[:position] + bytes([value]) + model[position + 1 :])
    for _ in range(300):
        mutant = bytearray(model)
        for position in rng.integers(8, len(model), rng.integers(1, 9)):
            mutant[position] = rng.integers(256)
        survivors += survives(bytes(mutant))
    assert survivors > len(model) // 2  # names and weights may change; the mutator reaches past the header


def test_random_bytes_behind_the_identifier() -> None:
    rng = np.random.default_rng(21)
    for _ in range(300):
        noise = rng.bytes(int(rng.integers(8, 400)))
        assert not survives(noise[:4] + b"TFL3" + noise[8:])


def test_a_table_that_claims_more_than_the_file_holds() -> None:
    """Ops that share their bytes cannot multiply the work: 301 of them all point at one vector of 2 000 inputs."""
    tensors = [T([1, 4]), T([1, 4])]
    model = build(tensors, [O("CONCATENATION", [0] * 2000, [1])] * 3)
    assert parse_model(model, "wide").ops[0].inputs == (0,) * 2000
    crafted = _share_first_operator(build(tensors, [O("CONCATENATION", [0] * 2000, [1]), *[O("RELU", [0], [1])] * 300]))
    with pytest.raises(ModelError, match="more elements"):
        parse_model(crafted, "crafted")


def _share_first_operator(model: bytes) -> bytes:
    """Makes every entry of the operator table point at the first operator."""
    from tflite.Model import Model

    data = bytearray(model)
    subgraph = Model.GetRootAs(data, 0).Subgraphs(0)
    table = subgraph._tab
    start = table.Vector(table.Offset(10))  # schema.fbs, SubGraph.operators is field 3
    first = start + int.from_bytes(data[start : start + 4], "little")
    for i in range(subgraph.OperatorsLength()):
        data[start + 4 * i : start + 4 * i + 4] = (first - start - 4 * i).to_bytes(4, "little", signed=True)
    return bytes(data)
