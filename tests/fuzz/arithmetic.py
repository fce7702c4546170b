"""Cases of the ops that compute value by value, multiply what is computed, reduce, pool or look up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from tflite.TensorType import TensorType
from tflite_builder import T

from fuzz.build import Case, Model
from fuzz.draw import Draw

_ACTIVATIONS = (0, 0, 1, 3, 2)  # NONE, RELU, RELU6, RELU_N1_TO_1
_Quant = tuple[float, int]


def _shape(draw: Draw, low: int = 1, high: int = 4, most: int = 6) -> list[int]:
    return [draw.integer(1, most) for _ in range(draw.integer(low, high))]


def _near(draw: Draw, scale: float) -> float:
    """A scale from a quarter to four times ``scale``; now and then far from it.

    Never so small that 6, where a RELU6 ends, is more steps than an int32 holds: the reference casts it unchecked.
    """
    reach = 8 if draw.chance(5) else 2
    return max(2.0**-26, float(np.float32(scale * 2.0 ** draw.integer(-reach, reach) * (1 + draw.below(1000) / 1000))))


def _broadcast(draw: Draw, high: int = 4, most: int = 6) -> tuple[list[int], list[int], list[int]]:
    """Two shapes that broadcast, and what they make."""
    result = _shape(draw, 1, high, most)
    kind = draw.below(4)
    if kind == 0:
        return result, list(result), result
    one, other = list(result), list(result)
    for axis in range(len(result)):
        which = draw.below(4)
        one[axis], other[axis] = (1 if which == 1 else one[axis]), (1 if which == 2 else other[axis])
    if kind == 2:
        other = other[draw.below(len(other)) :]
    if kind == 3:
        other = [1]
    made = [max(sizes) for sizes in zip(one, [1] * (len(one) - len(other)) + other, strict=True)]
    return (other, one, made) if draw.chance(3) else (one, other, made)


def _operands(draw: Draw, model: Model, shapes: list[list[int]], quants: list[_Quant]) -> list[int]:
    """Two tensors of the run, or one of them a constant, or the same twice."""
    kind = draw.below(6)
    if kind == 4 and shapes[0] == shapes[1]:
        return model.sources((shapes[0], quants[0])) * 2
    if kind == 5:
        fixed = draw.below(2)
        source = model.source(shapes[1 - fixed], quants[1 - fixed])
        constant = model.constant(draw.values(shapes[fixed]), "int8", *quants[fixed])
        return [constant, source] if fixed == 0 else [source, constant]
    return model.sources(*zip(shapes, quants, strict=True))


def _binary(name: str, options: str, draw: Draw) -> Case:
    model = Model(draw)
    one, other, made = _broadcast(draw)
    first = (draw.scale(), draw.zero_point())
    second = (_near(draw, first[0]), draw.zero_point())
    largest = first[0] * second[0] * 64 if name == "MUL" else max(first[0], second[0])
    if name == "SQUARED_DIFFERENCE":
        largest = largest * largest * 64
    operands = _operands(draw, model, [one, other], [first, second])
    output = model.activation(made, (_near(draw, largest), draw.zero_point()))
    attributes = {} if name == "SQUARED_DIFFERENCE" else {"FusedActivationFunction": draw.pick(_ACTIVATIONS)}
    model.op(name, operands, [output], options, 2, **attributes)
    return model.case(name, [output])


def _extremum(name: str, draw: Draw) -> Case:
    """MAXIMUM and MINIMUM compare the integers: one scale and zero point for all."""
    model, quant = Model(draw), (draw.scale(), draw.zero_point())
    one, other, made = _broadcast(draw)
    operands = _operands(draw, model, [one, other], [quant, quant])
    output = model.activation(made, quant)
    model.op(name, operands, [output], "MaximumMinimumOptions", 2)
    return model.case(name, [output])


def _unary(name: str, draw: Draw, options: str = "", output: _Quant | None = None, version: int = 1) -> Case:
    model = Model(draw)
    quant = (draw.scale(), draw.zero_point())
    source = model.source(_shape(draw), quant)
    result = model.activation(model.shape(source), output or (_near(draw, quant[0]), draw.zero_point()))
    attributes = {"Alpha": draw.pick([0.1, 0.5, 1.5, -0.25, 0.0, 1.0])} if name == "LEAKY_RELU" else {}
    model.op(name, [source], [result], options, version, **attributes)
    return model.case(name, [result])


def exp(draw: Draw) -> Case:
    """The output's scale holds the largest value: the reference casts what is larger without a check."""
    model = Model(draw)
    quant = (2.0 ** -draw.integer(4, 9), draw.zero_point())
    source = model.source(_shape(draw), quant)
    largest = math.exp(quant[0] * (127 - quant[1]))
    result = model.activation(model.shape(source), (float(np.float32(largest / draw.integer(20, 250))), -128))
    model.op("EXP", [source], [result], "ExpOptions", 2)
    return model.case("EXP", [result])


def rsqrt(draw: Draw) -> Case:
    """The reference fails on what is below zero: the input's zero point is the least value."""
    model = Model(draw)
    quant = (draw.scale(), -128)
    source = model.source(_shape(draw), quant)
    largest = 1 / math.sqrt(quant[0])
    result = model.activation(model.shape(source), (_near(draw, largest / 100), draw.zero_point()))
    model.op("RSQRT", [source], [result])
    return model.case("RSQRT", [result])


def prelu(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, 2, 4)
    alpha = [1 if draw.chance(3) else size for size in shape[1:]]
    first = (draw.scale(), draw.zero_point())
    source = model.source([1, *shape[1:]], first)
    slopes = model.constant(draw.values(alpha), "int8", _near(draw, 0.01), draw.zero_point())
    output = model.activation(model.shape(source), (_near(draw, first[0]), draw.zero_point()))
    model.op("PRELU", [source, slopes], [output])
    return model.case("PRELU", [output])


def softmax(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, 1, 4, 12)
    source = model.source(shape)
    output = model.activation(shape, (1 / 256, -128))
    beta = draw.pick([1.0, 1.0, 0.5, 2.0, 0.01])
    model.op("SOFTMAX", [source], [output], "SoftmaxOptions", 2, Beta=beta)
    return model.case("SOFTMAX", [output])


def log_softmax(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, 1, 4, 12)
    source = model.source(shape)
    output = model.activation(shape, (16 / 256, 127))
    model.op("LOG_SOFTMAX", [source], [output], "LogSoftmaxOptions", 2)
    return model.case("LOG_SOFTMAX", [output])


def _pool(name: str, draw: Draw) -> Case:
    model = Model(draw)
    sizes = [draw.integer(1, 9), draw.integer(1, 9)]
    window, stride = ([draw.integer(1, 4), draw.integer(1, 4)] for _ in range(2))
    padding, batch, deep = draw.below(2), 2 if draw.chance(8) else 1, draw.integer(1, 9)
    if padding:
        window = [min(pair) for pair in zip(window, sizes, strict=True)]
        made = [(size - w) // s + 1 for size, w, s in zip(sizes, window, stride, strict=True)]
    else:
        made = [-(-size // s) for size, s in zip(sizes, stride, strict=True)]
    source = model.source([batch, *sizes, deep])
    output = model.activation([batch, *made, deep], model.quant(source))
    model.op(
        name,
        [source],
        [output],
        "Pool2DOptions",
        2,
        Padding=padding,
        StrideH=stride[0],
        StrideW=stride[1],
        FilterHeight=window[0],
        FilterWidth=window[1],
        FusedActivationFunction=draw.pick(_ACTIVATIONS),
    )
    return model.case(name, [output])


def _reduce(name: str, draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source, keep = model.source(shape), draw.chance(2)
    axes = [axis for axis in range(len(shape)) if draw.chance(2)] or [draw.below(len(shape))]
    given = [axis - len(shape) if draw.chance(3) else axis for axis in axes]
    if draw.chance(8):
        given.append(given[0])
    made = [1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes]
    if name in ("MEAN", "SUM"):
        scale, zero = model.quant(source)
        terms = math.prod(shape[axis] for axis in axes) if name == "SUM" else 1
        quant = (scale, zero) if draw.chance(2) else (_near(draw, scale * math.sqrt(terms)), draw.zero_point())
    else:
        quant = model.quant(source)
    output = model.activation(made, quant)
    model.op(name, [source, model.constant(given)], [output], "ReducerOptions", 2, KeepDims=keep)
    return model.case(name, [output])


def _arg_extremum(name: str, draw: Draw) -> Case:
    """Few different values at times, so that there are equals; the output has an axis at least."""
    model, shape = Model(draw), _shape(draw, 2)
    source, axis = model.source(shape), draw.below(len(shape))
    given = model.constant([axis - len(shape) if draw.chance(2) else axis])
    output = model.add(T([size for i, size in enumerate(shape) if i != axis], "int32", None))
    options = "ArgMaxOptions" if name == "ARG_MAX" else "ArgMinOptions"
    model.op(name, [source, given], [output], options, 2, OutputType=TensorType.INT32)
    few = draw.chance(2)
    case = model.case(name, [output])
    return replace(case, inputs=case.inputs // 64) if few else case


def batch_matmul(draw: Draw) -> Case:
    """Every way in which batches broadcast and matrices lie; one of them BUILTIN_REF gets wrong."""
    model = Model(draw)
    one, other, made = _broadcast(draw, 3, 3)
    if draw.chance(3):
        one, other, made = [], ([] if draw.chance(2) else made), made
        made = list(other)
    rows, columns = (draw.integer(1, 14) if draw.chance(3) else draw.integer(1, 5) for _ in range(2))
    depth = draw.integer(1, 60) if draw.chance(3) else draw.integer(1, 9)
    adjoint_x, adjoint_y = draw.chance(2), draw.chance(2)
    shapes = [
        [*one, *((depth, rows) if adjoint_x else (rows, depth))],
        [*other, *((columns, depth) if adjoint_y else (depth, columns))],
    ]
    first, second = (draw.scale(), draw.zero_point()), (draw.scale(), draw.zero_point())
    operands = _operands(draw, model, shapes, [first, second])
    spread = 2.0 ** draw.integer(-14, 20) if draw.chance(5) else 64.0
    largest = model.quant(operands[0])[0] * model.quant(operands[1])[0] * math.sqrt(depth)
    output = model.activation([*made, rows, columns], (_near(draw, largest * spread), draw.zero_point()))
    model.op("BATCH_MATMUL", operands, [output], "BatchMatMulOptions", 2, AdjX=adjoint_x, AdjY=adjoint_y)
    return model.case("BATCH_MATMUL", [output])


CASES: dict[str, Callable[[Draw], Case]] = {
    "ADD": partial(_binary, "ADD", "AddOptions"),
    "SUB": partial(_binary, "SUB", "SubOptions"),
    "MUL": partial(_binary, "MUL", "MulOptions"),
    "SQUARED_DIFFERENCE": partial(_binary, "SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    "BATCH_MATMUL": batch_matmul,
    "MAXIMUM": partial(_extremum, "MAXIMUM"),
    "MINIMUM": partial(_extremum, "MINIMUM"),
    "ABS": partial(_unary, "ABS", options="AbsOptions", version=2),
    "RELU": partial(_unary, "RELU", version=2),
    "RELU6": partial(_unary, "RELU6", version=2),
    "RELU_N1_TO_1": partial(_unary, "RELU_N1_TO_1"),
    "RELU_0_TO_1": partial(_unary, "RELU_0_TO_1"),
    "LEAKY_RELU": partial(_unary, "LEAKY_RELU", options="LeakyReluOptions", version=2),
    "HARD_SWISH": partial(_unary, "HARD_SWISH", options="HardSwishOptions"),
    "LOGISTIC": partial(_unary, "LOGISTIC", output=(1 / 256, -128), version=2),
    "TANH": partial(_unary, "TANH", output=(1 / 128, 0), version=2),
    "EXP": exp,
    "RSQRT": rsqrt,
    "GELU": partial(_unary, "GELU", options="GeluOptions"),
    "QUANTIZE": partial(_unary, "QUANTIZE", options="QuantizeOptions", version=2),
    "PRELU": prelu,
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": log_softmax,
    "AVERAGE_POOL_2D": partial(_pool, "AVERAGE_POOL_2D"),
    "MAX_POOL_2D": partial(_pool, "MAX_POOL_2D"),
    "MEAN": partial(_reduce, "MEAN"),
    "SUM": partial(_reduce, "SUM"),
    "REDUCE_MAX": partial(_reduce, "REDUCE_MAX"),
    "REDUCE_MIN": partial(_reduce, "REDUCE_MIN"),
    "ARG_MAX": partial(_arg_extremum, "ARG_MAX"),
    "ARG_MIN": partial(_arg_extremum, "ARG_MIN"),
}
