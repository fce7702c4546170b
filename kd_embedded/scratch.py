"""Arena that a board's kernel library asks for beyond what the reference kernels of the host take.

TFLM kernels ask in ``Prepare`` (``RequestScratchBufferInArena``) for buffers that live only while their op runs, so a
model needs the largest of them, and now and then (``AllocatePersistentBuffer``) for memory they keep, so it needs their
sum. The formulas were read from, and compared with, the C of the libraries that ``boards/tflm`` names:

- CMSIS-NN as in Chirale_TensorFLowLite 2.0.0 (46da2f98): src/third_party/cmsis_nn/Source, called from
  src/tensorflow/lite/micro/kernels/cmsis_nn
- esp-nn 1.2.3 (5f0a807e): src/convolution, src/softmax, called from esp-tflite-micro 1.3.7 (6dcc4ae7):
  tensorflow/lite/micro/kernels/esp_nn
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kd_embedded.ops.spec import input_tensor, output_tensor, size
from kd_embedded.tflite.graph import Graph, Op, Tensor

ALIGNMENT = 16  # of every buffer in the arena: micro_arena_constants.h, MicroArenaBufferAlignment
# Cores whose compiler defines __ARM_FEATURE_DSP, and so CMSIS-NN's ARM_MATH_DSP (arm_nn_math_types.h:100). A Cortex-M33
# may be built without; its buffers are then smaller than counted here.
_DSP_CORES = ("cortex-m4", "cortex-m7", "cortex-m33")
# esp-nn has code of its own for the S3; ESP32, C3 and the others share the generic one (esp_nn.h:42-48).
_S3_CORE = "xtensa-lx7"


@dataclass(frozen=True)
class OpScratch:
    """What one op asks for, in bytes: ``scratch`` while it runs, ``kept`` for good."""

    index: int
    name: str
    scratch: int
    kept: int = 0


@dataclass(frozen=True)
class Scratch:
    """``ops``: those that ask for anything. ``bytes``: what the arena grows by, the largest scratch and all kept."""

    ops: tuple[OpScratch, ...]
    bytes: int


@dataclass(frozen=True)
class _Window:
    """A convolution's shape in elements, as the C functions take it. ``pad_*`` is the left and top padding."""

    input_h: int
    input_w: int
    input_c: int
    filter_h: int
    filter_w: int
    output_h: int
    output_w: int
    output_c: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_h: int
    pad_w: int


def scratch_bytes(graph: Graph, kernels: str, core: str) -> Scratch:
    """What ``kernels`` ("cmsis-nn", "esp-nn", "reference") ask for on ``core`` to run the int8 ``graph``.

    ModelError where an op lacks a tensor that its kernel reads.
    """
    if kernels == "cmsis-nn":
        rules = _CMSIS_NN_DSP if core in _DSP_CORES else _CMSIS_NN_PLAIN
    elif kernels == "esp-nn":
        rules = _ESP_NN_S3 if core == _S3_CORE else _ESP_NN_GENERIC
    else:
        rules = {}
    asked = [rules[op.name](graph, op) for op in graph.ops if op.name in rules]
    asking = tuple(one for one in asked if one.scratch or one.kept)
    largest = max((_aligned(one.scratch) for one in asking), default=0)
    return Scratch(asking, largest + sum(_aligned(one.kept) for one in asking))


def _aligned(count: int, to: int = ALIGNMENT) -> int:
    return -(-count // to) * to


def _window(graph: Graph, op: Op) -> _Window:
    input_h, input_w, input_c = _hwc(graph, op, input_tensor(graph, op, 0))
    filter_h, filter_w, _ = _hwc(graph, op, input_tensor(graph, op, 1))
    output_h, output_w, output_c = _hwc(graph, op, output_tensor(graph, op))
    stride_h, stride_w = op.options.get("stride_h", 1), op.options.get("stride_w", 1)
    dilation_h, dilation_w = op.options.get("dilation_h_factor", 1), op.options.get("dilation_w_factor", 1)
    return _Window(
        *(input_h, input_w, input_c, filter_h, filter_w, output_h, output_w, output_c),
        *(stride_h, stride_w, dilation_h, dilation_w),
        pad_h=_padding(input_h, filter_h, output_h, stride_h, dilation_h),
        pad_w=_padding(input_w, filter_w, output_w, stride_w, dilation_w),
    )


def _hwc(graph: Graph, op: Op, tensor: Tensor) -> tuple[int, int, int]:
    return size(graph, op, tensor, 1), size(graph, op, tensor, 2), size(graph, op, tensor, 3)


def _padding(length: int, filter_length: int, output: int, stride: int, dilation: int) -> int:
    """tensorflow/lite/kernels/padding.h:32, ComputePaddingWithOffset; 0 for VALID by itself."""
    reach = (filter_length - 1) * dilation + 1
    return max(0, (output - 1) * stride + reach - length) // 2


def _cmsis_nn_conv(graph: Graph, op: Op) -> OpScratch:
    """arm_convolve_wrapper_s8_get_buffer_size: none for a plain 1x1, else two im2col columns of int16, on any core.

    ConvolutionFunctions/arm_convolve_wrapper_s8.c:108, arm_convolve_1x1_s8_fast.c:134, arm_convolve_1_x_n_s8.c:152,
    arm_convolve_s8.c:319.
    """
    w = _window(graph, op)
    ones = (w.stride_h, w.stride_w, w.filter_h, w.filter_w, w.dilation_h, w.dilation_w)
    if (w.pad_h, w.pad_w) == (0, 0) and set(ones) == {1}:
        return OpScratch(op.index, op.name, 0)
    return OpScratch(op.index, op.name, 2 * w.input_c * w.filter_h * w.filter_w * 2)


def _cmsis_nn_depthwise(graph: Graph, op: Op) -> OpScratch:
    """arm_depthwise_conv_wrapper_s8_get_buffer_size: with DSP, one int16 column where no channel is multiplied.

    ConvolutionFunctions/arm_depthwise_conv_wrapper_s8.c:116, arm_depthwise_conv_s8_opt.c:445.
    """
    w = _window(graph, op)
    plain = w.input_c == w.output_c and w.dilation_h == w.dilation_w == 1
    return OpScratch(op.index, op.name, w.input_c * w.filter_h * w.filter_w * 2 if plain else 0)


def _cmsis_nn_average_pool(graph: Graph, op: Op) -> OpScratch:
    """arm_avgpool_s8_get_buffer_size, PoolingFunctions/arm_avgpool_s8.c:349: with DSP, an int32 for each channel."""
    return OpScratch(op.index, op.name, size(graph, op, input_tensor(graph, op, 0), 3) * 4)


def _cmsis_nn_dense(graph: Graph, op: Op) -> OpScratch:
    """No scratch (FullyConnectedFunctions/arm_fully_connected_s8.c:91), but over more than two axes two kept tables.

    The layer runs as a 1x1 convolution there, with a multiplier and a shift for each channel
    (kernels/cmsis_nn/fully_connected.cpp:109-115).
    """
    output, weights = output_tensor(graph, op), input_tensor(graph, op, 1)
    as_conv = len(output.shape) > 2 and size(graph, op, weights, -1) % 4 == 0
    return OpScratch(op.index, op.name, 0, kept=2 * 4 * output.shape[-1] if as_conv else 0)


def _esp_nn_softmax(graph: Graph, op: Op) -> OpScratch:
    """esp_nn_get_softmax_scratch_size_opt and _esp32s3, softmax/esp_nn_softmax_opt.c:29: an int32 per ``width``.

    The caller takes the width from axis 1 (kernels/esp_nn/softmax.cc:153).
    """
    return OpScratch(op.index, op.name, 4 * size(graph, op, input_tensor(graph, op, 0), 1))


def _esp_nn_s3_conv(graph: Graph, op: Op) -> OpScratch:
    """esp_nn_get_conv_scratch_size_esp32s3, convolution/esp_nn_conv_esp32s3.c:315; the generic code asks for none."""
    w = _window(graph, op)
    if (w.filter_h, w.filter_w, w.pad_h, w.pad_w, w.stride_h, w.stride_w) == (1, 1, 0, 0, 1, 1):
        return OpScratch(op.index, op.name, _esp_nn_s3_pointwise(w))
    row, window = w.filter_w * w.input_c, w.filter_w * w.filter_h * w.input_c
    if row < 16 <= window:  # im2col: sums, aligned filters, one aligned window
        im2col = w.output_c * 4 + 16 + (w.output_c + 1) * _aligned(window) + 16
        return OpScratch(op.index, op.name, im2col + _S3_MARGIN)
    padded = (w.input_w + 2 * w.pad_w) * (w.input_h + 2 * w.pad_h) * w.input_c if w.pad_w or w.pad_h else 0
    filters = w.filter_w * w.filter_h * _aligned(w.input_c) * w.output_c
    filter_rows = _aligned(row) * w.filter_h * w.output_c
    right = max(0, w.output_w * w.stride_w + w.filter_w - 1 - w.input_w)
    bottom = max(0, w.output_h * w.stride_h + w.filter_h - 1 - w.input_h)
    border = (w.input_w + right) * (w.input_h + bottom) * w.input_c if right or bottom else 0
    return OpScratch(op.index, op.name, padded + filters + filter_rows + border + _S3_MARGIN + w.output_c * 4)


_S3_MARGIN = 64  # align_buf_size in the same function: alignment, and what the assembly reads before and after


def _esp_nn_s3_pointwise(w: _Window) -> int:
    channels, pixels = _aligned(w.input_c, 8), w.input_w * w.input_h
    copied = pixels * channels if w.input_c % 8 else 0
    transposed = 2 * 8 * channels if pixels >= 8 else 0
    return copied + channels * w.output_c + transposed + _S3_MARGIN


def _esp_nn_s3_depthwise(graph: Graph, op: Op) -> OpScratch:
    """esp_nn_get_depthwise_conv_scratch_size_esp32s3, convolution/esp_nn_depthwise_conv_s8_esp32s3.c:348."""
    w, multiplier = _window(graph, op), op.options.get("depth_multiplier", 1)
    filters, inputs = w.filter_w * w.filter_h * w.input_c * multiplier, w.input_w * w.input_h * w.input_c
    if multiplier == 1 and w.input_c % 8 == 0:
        if (w.filter_h, w.filter_w) == (3, 3):
            return OpScratch(op.index, op.name, _esp_nn_s3_depthwise_3x3(w))
        widened = 2 * (filters + inputs)
        if widened > 48 * 1024:  # in strips of filter_h rows
            widened = 2 * (filters + w.input_w * w.filter_h * w.input_c)
        return OpScratch(op.index, op.name, widened + 32)
    if multiplier == 1 and w.input_c > 3:
        return OpScratch(op.index, op.name, _esp_nn_s3_depthwise_padded(w))
    return OpScratch(op.index, op.name, 2 * (filters + inputs) + 32 if multiplier % 4 == 0 else 32)


def _esp_nn_s3_depthwise_3x3(w: _Window) -> int:
    """Channels a multiple of 8: as they are, or filled up to a multiple of 16, or as int16 for 8 of them."""
    right, bottom = w.output_w * w.stride_w + 2 - w.input_w, w.output_h * w.stride_h + 2 - w.input_h
    if w.input_c % 16 == 0:
        pad_w, pad_h = (2 * w.pad_w, 2 * w.pad_h) if w.pad_w or w.pad_h else (right, bottom)
        filters = 9 * w.input_c
        if not (pad_w or pad_h):
            return filters + 16
        whole = (w.input_w + pad_w) * (w.input_h + pad_h) * w.input_c
        strip = (w.input_w + pad_w) * 3 * w.input_c
        return filters + (whole if whole <= 40 * 1024 else strip) + 16
    if w.input_c >= 12:
        channels = _aligned(w.input_c)
        width = w.input_w + 2 * w.pad_w + max(0, right)
        height = w.input_h + 2 * w.pad_h + max(0, bottom)
        return 9 * channels + width * height * channels + w.output_w * w.output_h * channels + 64
    return 2 * (9 * w.input_c + w.input_w * w.input_h * w.input_c) + 32


def _esp_nn_s3_depthwise_padded(w: _Window) -> int:
    """Channels filled up to a multiple of 8, all copied: filters and input as int16, output, three int32 tables."""
    channels = _aligned(w.input_c, 8)
    start = _aligned(w.filter_w * w.filter_h * channels * 2)
    start = _aligned(start + w.input_w * w.input_h * channels * 2)
    start = _aligned(start + w.output_w * w.output_h * channels)
    return start + 3 * channels * 4 + 16


_Rules = Mapping[str, Callable[[Graph, Op], OpScratch]]
_CMSIS_NN_PLAIN: _Rules = {"CONV_2D": _cmsis_nn_conv, "FULLY_CONNECTED": _cmsis_nn_dense}
_CMSIS_NN_DSP: _Rules = {
    **_CMSIS_NN_PLAIN,
    "DEPTHWISE_CONV_2D": _cmsis_nn_depthwise,
    "AVERAGE_POOL_2D": _cmsis_nn_average_pool,
}
_ESP_NN_GENERIC: _Rules = {"SOFTMAX": _esp_nn_softmax}
_ESP_NN_S3: _Rules = {
    **_ESP_NN_GENERIC,
    "CONV_2D": _esp_nn_s3_conv,
    "DEPTHWISE_CONV_2D": _esp_nn_s3_depthwise,
}
