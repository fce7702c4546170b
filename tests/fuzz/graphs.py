"""Random graphs of 2 to 12 ops with branches: residual adds, concatenations, splits, what lies between them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fuzz.build import Case, Model
from fuzz.draw import Draw

_MOST_ELEMENTS = 2000
_SOFTMAX_UNDEFINED = 512  # values in a row, from which on the reference's behaviour can be undefined: ops/softmax.py
_Step = Callable[[Model, int], int | None]


def graph(draw: Draw) -> Case:
    """Each op takes a tensor made before, mostly the newest, and the last one is the output."""
    model = Model(draw)
    source = model.source([1, draw.integer(1, 8), draw.integer(1, 8), draw.integer(1, 6)], _quant(draw))
    made, wanted = [source], draw.integer(2, 12)
    for _ in range(4 * wanted):
        if len(model.ops) >= wanted:
            break
        index = made[-1] if not draw.chance(3) else draw.pick(made)
        found = draw.pick(_STEPS)(model, index)
        if found is not None:
            made.append(found)
    return model.case("GRAPH", [made[-1]])


def _quant(draw: Draw) -> tuple[float, int]:
    """Scale and zero point as a trained model has them, so that values do not all saturate on the way."""
    return float(np.float32((1 + draw.below(1000) / 1000) * 2.0 ** -draw.integer(2, 6))), draw.zero_point()


def _like(model: Model, index: int, spread: float = 1.0) -> tuple[float, int]:
    """A scale near that of ``index``."""
    draw = model.draw
    scale = model.quant(index)[0] * spread * 2.0 ** draw.integer(-1, 1) * (1 + draw.below(1000) / 1000)
    return float(np.float32(scale)), draw.zero_point()


def _is_image(model: Model, index: int) -> bool:
    return len(model.shape(index)) == 4


def conv(model: Model, index: int) -> int | None:
    if not _is_image(model, index):
        return None
    draw, (_, height, width, deep) = model.draw, model.shape(index)
    depthwise = draw.chance(2)
    wide = deep if depthwise else draw.integer(1, 8)
    kernel = [draw.pick([1, 3, 2]), draw.pick([1, 3, 2])]
    stride, same = draw.integer(1, 2), not draw.chance(3)
    reach = [height, width] if same else [height - kernel[0] + 1, width - kernel[1] + 1]
    if min(reach) < 1:
        return None
    made = [-(-size // stride) for size in reach]
    shape = [1, *kernel, deep] if depthwise else [wide, *kernel, deep]
    scales = [_quant(draw)[0] for _ in range(wide)]
    values, axis = draw.values(shape, -127), 3 if depthwise else 0
    for channel in range(wide if draw.chance(2) else 0):  # channels of constant output, as trained models have them
        values[(slice(None),) * axis + (channel,)] *= draw.below(2)
    weights = model.constant(values, "int8", scales, [0] * wide, axis)
    biases = [float(np.float32(scale) * np.float32(model.quant(index)[0])) for scale in scales]
    bias = model.constant(draw.values([wide], -2000, 2000), "int32", biases, [0] * wide)
    terms = math.prod(kernel) * (1 if depthwise else deep)
    output = model.activation([1, *made, wide], _like(model, index, max(scales) * 64 * math.sqrt(terms)))
    name, options = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
    attributes = {"DepthMultiplier": 1} if depthwise else {}
    attributes |= {"Padding": 0 if same else 1, "StrideH": stride, "StrideW": stride}
    attributes |= {"FusedActivationFunction": draw.pick([0, 1, 3])}
    model.op(name, [index, weights, bias], [output], options, 3, **attributes)
    return output


def dense(model: Model, index: int) -> int | None:
    """On the last axis. With more than two, one scale for all channels: BUILTIN_REF is wrong with a scale for each."""
    draw, shape = model.draw, model.shape(index)
    rows, per_channel = draw.integer(1, 10), len(shape) == 2 and draw.chance(2)
    scales = [_quant(draw)[0] for _ in range(rows if per_channel else 1)]
    weights = model.constant(draw.values([rows, shape[-1]], -127), "int8", scales, [0] * len(scales))
    products = [float(np.float32(scale) * np.float32(model.quant(index)[0])) for scale in scales]
    bias = model.constant(draw.values([rows], -2000, 2000), "int32", products, [0] * len(scales))
    output = model.activation([*shape[:-1], rows], _like(model, index, max(scales) * 64 * math.sqrt(shape[-1])))
    options = {"FusedActivationFunction": draw.pick([0, 1, 3]), "KeepNumDims": len(shape) > 2}
    model.op("FULLY_CONNECTED", [index, weights, bias], [output], "FullyConnectedOptions", 5, **options)
    return output


def flatten(model: Model, index: int) -> int | None:
    shape = model.shape(index)
    if len(shape) == 2:
        return None
    output = model.activation([shape[0], math.prod(shape[1:])], model.quant(index))
    model.reshape(index, output)
    return output


def residual(model: Model, index: int) -> int | None:
    """The sum, product, maximum... of ``index`` and another tensor of its shape, itself at worst."""
    draw, shape = model.draw, model.shape(index)
    others = [i for i in _activations(model) if model.shape(i) == shape and i != index]
    other = draw.pick(others[::-1]) if others else index
    name, options = draw.pick([("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")])
    spread = model.quant(other)[0] * 64 if name == "MUL" else max(1.0, model.quant(other)[0] / model.quant(index)[0])
    output = model.activation(shape, _like(model, index, spread))
    pair = [index, other] if draw.chance(2) else [other, index]
    model.op(name, pair, [output], options, 2, FusedActivationFunction=draw.pick([0, 1, 3]))
    return output


def requantize(model: Model, index: int) -> int | None:
    draw = model.draw
    name, options = draw.pick(
        [("QUANTIZE", "QuantizeOptions"), ("RELU", ""), ("RELU6", ""), ("LEAKY_RELU", "LeakyReluOptions")]
    )
    output = model.activation(model.shape(index), _like(model, index))
    model.op(name, [index], [output], options, 2, **({"Alpha": 0.3} if name == "LEAKY_RELU" else {}))
    return output


def squash(model: Model, index: int) -> int | None:
    if model.shape(index)[-1] >= _SOFTMAX_UNDEFINED:
        return None
    name, quant, options, extra = model.draw.pick(
        [
            ("LOGISTIC", (1 / 256, -128), "", {}),
            ("TANH", (1 / 128, 0), "", {}),
            ("SOFTMAX", (1 / 256, -128), "SoftmaxOptions", {"Beta": 1.0}),
        ]
    )
    output = model.activation(model.shape(index), quant)
    model.op(name, [index], [output], options, 2, **extra)
    return output


def pool(model: Model, index: int) -> int | None:
    if not _is_image(model, index):
        return None
    draw, (_, height, width, deep) = model.draw, model.shape(index)
    size = [min(height, draw.integer(1, 3)), min(width, draw.integer(1, 3))]
    stride, same = draw.integer(1, 2), draw.chance(2)
    reach = [height, width] if same else [height - size[0] + 1, width - size[1] + 1]
    output = model.activation([1, *(-(-each // stride) for each in reach), deep], model.quant(index))
    options = {"Padding": 0 if same else 1, "StrideH": stride, "StrideW": stride}
    options |= {"FilterHeight": size[0], "FilterWidth": size[1]}
    model.op(draw.pick(["AVERAGE_POOL_2D", "MAX_POOL_2D"]), [index], [output], "Pool2DOptions", 2, **options)
    return output


def mean(model: Model, index: int) -> int | None:
    if not _is_image(model, index):
        return None
    keep = model.draw.chance(2)
    deep = model.shape(index)[3]
    output = model.activation([1, 1, 1, deep] if keep else [1, deep], _like(model, index))
    model.op("MEAN", [index, model.constant([1, 2])], [output], "ReducerOptions", 2, KeepDims=keep)
    return output


def pad(model: Model, index: int) -> int | None:
    draw, shape = model.draw, model.shape(index)
    pads = [[0, 0]] + [[draw.integer(0, 2), draw.integer(0, 2)] for _ in shape[1:]]
    made = [size + sum(each) for size, each in zip(shape, pads, strict=True)]
    if math.prod(made) > _MOST_ELEMENTS:
        return None
    output = model.activation(made, model.quant(index))
    model.op("PAD", [index, model.constant(pads)], [output], "PadOptions")
    return output


def join(model: Model, index: int) -> int | None:
    """``index`` beside other tensors that match it along all axes but the last, with its scale."""
    draw, shape = model.draw, model.shape(index)
    others = [
        i for i in _activations(model) if model.shape(i)[:-1] == shape[:-1] and model.quant(i) == model.quant(index)
    ]
    parts = [index, *(draw.pick(others[::-1]) for _ in range(draw.integer(0, 2)))]
    parts = [parts[i] for i in draw.order(len(parts))]
    wide = sum(model.shape(i)[-1] for i in parts)
    if math.prod(shape[:-1]) * wide > _MOST_ELEMENTS:
        return None
    output = model.activation([*shape[:-1], wide], model.quant(index))
    model.op("CONCATENATION", parts, [output], "ConcatenationOptions", Axis=-1)
    return output


def split(model: Model, index: int) -> int | None:
    """Cuts along an axis; one part goes on, the others wait to be picked or die."""
    draw, shape = model.draw, model.shape(index)
    axes = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
    if not axes:
        return None
    axis = draw.pick(axes)
    counts = [count for count in range(2, shape[axis] + 1) if shape[axis] % count == 0][:2]
    count = draw.pick(counts)
    shape[axis] //= count
    outputs = [model.activation(shape, model.quant(index)) for _ in range(count)]
    model.op("SPLIT", [model.constant(np.array(axis)), index], outputs, "SplitOptions", NumSplits=count)
    return draw.pick(outputs)


def cut(model: Model, index: int) -> int | None:
    draw, shape = model.draw, model.shape(index)
    begins = [0] + [draw.below(size) for size in shape[1:]]
    strides = [1] + [draw.integer(1, 2) for _ in shape[1:]]
    made = [len(range(begin, size, step)) for begin, size, step in zip(begins, shape, strides, strict=True)]
    output = model.activation(made, model.quant(index))
    more = [model.constant(values) for values in (begins, shape, strides)]
    model.op("STRIDED_SLICE", [index, *more], [output], "StridedSliceOptions")
    return output


def transpose(model: Model, index: int) -> int | None:
    draw, shape = model.draw, model.shape(index)
    order = [0, *(axis + 1 for axis in draw.order(len(shape) - 1))]
    output = model.activation([shape[axis] for axis in order], model.quant(index))
    model.op("TRANSPOSE", [index, model.constant(order)], [output], "TransposeOptions")
    return output


def grow(model: Model, index: int) -> int | None:
    if not _is_image(model, index):
        return None
    draw, (_, height, width, deep) = model.draw, model.shape(index)
    made = [height * draw.integer(1, 2), width * draw.integer(1, 2)]
    if math.prod(made) * deep > _MOST_ELEMENTS:
        return None
    output = model.activation([1, *made, deep], model.quant(index))
    name, options = draw.pick(
        [
            ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
            ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        ]
    )
    model.op(name, [index, model.constant(made)], [output], options)
    return output


def _activations(model: Model) -> list[int]:
    """Tensors that are there by now: the input and what ops have made."""
    return [model.input, *(index for op in model.ops for index in op.outputs)]


_STEPS: tuple[_Step, ...] = (
    conv,
    residual,
    requantize,
    conv,
    pool,
    residual,
    join,
    flatten,
    dense,
    split,
    pad,
    cut,
    mean,
    transpose,
    squash,
    grow,
)
CASES: dict[str, Callable[[Draw], Case]] = {"GRAPH": graph}
