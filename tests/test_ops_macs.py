"""Ops that multiply: the NumPy reference against BUILTIN_REF, the portable C kernels against the NumPy reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.legs import expected
from hypothesis import HealthCheck, Phase, given, settings
from numpy.typing import NDArray

from kd_embedded import ops
from kd_embedded.errors import ModelError
from kd_embedded.program import Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor
from kd_embedded.tflite.read import parse_model
from tests.conftest import needs_builtin_ref
from tests.kernel_runner import Job, Runner
from tests.mac_models import Case, batches, convolutions, dense_layers, depthwise_convolutions, transposed_convolutions
from tests.tflite_builder import O, T, build

_STRATEGIES = {
    "conv": convolutions(),
    "depthwise": depthwise_convolutions(),
    "dense": dense_layers(),
    "transposed": transposed_convolutions(),
}
_KERNELS = ("clip", "conv", "depthwise", "fully_connected", "transpose_conv")
_quick = settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow, HealthCheck.large_base_example],
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(
        tmp_path_factory.mktemp("kernels"), ["clip", "conv", "depthwise", "fully_connected", "transpose_conv"]
    )


def _op(case: Case) -> tuple[Graph, Op]:
    graph = parse_model(case.model, "case")
    return graph, graph.ops[-1]


def _is_accepted(case: Case) -> bool:
    graph, op = _op(case)
    accepts = ops.spec(op.name).accepts
    assert accepts
    try:
        accepts(graph, op)
    except ModelError:
        return False
    return True


def _reference(case: Case) -> NDArray[Any]:
    """int8 [N, *output shape]."""
    graph, op = _op(case)
    spec = ops.spec(op.name)
    assert spec.reference
    inputs = [_value(graph, i, case) for i in op.inputs]
    return spec.reference(graph, op, inputs)[0]


def _value(graph: Graph, index: int, case: Case) -> NDArray[Any] | None:
    if index < 0:
        return None
    tensor = graph.tensors[index]
    return case.inputs.reshape(-1, *tensor.shape) if tensor.data is None else tensor.data[np.newaxis]


@needs_builtin_ref
@pytest.mark.parametrize("kind", _STRATEGIES)
def test_reference_is_the_oracle(kind: str) -> None:
    """That is BUILTIN_REF, or TFLM where that is known to be wrong: dense layers per channel on more than two axes.

    The converter never writes what is refused here, and the oracle refuses nothing that is accepted.
    """

    @_quick
    @given(batches(_STRATEGIES[kind]))
    def check(cases: list[Case]) -> None:
        for case, outputs in zip(cases, expected(cases), strict=True):
            if isinstance(outputs, ModelError):
                assert not _is_accepted(case), f"{case} {outputs}"
            elif _is_accepted(case):
                assert np.array_equal(_reference(case).reshape(-1), outputs.reshape(-1)), case

    check()


@pytest.mark.parametrize("kind", _STRATEGIES)
@pytest.mark.parametrize("overlapping", [False, True], ids=["apart", "overlapping"])
def test_kernels_are_the_reference(kind: str, overlapping: bool, runner: Runner) -> None:
    """Byte for byte and without undefined behaviour; overlapping, as close to the input as the call allows."""
    _compare(runner, kind, overlapping)


def _compare(runner: Runner, kind: str, overlapping: bool) -> None:
    @_quick
    @given(batches(_STRATEGIES[kind]))
    def check(drawn: list[Case]) -> None:
        cases = [case for case in drawn if _is_accepted(case)]
        assert len(cases) > len(drawn) // 2
        wanted = [_reference(case)[0].reshape(-1) for case in cases]
        for case, right, found in zip(cases, wanted, _run(runner, cases, overlapping), strict=True):
            assert np.array_equal(found, right), case

    check()


@pytest.mark.parametrize("kind", ["dense", "transposed"])
def test_arithmetic_of_cores_without_a_long_multiplication(kind: str, tmp_path: Path) -> None:
    """Armv6-M multiplies otherwise (fixedpoint.h)."""
    runner = Runner(tmp_path, _KERNELS, ["-D__ARM_ARCH_6M__=1"])
    _compare(runner, kind, overlapping=False)


def test_gaps_are_the_least() -> None:
    """A 3 x 3 window trails by a row and a pixel; rows that grow end behind those still to be read."""
    graph, op = _small("DEPTHWISE_CONV_2D", {"DepthMultiplier": 1}, 1, shape=[1, 3, 3, 2], data=np.ones((1, 3, 3, 2)))
    graph = replace(graph, tensors=(*graph.tensors[:2], _bias_of(graph, 2), _like_input(graph), *graph.tensors[4:]))
    (call,) = (step for step in _lowered(graph, op) if isinstance(step, Call))
    assert call.overlaps == (Overlap(0, "forward", 4 * 2 + 2),)
    graph, op = _small("CONV_2D", {}, 1, shape=[3, 1, 1, 2], data=np.ones((3, 1, 1, 2)))
    (call,) = (step for step in _lowered(graph, op) if isinstance(step, Call))
    assert call.overlaps == (Overlap(0, "backward", 16 * 3 - 15 * 2),)


def _lowered(graph: Graph, op: Op) -> tuple[Step, ...]:
    lower = ops.spec(op.name).lower
    assert lower
    return lower(graph, op, Target())


def _bias_of(graph: Graph, channels: int) -> Tensor:
    return replace(graph.tensors[2], shape=(channels,), data=np.ones(channels, np.int32))


def _like_input(graph: Graph) -> Tensor:
    return replace(graph.tensors[0], index=3, quant=graph.tensors[3].quant)


_WINDOW = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "Padding": 0}
_TABLES = {
    "CONV_2D": ("Conv2DOptions", _WINDOW, (3, 2, 2, 2)),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", {**_WINDOW, "DepthMultiplier": 3}, (1, 2, 2, 6)),
    "TRANSPOSE_CONV": ("TransposeConvOptions", {"StrideH": 1, "StrideW": 1, "Padding": 0}, (3, 2, 2, 2)),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {"KeepNumDims": True}, (3, 2)),
}


def _small(name: str, attributes: dict[str, int] | None = None, tensor: int = 0, **changes: Any) -> tuple[Graph, Op]:
    """A sound op of kind ``name`` on [1, 4, 4, 2], but for ``attributes`` and the ``changes`` to one tensor."""
    options, known, shape = _TABLES[name]
    channels = shape[3] if name == "DEPTHWISE_CONV_2D" else shape[0]
    tensors = [
        T([1, 4, 4, 2], "int8", 0.5, 3),
        T(shape, "int8", 0.25, 0, data=np.ones(shape), name="w"),
        T([channels], "int32", 0.125, 0, data=np.ones(channels), name="b"),
        T([1, 4, 4, channels], "int8", 2.0, 0),
        T([4], "int32", None, data=np.array([1, 4, 4, channels])),
    ]
    for field, value in changes.items():
        setattr(tensors[tensor], field, value)
    inputs = [4, 1, 0, 2] if name == "TRANSPOSE_CONV" else [0, 1, 2]
    graph = parse_model(build(tensors, [O(name, inputs, [3], options, {**known, **(attributes or {})})]), "small")
    return graph, graph.ops[0]


@pytest.mark.parametrize("name", _TABLES)
def test_sound(name: str) -> None:
    """What the refusals below start from is accepted."""
    graph, op = _small(name)
    accepts = ops.spec(name).accepts
    assert accepts
    accepts(graph, op)


_IMAGES = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


@pytest.mark.parametrize(
    ("names", "attributes", "tensor", "changes", "told"),
    [
        (_IMAGES, {"StrideH": 0}, 0, {}, "stride_h 0"),
        (_IMAGES[:2], {"DilationWFactor": 70000}, 0, {}, "dilation_w_factor 70000"),
        (_TABLES, {"FusedActivationFunction": 4}, 0, {}, "fused activation TANH"),
        (("DEPTHWISE_CONV_2D",), {"DepthMultiplier": 2}, 0, {}, "depth_multiplier 2"),
        (("FULLY_CONNECTED",), {"WeightsFormat": 1}, 0, {}, "SHUFFLED4x16INT8"),
        (("FULLY_CONNECTED",), {"KeepNumDims": False}, 0, {}, "computes \\[16, 3\\]"),
        (("FULLY_CONNECTED",), {}, 2, {"scale": 0.5}, "whose scale is not input's times weights'"),
        (("CONV_2D",), {}, 1, {"zero_point": 1}, "tensor w.* zero point"),
        (_TABLES, {}, 0, {"dtype": "int16"}, "type int16"),
        (_TABLES, {}, 0, {"scale": None}, "not quantized"),
        (_TABLES, {}, 0, {"scale": [0.5] * 4, "zero_point": [0] * 4, "axis": 1}, "4 scales and not one"),
        (_TABLES, {}, 0, {"data": np.zeros((1, 4, 4, 2))}, "constant .* as its input"),
        (_TABLES, {}, 0, {"shape": [1, 4, 4, 3]}, ""),
        (_IMAGES, {}, 0, {"shape": [4, 4, 2]}, "shape \\[4, 4, 2\\]"),
        (_TABLES, {}, 1, {"data": None}, "tensor w.* not constant"),
        (_TABLES, {}, 1, {"scale": None}, "tensor w.* not quantized"),
        (_TABLES, {}, 2, {"data": None}, "tensor b.* not a constant"),
        (_TABLES, {}, 2, {"dtype": "int8"}, "tensor b.* not a constant of type int32"),
        (_TABLES, {}, 2, {"shape": [2], "data": np.ones(2)}, "tensor b.* 2 values"),
        (_TABLES, {}, 2, {"zero_point": 1}, "tensor b.* zero point"),
        (_TABLES, {}, 3, {"shape": [1, 4, 5, 3]}, "4, 5, 3"),
        (_TABLES, {}, 3, {"scale": 1e-12}, "multiplies its sums"),
        (_TABLES, {}, 3, {"dtype": "int16"}, "type int16"),
        (("TRANSPOSE_CONV",), {}, 4, {"data": None}, "not a constant list"),
    ],
)
def test_refused(names: Sequence[str], attributes: dict[str, int], tensor: int, changes: Any, told: str) -> None:
    """What the reference or our kernels would not compute is refused by the op's name and index."""
    for name in names:
        graph, op = _small(name, attributes, tensor, **changes)
        accepts = ops.spec(name).accepts
        assert accepts
        with pytest.raises(ModelError, match=rf"op 0 \({name}\).*{told}.*--engine tflm"):
            accepts(graph, op)


def _run(runner: Runner, cases: Sequence[Case], overlapping: bool) -> list[NDArray[Any]]:
    """The first sample's outputs of each case by its calls."""
    calls = [_lower(case) for case in cases]
    jobs, places = [], []
    for case, (first, *_) in zip(cases, calls, strict=True):
        job, place = _job(case, first, first.overlaps[0] if overlapping and first.overlaps else None)
        jobs.append(job)
        places.append(place)
    outputs = [areas[area][begin:end] for areas, (area, begin, end) in zip(runner.run(jobs), places, strict=True)]
    clipped = [i for i, (_, *more) in enumerate(calls) if more]
    again = [Job(calls[i][1], (outputs[i],), ((0, 0), (0, 0))) for i in clipped]
    for i, areas in zip(clipped, runner.run(again), strict=True):
        outputs[i] = areas[0]
    return outputs


def _lower(case: Case) -> tuple[Call, ...]:
    return tuple(step for step in _lowered(*_op(case)) if isinstance(step, Call))


def _job(case: Case, call: Call, overlap: Overlap | None) -> tuple[Job, tuple[int, int, int]]:
    """The call on the first sample, and where its output will be: area, begin, end."""
    graph, op = _op(case)
    x, size = case.inputs[0], graph.tensors[op.outputs[0]].bytes
    scratch = () if call.scratch is None else (np.full(call.scratch, 77, np.int8),)
    if overlap is None:
        areas = (x, np.full(size, 88, np.int8), *scratch)
        return Job(call, areas, tuple((i, 0) for i in range(len(areas)))), (1, 0, size)
    whole = max(x.size + overlap.gap, size)
    begin = 0 if overlap.kind == "forward" else whole - size
    source = overlap.gap if overlap.kind == "forward" else whole - overlap.gap - x.size
    area = np.full(whole, 88, np.int8)
    area[source : source + x.size] = x
    operands = ((0, source), (0, begin), *((1, 0) for _ in scratch))
    return Job(call, (area, *scratch), operands), (0, begin, begin + size)
