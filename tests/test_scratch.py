"""Kernel scratch by hand-computed cases. The formulas were also compared with the libraries' own C, see the module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_embedded.errors import ModelError
from kd_embedded.scratch import OpScratch, scratch_bytes
from kd_embedded.tflite.graph import Graph, Op, Tensor
from kd_embedded.tflite.read import read_model

M4, M0, LX6, S3, C3 = "cortex-m4", "cortex-m0plus", "xtensa-lx6", "xtensa-lx7", "rv32imc"


def graph(name: str, *shapes: tuple[int, ...], **options: Any) -> Graph:
    """One op; the last shape is its output's."""
    tensors = tuple(Tensor(index, f"t{index}", shape, "int8", None, None) for index, shape in enumerate(shapes))
    last = len(shapes) - 1
    return Graph("g", tensors, (Op(0, name, 1, tuple(range(last)), (last,), options),), (0,), (last,), 0, "")


def window(name: str, *shapes: tuple[int, ...], stride: int = 1, dilation: int = 1, multiplier: int = 1) -> Graph:
    strides = {"stride_h": stride, "stride_w": stride, "dilation_h_factor": dilation, "dilation_w_factor": dilation}
    return graph(name, *shapes, **strides, depth_multiplier=multiplier)


CONV_3X3 = window("CONV_2D", (1, 32, 32, 3), (16, 3, 3, 3), (1, 32, 32, 16))
POINTWISE = window("CONV_2D", (1, 8, 8, 16), (32, 1, 1, 16), (1, 8, 8, 32))
STRIDED_1X1 = window("CONV_2D", (1, 8, 8, 16), (32, 1, 1, 16), (1, 4, 4, 32), stride=2)
DEPTHWISE = window("DEPTHWISE_CONV_2D", (1, 25, 5, 64), (1, 3, 3, 64), (1, 25, 5, 64))
MULTIPLIED = window("DEPTHWISE_CONV_2D", (1, 49, 40, 1), (1, 10, 8, 8), (1, 25, 20, 8), stride=2, multiplier=8)
DILATED = window("DEPTHWISE_CONV_2D", (1, 9, 9, 4), (1, 3, 3, 4), (1, 9, 9, 4), dilation=2)
POOL = graph("AVERAGE_POOL_2D", (1, 25, 5, 64), (1, 1, 1, 64))
SOFTMAX = graph("SOFTMAX", (1, 12), (1, 12))
DENSE = graph("FULLY_CONNECTED", (1, 64), (10, 64), (1, 10))


@pytest.mark.parametrize(
    ("model", "dsp", "plain"),
    [
        (CONV_3X3, 2 * 27 * 2, 2 * 27 * 2),  # two columns of 27 int16, on any core
        (POINTWISE, 0, 0),
        (STRIDED_1X1, 2 * 16 * 2, 2 * 16 * 2),  # not the fast 1x1
        (DEPTHWISE, 64 * 9 * 2, 0),  # one column, only with DSP
        (MULTIPLIED, 0, 0),
        (DILATED, 0, 0),
        (POOL, 64 * 4, 0),
        (SOFTMAX, 0, 0),
        (DENSE, 0, 0),
    ],
)
def test_cmsis_nn(model: Graph, dsp: int, plain: int) -> None:
    for core, size in ((M4, dsp), ("cortex-m7", dsp), (M0, plain), ("cortex-m3", plain)):
        assert [one.scratch for one in scratch_bytes(model, "cmsis-nn", core).ops] == ([size] if size else [])


def test_cmsis_nn_dense_over_many_rows_keeps_tables() -> None:
    model = graph("FULLY_CONNECTED", (1, 5, 8), (10, 8), (1, 5, 10))
    found = scratch_bytes(model, "cmsis-nn", M4)
    assert found.ops == (OpScratch(0, "FULLY_CONNECTED", 0, kept=80),)
    assert found.bytes == 80
    odd = graph("FULLY_CONNECTED", (1, 5, 6), (10, 6), (1, 5, 10))  # a depth that is no multiple of 4
    assert scratch_bytes(odd, "cmsis-nn", M4).bytes == 0


@pytest.mark.parametrize(
    ("model", "size"),
    [
        # a row of 9 values is less than 16: sums 16 x 4 + 16, 17 windows of 27 filled up to 32, 16, 64 of margin
        (CONV_3X3, 64 + 16 + 17 * 32 + 16 + 64),
        # filters 16 x 32, eight pixels transposed as int16: 2 x 8 x 16, 64
        (POINTWISE, 512 + 256 + 64),
        # filters 16 x 32 and their rows again; 4 x 2 - 8 leaves nothing to fill up; 64, sums 32 x 4
        (STRIDED_1X1, 512 + 512 + 64 + 128),
        # filters 9 x 64, input with its border (25 + 2) x (5 + 2) x 64, 16
        (DEPTHWISE, 576 + 27 * 7 * 64 + 16),
        # multiplier 8: filters 80 x 8 and input 49 x 40, both as int16, 32
        (MULTIPLIED, 2 * (640 + 1960) + 32),
        # 4 channels filled up to 8: filters 9 x 8 x 2, input 81 x 8 x 2, output 81 x 8 (656), tables 3 x 8 x 4, 16
        (DILATED, 144 + 1296 + 656 + 96 + 16),
        (SOFTMAX, 48),
    ],
)
def test_esp_nn_on_the_s3(model: Graph, size: int) -> None:
    assert [one.scratch for one in scratch_bytes(model, "esp-nn", S3).ops] == [size]


@pytest.mark.parametrize(
    ("input_shape", "filters", "size"),
    [
        ((1, 9, 9, 16), (1, 3, 3, 16), 144 + 16),  # neither padding nor border: the filters alone
        ((1, 9, 9, 24), (1, 3, 3, 24), 9 * 32 + 9 * 9 * 32 + 7 * 7 * 32 + 64),
        ((1, 9, 9, 8), (1, 3, 3, 8), 2 * (72 + 648) + 32),
        ((1, 9, 9, 8), (1, 5, 5, 8), 2 * (200 + 648) + 32),
        ((1, 60, 60, 8), (1, 5, 5, 8), 2 * (200 + 60 * 5 * 8) + 32),
        ((1, 9, 9, 2), (1, 3, 3, 2), 32),
    ],
)
def test_esp_nn_depthwise_on_the_s3(input_shape: tuple[int, ...], filters: tuple[int, ...], size: int) -> None:
    _, height, width, channels = input_shape
    output = (1, height - filters[1] + 1, width - filters[2] + 1, channels)
    model = window("DEPTHWISE_CONV_2D", input_shape, filters, output)
    assert scratch_bytes(model, "esp-nn", S3).ops[0].scratch == size


def test_esp_nn_depthwise_on_the_s3_in_strips() -> None:
    model = window("DEPTHWISE_CONV_2D", (1, 60, 60, 16), (1, 3, 3, 16), (1, 60, 60, 16))
    assert scratch_bytes(model, "esp-nn", S3).ops[0].scratch == 144 + 62 * 3 * 16 + 16  # 62 x 62 x 16 is over 40 KiB


def test_esp_nn_elsewhere_asks_only_for_softmax() -> None:
    for core in (LX6, C3):
        assert scratch_bytes(SOFTMAX, "esp-nn", core).bytes == 48
        assert all(scratch_bytes(model, "esp-nn", core).bytes == 0 for model in (CONV_3X3, DEPTHWISE, POOL, DENSE))


def test_reference_kernels_ask_for_nothing() -> None:
    assert scratch_bytes(CONV_3X3, "reference", M4).bytes == 0


@pytest.mark.parametrize(
    ("model", "ops", "scratch"),
    [
        ("tiny", ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D"], [2 * 9 * 2, 4 * 9 * 2, 4 * 4]),
        ("residual", ["CONV_2D"] * 3, [2 * 9 * 2, 2 * 72 * 2, 2 * 72 * 2]),
        (
            "kws_ref_model",
            ["CONV_2D", *["DEPTHWISE_CONV_2D"] * 4, "AVERAGE_POOL_2D"],
            [160, 1152, 1152, 1152, 1152, 256],
        ),
    ],
)
def test_a_graph_needs_its_largest_scratch_in_whole_16_bytes(
    model_file: Callable[[str], Path], model: str, ops: list[str], scratch: list[int]
) -> None:
    found = scratch_bytes(read_model(model_file(model)), "cmsis-nn", M4)
    assert [one.name for one in found.ops] == ops
    assert [one.scratch for one in found.ops] == scratch
    assert found.bytes == -(-max(scratch) // 16) * 16
    assert scratch_bytes(CONV_3X3, "cmsis-nn", M4).bytes == 112  # 108


def test_a_tensor_of_too_few_axes_is_a_model_error() -> None:
    with pytest.raises(ModelError, match=r"op 0 \(CONV_2D\)"):
        scratch_bytes(window("CONV_2D", (1, 8), (4, 8), (1, 4)), "cmsis-nn", M4)
