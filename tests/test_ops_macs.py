"""Ops that multiply: the NumPy reference against BUILTIN_REF, the portable C kernels against the NumPy reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numpy.typing import NDArray

from kd_embedded import interpreters, ops
from kd_embedded.errors import ModelError
from kd_embedded.program import Call, Overlap, Target
from kd_embedded.tflite.graph import Graph, Op
from kd_embedded.tflite.read import parse_model
from tests.kernel_runner import Job, Runner
from tests.mac_models import Case, batches, convolutions, dense_layers, depthwise_convolutions, transposed_convolutions

_STRATEGIES = {
    "conv": convolutions(),
    "depthwise": depthwise_convolutions(),
    "dense": dense_layers(),
    "transposed": transposed_convolutions(),
}
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


@pytest.mark.parametrize("kind", _STRATEGIES)
def test_reference_is_builtin_ref(kind: str) -> None:
    """The converter never writes what is refused here, and the oracle refuses nothing that is accepted."""
    if interpreters.oracle() != "builtin_ref":
        pytest.skip("needs tflite-runtime")

    @_quick
    @given(batches(_STRATEGIES[kind]))
    def check(cases: list[Case]) -> None:
        wanted = interpreters.run_batch("builtin_ref", [c.model for c in cases], [c.inputs for c in cases])
        for case, outputs in zip(cases, wanted, strict=True):
            if isinstance(outputs, ModelError):
                assert not _is_accepted(case), f"{case} {outputs}"
            elif _is_accepted(case):
                assert np.array_equal(_reference(case).reshape(-1), outputs.reshape(-1)), case

    check()


@pytest.mark.parametrize("kind", _STRATEGIES)
@pytest.mark.parametrize("overlapping", [False, True], ids=["apart", "overlapping"])
def test_kernels_are_the_reference(kind: str, overlapping: bool, runner: Runner) -> None:
    """Byte for byte and without undefined behaviour; overlapping, as close to the input as the call allows."""

    @_quick
    @given(batches(_STRATEGIES[kind]))
    def check(drawn: list[Case]) -> None:
        cases = [case for case in drawn if _is_accepted(case)]
        assert len(cases) > len(drawn) // 2
        wanted = [_reference(case)[0].reshape(-1) for case in cases]
        for case, expected, found in zip(cases, wanted, _run(runner, cases, overlapping), strict=True):
            assert np.array_equal(found, expected), case

    check()


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
    graph, op = _op(case)
    spec = ops.spec(op.name)
    assert spec.lower
    steps = spec.lower(graph, op, Target())
    return tuple(step for step in steps if isinstance(step, Call))


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
