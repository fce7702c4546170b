"""Damaged models: whatever bytes change, the reader and all behind it end in a KdError or a result, and soon."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_builtin_ref
from fuzz.build import Case
from fuzz.draw import Draw
from fuzz.legs import difference, expected, numpy_leg
from fuzz.session import CASES
from tflite_builder import O, T, build, dense, relu6_alone

from kd_embedded import aot, reference
from kd_embedded.errors import KdError, ModelError
from kd_embedded.program import Target
from kd_embedded.tflite.analyze import analyze
from kd_embedded.tflite.check import check_full_int8, per_channel_dense, tflm_departures
from kd_embedded.tflite.graph import Graph
from kd_embedded.tflite.read import parse_model

_DATA = Path(__file__).resolve().parent / "data"
_SLOW_S = 5.0  # for one mutant; the slowest takes a hundredth of that
_MEMORY_BYTES = 400 << 20  # that all of them may add, at the worst moment
_WORDS = (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

MODELS = {
    "tiny": (_DATA / "tiny.tflite").read_bytes(),
    "residual": (_DATA / "residual.tflite").read_bytes(),
    "dense": dense(per_channel=True),
    "relu6": relu6_alone(after_dense=True),
    **{name: make(Draw.seeded(7, i)).model for i, (name, make) in enumerate(sorted(CASES.items()))},
}


def mutate(model: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bytes, words set to telling values or moved a little, blocks copied, an end cut off."""
    data = bytearray(model)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(data)))
        kind = int(rng.integers(8))
        if kind < 2:
            data[at] = int(rng.integers(256))
        elif kind < 4:
            word = at & ~3
            data[word : word + 4] = int(rng.choice(_WORDS)).to_bytes(4, "little")[: len(data) - word]
        elif kind < 6:  # offsets and lengths: a neighbour's value
            word = at & ~3
            value = int.from_bytes(data[word : word + 4], "little") + int(rng.integers(-8, 9))
            data[word : word + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")[: len(data) - word]
        elif kind == 6:
            size, other = int(rng.integers(1, 64)), int(rng.integers(0, len(data)))
            block = data[other : other + size]
            data[at : at + len(block)] = block
        elif rng.integers(4) == 0:
            del data[at:]
            break
    return bytes(data)


def outcome(data: bytes) -> Graph | None:
    """The graph, if ``data`` is one that the aot engine compiles; anything but a KdError on the way escapes."""
    try:
        graph = parse_model(data, "mutant")
    except KdError as error:
        assert "\n" not in str(error)
        return None
    _survives(lambda: analyze(graph))
    _survives(lambda: tflm_departures(graph))
    _survives(lambda: per_channel_dense(graph))
    _survives(lambda: check_full_int8(graph, "mutant"))
    if not _survives(lambda: reference.checked(graph)):
        return None
    return graph if _survives(lambda: aot.compile_graph(graph, Target())) else None


def _survives(step: Callable[[], object]) -> bool:
    try:
        step()
    except KdError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("part", range(4))
def test_mutants_end_in_a_kd_error_or_a_result(part: int) -> None:
    rng, survivors, slowest = np.random.default_rng(100 + part), 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in sorted(MODELS)[part::4]:
        for _ in range(60):
            data = mutate(MODELS[name], rng)
            start = time.process_time()
            survivors += outcome(data) is not None
            slowest = max(slowest, time.process_time() - start)
            assert slowest < _SLOW_S, (name, slowest)
    assert survivors > 100  # the mutator leaves many models whole enough to get to the end
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < _MEMORY_BYTES


@needs_builtin_ref
def test_mutants_that_are_models_are_computed_as_builtin_ref_does() -> None:
    rng, cases = np.random.default_rng(200), []
    while len(cases) < 150:
        name = sorted(MODELS)[len(cases) % len(MODELS)]
        data = mutate(MODELS[name], rng)
        graph = outcome(data)
        if graph is not None and graph.sha256 != parse_model(MODELS[name], name).sha256:
            x = rng.integers(-128, 128, (2, *graph.input.shape[1:]), dtype=np.int8)
            cases.append(Case(name, data, x))
    for case, wanted in zip(cases, expected(cases), strict=True):
        assert difference(wanted, numpy_leg(case)) == "", case.name


@pytest.mark.parametrize(
    ("tensors", "op", "words"),
    [
        (
            [T([1, 5 << 20]), T([1, 5 << 20])],
            O("RELU", [0], [1]),
            "5242880 bytes of RAM, and the aot engine plans up to 4",
        ),
        (
            [T([1, 4], scale=3e38), T([1, 4], scale=1e-38)],
            O("MUL", [0, 0], [1], "MulOptions"),
            "multiplies its values by",
        ),
    ],
)
def test_what_mutants_have_found(tensors: list[T], op: O, words: str) -> None:
    """Sizes that take a minute and gigabytes to plan; a ratio of scales that no float holds."""
    with pytest.raises(ModelError, match=words):
        aot.compile_graph(parse_model(build(tensors, [op]), "m"), Target())


def test_a_model_of_very_many_channels_is_not_searched_for_dead_ones() -> None:
    width = 200_000
    model = build([T([1, width]), T([1, width], scale=0.2)], [O("RELU", [0], [1])])
    start = time.process_time()
    assert aot.compile_graph(parse_model(model, "m"), Target()).arena_bytes >= width
    assert time.process_time() - start < _SLOW_S
