"""Ops without weights: the NumPy reference against BUILTIN_REF, the C kernels against the NumPy reference."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fuzz import legs
from fuzz.arithmetic import CASES
from fuzz.build import Case
from fuzz.draw import Draw
from numpy.typing import NDArray

from kd_embedded import interpreters, ops, reference
from kd_embedded.errors import KdError, ModelError
from kd_embedded.fixedpoint import multiply_by_quantized_multiplier, quantize_multiplier
from kd_embedded.ops import _libm, _sums
from kd_embedded.program import Array, Call, Overlap, Target
from kd_embedded.tflite.read import parse_model
from tests.conftest import needs_builtin_ref
from tests.kernel_runner import Job, Runner
from tests.tflite_builder import O, T, build

_OPS = [name for name in CASES if ops.spec(name).lower is not None]
_KERNELS = [
    "add_exact",
    "add_linear",
    "arg_max",
    "average_pool_2d",
    "batch_matmul",
    "clip",
    "log_softmax",
    "lookup",
    "max_pool_2d",
    "maximum",
    "mean",
    "mul",
    "mul_exact",
    "prelu",
    "reduce_max",
    "softmax",
    "squared_difference",
]
_BATCH = 25


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(tmp_path_factory.mktemp("kernels"), _KERNELS)


def _cases(name: str, count: int = _BATCH) -> list[Case]:
    return [CASES[name](Draw.seeded(zlib.crc32(name.encode()), i)) for i in range(count)]


@needs_builtin_ref
@pytest.mark.parametrize("name", _OPS)
def test_reference_is_builtin_ref(name: str) -> None:
    cases, compared = _cases(name), 0
    for case, wanted in zip(cases, legs.expected(cases), strict=True):
        found = legs.numpy_leg(case)
        assert not legs.difference(wanted, found), f"{case.made} {legs.difference(wanted, found)}"
        if isinstance(wanted, KdError):
            assert isinstance(found, KdError), f"{case.made} is refused by BUILTIN_REF alone: {wanted}"
        else:
            compared += 1
    assert compared > _BATCH // 2


@pytest.mark.parametrize("name", _OPS)
def test_kernel_is_reference(name: str, runner: Runner) -> None:
    """With the output apart from the inputs, and on each input that the call says it may lie on, at the limit."""
    runs = [run for case in _cases(name) for run in _runs(case, name)]
    assert len(runs) > _BATCH // 2
    for run, areas in zip(runs, runner.run([run.job for run in runs]), strict=True):
        found = areas[run.area][: run.wanted.nbytes].view(run.wanted.dtype)
        assert np.array_equal(np.clip(found, *run.limits), run.wanted), run.case.made


@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_exact_sums_are_the_reference(name: str, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel for the few scales without a linear form, at all scales."""
    monkeypatch.setattr(_sums, "linear", lambda found: None)
    runs = [run for case in _cases(name) for run in _runs(case, name) if run.job.call.kernel == "add_exact"]
    assert len(runs) > _BATCH // 2
    for run, areas in zip(runs, runner.run([run.job for run in runs]), strict=True):
        assert np.array_equal(areas[run.area][: run.wanted.nbytes], run.wanted), run.case.made


@dataclass(frozen=True, eq=False)
class _Run:
    """A call, the area at whose start its output will be, and what that must be once held in ``limits``."""

    case: Case
    job: Job
    area: int
    wanted: NDArray[Any]
    limits: tuple[int, int]


def _runs(case: Case, name: str) -> Iterator[_Run]:
    graph = parse_model(case.model, "case")
    try:
        values = reference.run_keeping(graph, case.inputs[:1], [t.index for t in graph.tensors if t.data is None])
    except ModelError:
        return
    op = next(op for op in graph.ops if op.name == name)
    lower = ops.spec(name).lower
    assert lower is not None
    call, *clip = lower(graph, op, Target())
    if not isinstance(call, Call):
        return
    limits = (clip[0].args["low"], clip[0].args["high"]) if clip and isinstance(clip[0], Call) else (-(2**31), 2**31)
    wanted = values[op.outputs[0]].reshape(-1)
    inputs = [x.data if isinstance(x, Array) else values[x].reshape(-1) for x in call.inputs]
    for overlap in (None, *call.overlaps):
        job, area = _job(call, inputs, wanted.nbytes, overlap)
        yield _Run(case, job, area, wanted, limits)


def _job(call: Call, inputs: list[NDArray[Any]], size: int, overlap: Overlap | None) -> tuple[Job, int]:
    """The call with each operand in an area of its own; with ``overlap``, input and output share one."""
    areas, places = list(inputs), [(i, 0) for i in range(len(inputs))]
    if overlap is None:
        areas.append(np.full(size, 85, np.int8))
        output = len(areas) - 1
    else:
        assert overlap.kind != "backward"
        output, shared = overlap.input, inputs[overlap.input]
        areas[output] = np.full(max(size, overlap.gap + shared.size), 85, np.int8)
        areas[output][overlap.gap : overlap.gap + shared.size] = shared
        places[output] = (output, overlap.gap)
        places = [places[output] if call.inputs[i] is call.inputs[output] else p for i, p in enumerate(places)]
    places.append((output, 0))
    if call.scratch is not None:
        areas.append(np.full(call.scratch, 85, np.int8))
        places.append((len(areas) - 1, 0))
    return Job(call, tuple(areas), tuple(places)), output


def test_tanhf_is_that_of_the_c_library() -> None:
    """Measured with glibc 2.36, at values around each branch of the algorithm; correct rounding differs by a unit."""
    x = np.array([1e-30, 1e-8, 0.1, 0.25, -0.4, 0.6, -0.99, 1.0, 1.7, -2.5, 8.3, 9.5, -21.9, 40.0], np.float32)
    wanted = [
        0x0DA24260,
        0x322BCC77,
        0x3DCC1EBC,
        0x3E7ACBF5,
        0xBEC288AC,
        0x3F097C15,
        0xBF41E27E,
        0x3F42F7D6,
        0x3F6F76F8,
        0xBF7C92C1,
        0x3F7FFFFE,
        0x3F800000,
        0xBF800000,
        0x3F800000,
    ]
    assert _libm.tanhf(x).view(np.uint32).tolist() == wanted


def test_linear_sums_are_found_for_scales_of_real_models() -> None:
    """Those of the residual additions of a ResNet-8, and ties; what is not found is left to the exact kernel."""

    def found(first: tuple[float, int], second: tuple[float, int], output: tuple[float, int], sign: int = 1) -> Any:
        twice = 2 * max(first[0], second[0])
        reals = (first[0] / twice, second[0] / twice, twice / (output[0] * 2**20))
        a, (multiplier_b, shift_b), c = (quantize_multiplier(real) for real in reals)
        return _sums.linear(_sums.Sum(a, (sign * multiplier_b, shift_b), c, first[1], second[1], output[1]))

    assert found((0.039393551647663116, -128), (0.10419496148824692, 4), (0.050945673137903214, -128))
    assert found((0.044761426746845245, -17), (0.11311884224414825, 4), (0.0532362163066864, -128))
    assert found((0.08385830372571945, 38), (0.21724364161491394, -2), (0.1270691454410553, -128))
    assert found((0.5, 3), (0.5, -7), (1.0, 0))
    assert found((0.37678107619285583, 11), (0.09061428159475327, -12), (0.19978737831115723, 79), -1) is None


@pytest.mark.parametrize(("name", "options", "rank"), [("ADD", "AddOptions", 6), ("MUL", "MulOptions", 6)])
def test_broadcasts_over_as_many_axes_as_the_oracle(name: str, options: str, rank: int, runner: Runner) -> None:
    """Every second axis broadcasts, so that none can be joined. Group normalization does so over five."""
    shape, rng = [1, 2, 3, 2, 3, 2][:rank], np.random.default_rng(0)
    other = [size if axis % 2 else 1 for axis, size in enumerate(shape)]
    tensors = [
        T(shape, "int8", 0.1, 3),
        T(other, "int8", 0.07, -2, data=rng.integers(-128, 128, other)),
        T(shape, "int8", 0.15, 4),
    ]
    ops_ = [O(name, [0, 1], [2], options, version=2)]
    model, inputs = build(tensors, ops_), rng.integers(-128, 128, (2, *shape[1:]), dtype=np.int8)
    if interpreters.oracle() == "builtin_ref":
        wanted = interpreters.run_oracle(model, inputs)
        assert wanted.name == ("builtin_ref" if name == "ADD" else "tflm")
        assert np.array_equal(wanted.outputs, reference.run(parse_model(model, "model"), inputs))
    runs = list(_runs(Case(name, model, inputs), name))
    for run, areas in zip(runs, runner.run([run.job for run in runs]), strict=True):
        assert np.array_equal(areas[run.area], run.wanted)
    longer = [dataclasses.replace(tensor, shape=[1, *tensor.shape]) for tensor in tensors]
    with pytest.raises(ModelError, match=f"broadcasts over {rank + 1} axes, and {rank} are supported"):
        reference.checked(parse_model(build(longer, ops_), "model"))


@pytest.mark.parametrize("name", ["SOFTMAX", "LOG_SOFTMAX"])
def test_rows_with_a_huge_scale(name: str, runner: Runner) -> None:
    """The largest shift there is: all but the largest values of a row count as minus infinity."""
    output = (1 / 256, -128) if name == "SOFTMAX" else (16 / 256, 127)
    attributes: Any = ("SoftmaxOptions", {"Beta": 1.0}) if name == "SOFTMAX" else ("LogSoftmaxOptions", {})
    tensors = [T([1, 9], "int8", 100.0, 3), T([1, 9], "int8", *output)]
    model = build(tensors, [O(name, [0], [1], *attributes, version=2)])
    runs = list(_runs(Case(name, model, np.array([[-128, 5, 127, 5, 4, 127, 126, 0, -1]], np.int8)), name))
    for run, areas in zip(runs, runner.run([run.job for run in runs]), strict=True):
        assert np.array_equal(areas[run.area], run.wanted)
        assert len(set(run.wanted.tolist())) == 2


@pytest.mark.parametrize("name", ["ADD", "MUL", "PRELU"])
def test_many_values_are_what_few_are(name: str) -> None:
    """Large operands are looked up in a table of all pairs."""
    case = _cases(name)[0]
    graph = parse_model(case.model, "case")
    inputs = np.random.default_rng(0).integers(-128, 128, (70_000, *graph.input.shape[1:]), dtype=np.int8)
    spec, op = ops.spec(name), next(op for op in graph.ops if op.name == name)
    values = reference.run_keeping(graph, inputs, [i for i in op.inputs if graph.tensors[i].data is None])
    operands = [values[i] if i in values else np.asarray(graph.tensors[i].data)[np.newaxis] for i in op.inputs]
    assert spec.reference is not None
    whole = spec.reference(graph, op, operands)[0]
    few = [x[:10] if i in values else x for i, x in zip(op.inputs, operands, strict=True)]
    assert np.array_equal(spec.reference(graph, op, few)[0], whole[:10])
    assert len(whole) == len(inputs)


@pytest.mark.parametrize("right", [2, 3, 7, 22])
def test_one_shift_rounds_a_product_as_two_do(right: int) -> None:
    """What the kernel mul computes, for every product of int8 values less their zero points; ties among them."""
    products = np.arange(-255 * 255, 255 * 255 + 1, dtype=np.int64)
    for multiplier in (1 << 30, (1 << 30) + 1, 1518500250, (1 << 31) - 1):
        wanted = multiply_by_quantized_multiplier(products, multiplier, -right)
        addend = (1 << 30) + (1 << (right + 30)) - np.where(products < 0, 1 << 31, 0)
        assert np.array_equal((products * multiplier + addend) >> (right + 31), wanted)
