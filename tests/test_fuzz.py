"""Random models: BUILTIN_REF, our reference, and generated C on the host and on a Cortex-M4, byte for byte.

A bounded, seeded number; ``scripts/fuzz_ops`` runs any number of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_builtin_ref, require_tool
from fuzz import graphs, macs, moves
from fuzz.build import Case
from fuzz.draw import Draw, shrink
from fuzz.legs import difference, expected, numpy_leg
from fuzz.session import CASES, Session, make, seeded
from fuzz.strategies import cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kd_embedded.errors import ModelError

_EMULATED = ("arm-none-eabi-gcc", "qemu-system-arm")
_COUNT = 240  # cases of each leg


@needs_builtin_ref
def test_the_reference_computes_every_op_as_builtin_ref_does(tmp_path: Path) -> None:
    session = Session([], tmp_path)
    failures = list(session.run(list(seeded(list(CASES), 5 * _COUNT, seed=1))))
    assert [(failure.replay, failure.what) for failure in failures] == []
    assert set(session.tally.cases) == set(CASES) and min(session.tally.cases.values()) >= 10
    assert sum(session.tally.refused.values()) < _COUNT // 10 and session.tally.compared["reference"] > 100_000


@needs_builtin_ref
@pytest.mark.parametrize(
    ("leg", "tools"),
    [
        ("host", ("gcc",)),
        ("host//ram", ("gcc",)),
        ("cortex-m4", _EMULATED),
        ("cortex-m4/c/size", _EMULATED),
    ],
)
def test_generated_c_computes_it_too(tmp_path: Path, leg: str, tools: tuple[str, ...]) -> None:
    for tool in tools:
        require_tool(tool)
    session = Session([leg], tmp_path)
    seed = sum(map(ord, leg))
    failures = list(session.run(list(seeded(list(CASES), _COUNT, seed))))
    assert [(failure.leg, failure.replay, failure.what) for failure in failures] == []
    assert session.tally.compared[leg] == session.tally.compared["reference"] > 20_000


@needs_builtin_ref
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(*map(cases, (moves.strided_slice, macs.conv_2d, graphs.graph))), min_size=1, max_size=12))
def test_hypothesis_finds_no_difference(drawn: list[Case]) -> None:
    for case, wanted in zip(drawn, expected(drawn), strict=True):
        assert difference(wanted, numpy_leg(case)) == ""


def test_numbers_replay_a_case() -> None:
    case = CASES["GRAPH"](Draw.seeded(3, 4))
    again = make("GRAPH", case.made)
    assert again.model == case.model and (again.inputs == case.inputs).all()
    other = CASES["GRAPH"](Draw.seeded(3, 5))
    assert other.model != case.model


def test_shrinking_finds_the_number_that_matters() -> None:
    """Of many numbers only that one of the first ten is above 41 matters."""
    made = list(np.random.default_rng(0).integers(0, 100, 60))
    assert max(shrink(made, lambda each: max(each[:10], default=0) > 41, tries=1000)) == 42
    assert shrink([5, 0, 3, 0, 0], lambda each: sum(each) >= 3) == [3]


@pytest.mark.parametrize(
    ("wanted", "found", "words"),
    [
        (np.zeros((1, 3), np.int8), np.zeros((1, 3), np.int8), ""),
        (np.zeros((1, 3), np.int8), np.array([[0, 1, 2]], np.int8), "2 of 3 bytes differ, the first at 1: 1, exp"),
        (np.zeros((1, 3), np.int8), np.zeros((1, 4), np.int8), r"int8 \[1, 4\], expected int8 \[1, 3\]"),
        (np.zeros((1, 3), np.int8), ModelError("no"), "refused: no"),
        (ModelError("no"), np.zeros((1, 3), np.int8), ""),
    ],
)
def test_what_counts_as_a_difference(wanted, found, words: str) -> None:
    told = difference(wanted, found)
    assert bool(told) == bool(words) and re.match(words, told)


@needs_builtin_ref
def test_the_script_replays_and_reports(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parent.parent / "scripts" / "fuzz_ops"
    command = [sys.executable, str(script), "--cores", "", "--out", str(tmp_path)]
    ran = subprocess.run([*command, "--count", "12", "--ops", "PAD"], capture_output=True, text=True, check=True)
    assert "12 cases, of which BUILTIN_REF refuses 0; 0 failures" in ran.stdout
    replayed = subprocess.run([*command, "--replay", "PAD:1,2,3"], capture_output=True, text=True, check=True)
    assert "1 cases" in replayed.stdout and list(tmp_path.iterdir()) == []
    wrong = subprocess.run([*command, "--ops", "NOTHING"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "no cases for NOTHING" in wrong.stderr
