"""The picture of a plan: one rectangle for each value, no colour of its own, the same bytes each time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from kd_embedded import report_pictures
from kd_embedded.planner import Plan, plan
from kd_embedded.program import Call, Overlap

STEPS = ("CONV_2D", "RELU", "SOFTMAX")


def example() -> Plan:
    steps = (
        Call("conv", 0, (0,), (1,), scratch=40),
        Call("lookup", 1, (1,), (2,), overlaps=(Overlap(0, "same"),)),
        Call("softmax", 2, (2,), (3,)),
    )
    return plan(steps, {0: 100, 1: 2048, 2: 2048, 3: 10}, (0,), (3,))


def test_every_value_is_a_rectangle() -> None:
    svg = report_pictures.arena(example(), STEPS, "Arena")
    for part, count in (("part0", 2), ("part1", 2), ("part2", 1)):  # tensors; input and output; scratch
        assert len(re.findall(rf"fill: var\(--{part}\)", svg)) == count
    assert svg.count("2 048") == 2


def test_it_stands_in_a_page() -> None:
    svg = report_pictures.arena(example(), STEPS, 'A "small" <arena>')
    assert not re.search(r"#[0-9a-f]{6}", svg)
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert root.get("aria-label") == 'A "small" <arena>: 5 values in 2188 bytes over 3 steps'
    assert svg == report_pictures.arena(example(), STEPS, 'A "small" <arena>')


def test_an_arena_of_nothing() -> None:
    assert "<svg" in report_pictures.arena(plan((), {0: 0}, (0,), (0,)), (), "Arena")
