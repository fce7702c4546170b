"""The planner against an interpreter of its plans that poisons dead bytes, and against trying every address."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_embedded.aot import compile_model
from kd_embedded.planner import Plan, Value, plan
from kd_embedded.program import Alias, Array, Call, Family, Optimize, Overlap, Step, Stream, Target

DATA = Path(__file__).resolve().parent / "data"
POISON = ("poison", 0)
ARRAY = Array("weights", None)  # an operand that is no tensor


@dataclass(frozen=True)
class Case:
    steps: tuple[Step, ...]
    sizes: Mapping[int, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def plan(self) -> Plan:
        return plan(self.steps, self.sizes, self.inputs, self.outputs)


def call(inputs: Sequence[Any], outputs: Sequence[int], *overlaps: Overlap, scratch: int | None = None) -> Call:
    return Call("kernel", 0, tuple(inputs), tuple(outputs), scratch=scratch, overlaps=overlaps)


# ---------------------------------------------------------------------------------------------------------------------
# The interpreter: memory that knows whose byte each byte is


class ClobberedError(Exception):
    """A kernel read a byte that is no longer what was written there."""


@dataclass
class Machine:
    """Runs a case at given addresses, each kernel with the worst schedule of reads and writes that its rules allow.

    A byte of memory holds (value, index): ``value`` is renewed with every call that writes a tensor, so that a stale
    byte of an updated tensor is noticed too.
    """

    case: Case
    offsets: Mapping[int, int]
    scratch: Sequence[int | None]
    descending: bool  # the order of kernels that may go either way
    memory: dict[int, tuple[Any, int]] = field(default_factory=dict)
    stamps: dict[int, Any] = field(default_factory=dict)
    names: dict[int, int] = field(default_factory=dict)  # tensor to the first tensor that has its bytes

    def run(self) -> None:
        for tensor in self.case.inputs:
            self._fill(tensor, "input")
        for at, step in enumerate(self.case.steps):
            if isinstance(step, Alias):
                self.names[step.output] = self._name(step.input)
            else:
                self._call(at, step)
            self._poison(at)
        for tensor in self.case.outputs:
            self._check(tensor, range(self.case.sizes[tensor]))

    def _name(self, tensor: int) -> int:
        return self.names.get(tensor, tensor)

    def _fill(self, tensor: int, stamp: Any) -> None:
        self.stamps[self._name(tensor)] = (tensor, stamp)
        for i in range(self.case.sizes[tensor]):
            self.memory[self.offsets[tensor] + i] = ((tensor, stamp), i)

    def _check(self, tensor: int, indices: Any) -> None:
        for i in indices:
            if self.memory.get(self.offsets[tensor] + i) != (self.stamps[self._name(tensor)], i):
                raise ClobberedError(f"byte {i} of tensor {tensor}")

    def _call(self, at: int, step: Call | Stream) -> None:
        notes = {(self.scratch[at] or 0) + i: (("scratch", at), i) for i in range(step.scratch or 0)}
        self.memory.update(notes)
        written = step.outputs[0]
        size = self.case.sizes[written]
        backwards = any(rule.kind == "backward" for rule in step.overlaps)
        forwards = any(rule.kind == "forward" for rule in step.overlaps)
        descending = backwards or (self.descending and not forwards)
        operands = [(p, i) for p, i in enumerate(step.inputs) if isinstance(i, int) and i not in step.outputs]
        for i in step.inputs:  # a kernel that updates in place reads each byte before it writes it
            if i in step.outputs:
                self._check(i, range(self.case.sizes[i]))
        done = {p: 0 for p, _ in operands}
        fresh = (written, at)
        for k in range(size):
            index = size - 1 - k if descending else k
            for p, tensor in operands:
                self._read_before(step, p, tensor, k, index, descending, done)
            self.memory[self.offsets[written] + index] = (fresh, index)
        for p, tensor in operands:  # whatever was not read yet is read in the end
            self._check(tensor, self._rest(step, p, tensor, size, descending, done))
        if not notes.items() <= self.memory.items():
            raise ClobberedError(f"scratch of step {at}")
        self.stamps[self._name(written)] = fresh

    def _read_before(
        self, step: Call | Stream, p: int, tensor: int, k: int, index: int, descending: bool, done: dict[int, int]
    ) -> None:
        """Reads of operand ``p`` what the rules promise is read before the ``k``-th byte is written, and no more."""
        total = self.case.sizes[tensor]
        for rule in step.overlaps:
            if rule.input != p:
                continue
            if rule.kind == "same":
                self._check(tensor, [index] if index < total else [])
                continue
            promised = max(0, min(total, k - rule.gap + 1))
            order = range(total - 1, -1, -1) if descending else range(total)
            self._check(tensor, order[done[p] : promised])
            done[p] = max(done[p], promised)

    def _rest(
        self, step: Call | Stream, p: int, tensor: int, size: int, descending: bool, done: dict[int, int]
    ) -> range:
        total = self.case.sizes[tensor]
        kinds = {rule.kind for rule in step.overlaps if rule.input == p}
        if "same" in kinds:
            return range(min(size, total), total)
        return range(total - 1 - done[p], -1, -1) if descending else range(done[p], total)

    def _poison(self, at: int) -> None:
        """All bytes but those of tensors that are read later."""
        later = [i for step in self.case.steps[at + 1 :] if not isinstance(step, Alias) for i in step.inputs]
        unite = dict(self.names)
        for step in self.case.steps[at + 1 :]:
            if isinstance(step, Alias):
                unite[step.output] = unite.get(step.input, step.input)
        needed = {unite.get(i, i) for i in (*later, *self.case.outputs) if isinstance(i, int)}
        live = {
            (self.stamps[name], i)
            for name in needed & self.stamps.keys()
            for i in range(max(self.case.sizes[t] for t in {name, *(t for t, n in unite.items() if n == name)}))
        }
        self.memory = {address: byte if byte in live else POISON for address, byte in self.memory.items()}


def survives(case: Case, offsets: Mapping[int, int], scratch: Sequence[int | None]) -> bool:
    try:
        for descending in (False, True):
            Machine(case, offsets, scratch, descending).run()
    except ClobberedError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Random programs


@st.composite
def overlaps(draw: st.DrawFn, operands: int, largest: int) -> tuple[Overlap, ...]:
    """Rules of one kernel, which goes one way: forward or backward, or as it likes where addresses are the same."""
    kind = draw(st.sampled_from(["forward", "backward", "same", "none"]))
    if kind == "none":
        return ()
    positions = [p for p in range(operands) if draw(st.booleans())]
    gaps = st.integers(-largest // 2, largest)
    return tuple(Overlap(p, kind, 0 if kind == "same" else draw(gaps)) for p in positions)


@st.composite
def cases(draw: st.DrawFn, steps: int, largest: int) -> Case:
    sizes = {0: draw(st.integers(1, largest))}
    program: list[Step] = []
    for _ in range(draw(st.integers(1, steps))):
        made = list(sizes)
        output = len(sizes)
        if draw(st.integers(0, 5)) == 0:
            source = draw(st.sampled_from(made))
            program.append(Alias(0, source, output))
            sizes[output] = sizes[source]
            continue
        operands = [draw(st.sampled_from(made[-3:])) for _ in range(draw(st.integers(1, 2)))]
        sizes[output] = draw(st.integers(1, largest))
        scratch = draw(st.sampled_from([None, None, 0, 1, largest]))
        rules = draw(overlaps(len(operands), largest))
        program.append(call([*operands, ARRAY], [output], *rules, scratch=scratch))
        if draw(st.integers(0, 4)) == 0:
            program.append(call([output], [output]))  # a clamp in place
    return Case(tuple(program), MappingProxyType(sizes), (0,), (len(sizes) - 1,))


@given(case=cases(steps=9, largest=40))
@settings(max_examples=250, deadline=None)
def test_no_live_byte_is_overwritten(case: Case) -> None:
    found = case.plan()
    assert survives(case, found.offsets, found.scratch_offsets)


@given(case=cases(steps=9, largest=40))
@settings(max_examples=100, deadline=None)
def test_a_plan_is_what_it_says(case: Case) -> None:
    found = case.plan()
    assert all(value.offset % 4 == 0 and value.offset >= 0 for value in found.values)
    assert found.arena_bytes % 4 == 0
    assert max(value.offset + value.bytes for value in found.values) <= found.arena_bytes
    assert found.arena_bytes < max(value.offset + value.bytes for value in found.values) + 4
    for at, step in enumerate(case.steps):
        scratch = None if isinstance(step, Alias) else step.scratch
        assert (found.scratch_offsets[at] is None) == (scratch is None)


@given(case=cases(steps=3, largest=14))
@settings(max_examples=120, deadline=None)
def test_no_smaller_arena_exists(case: Case) -> None:
    """Every choice of addresses in a smaller arena destroys a byte, says the interpreter."""
    found = case.plan()
    assert found.optimal
    for offsets, scratch in _everywhere(case, found, found.arena_bytes - 4):
        assert not survives(case, offsets, scratch), (offsets, scratch)


def _everywhere(case: Case, found: Plan, arena: int) -> Any:
    choices = [range(0, arena - value.bytes + 1, 4) for value in found.values]
    total = 1
    for each in choices:
        total *= len(each)
    if total > 20_000:
        return
    for places in itertools.product(*choices):
        offsets: dict[int, int] = {}
        scratch: list[int | None] = [None] * len(case.steps)
        for value, place in zip(found.values, places, strict=True):
            offsets.update(dict.fromkeys(value.tensors, place))
            if not value.tensors:
                scratch[value.first] = place
        yield offsets, scratch


@given(case=cases(steps=12, largest=400))
@settings(max_examples=60, deadline=None)
def test_the_same_program_has_the_same_plan(case: Case) -> None:
    first, second = case.plan(), case.plan()
    assert first.values == second.values and dict(first.offsets) == dict(second.offsets)


# ---------------------------------------------------------------------------------------------------------------------
# Cases by hand


def chain(sizes: Sequence[int], *rules: tuple[Overlap, ...], scratch: Sequence[int | None] = ()) -> Case:
    scratch = scratch or [None] * len(rules)
    steps = tuple(call([i], [i + 1], *each, scratch=scratch[i]) for i, each in enumerate(rules))
    return Case(steps, dict(enumerate(sizes)), (0,), (len(sizes) - 1,))


def test_without_rules_neighbours_lie_apart() -> None:
    assert chain([100, 60, 80], (), ()).plan().arena_bytes == 160


def test_element_wise_in_place() -> None:
    found = chain([100, 100, 100], (Overlap(0, "same"),), (Overlap(0, "same"),)).plan()
    assert found.arena_bytes == 100
    assert dict(found.offsets) == {0: 0, 1: 0, 2: 0}


def test_a_chain_of_forward_steps_walks_down() -> None:
    found = chain([100, 100, 100], (Overlap(0, "forward", 20),), (Overlap(0, "forward", 30),)).plan()
    assert found.arena_bytes == 152  # 20 and 30, the latter rounded up to an aligned address
    assert found.offsets[0] - found.offsets[1] >= 20 and found.offsets[1] - found.offsets[2] >= 30


def test_a_wider_output_is_written_backwards() -> None:
    found = chain([100, 104], (Overlap(0, "backward", 16),), scratch=[12]).plan()
    assert found.arena_bytes == 128
    assert found.offsets[1] + 104 - found.offsets[0] - 100 >= 16


def test_what_is_read_later_is_not_overwritten() -> None:
    steps = (call([0], [1], Overlap(0, "same")), call([0, 1], [2], Overlap(0, "same"), Overlap(1, "same")))
    found = Case(steps, {0: 64, 1: 64, 2: 64}, (0,), (2,)).plan()
    assert found.arena_bytes == 128  # the residual sum lies in one of its addends


def test_an_operand_given_twice_must_suit_both_rules() -> None:
    one = Case((call([0, 0], [1], Overlap(0, "same")),), {0: 64, 1: 64}, (0,), (1,))
    both = Case((call([0, 0], [1], Overlap(0, "same"), Overlap(1, "same")),), {0: 64, 1: 64}, (0,), (1,))
    assert (one.plan().arena_bytes, both.plan().arena_bytes) == (128, 64)


def test_a_later_part_of_an_output_does_not_use_the_rule() -> None:
    steps = (call([0], [2]), call([1], [2], Overlap(0, "same")))
    found = Case(steps, {0: 32, 1: 32, 2: 64}, (0, 1), (2,)).plan()
    assert found.arena_bytes == 128


def test_tensors_united_by_a_reshape_have_one_address() -> None:
    steps = (call([0], [1]), Alias(0, 1, 2), call([2], [3]))
    found = Case(steps, {0: 10, 1: 24, 2: 24, 3: 10}, (0,), (3,)).plan()
    assert found.offsets[1] == found.offsets[2]
    assert found.values[1] == Value((1, 2), 24, 0, 2, found.offsets[1])


def test_scratch_lies_apart_from_its_operands_and_from_what_waits() -> None:
    steps = (call([0], [1]), call([1], [2], Overlap(0, "same"), scratch=40), call([0, 2], [3]))
    found = Case(steps, {0: 20, 1: 20, 2: 20, 3: 4}, (0,), (3,)).plan()
    assert found.arena_bytes == 80
    assert found.scratch_offsets[1] is not None


def test_the_search_finds_what_no_greedy_order_does() -> None:
    """First fit needs 80 bytes in each of the orders that the search starts from."""
    steps = (
        call([0], [1], scratch=24),
        call([0, 1], [2], Overlap(0, "forward", 8), Overlap(1, "forward", -12)),
        call([1], [3], Overlap(0, "backward", 4)),
        call([2], [4], Overlap(0, "same")),
    )
    case = Case(steps, {0: 36, 1: 12, 2: 32, 3: 36, 4: 12}, (0,), (4,))
    found = case.plan()
    assert (found.arena_bytes, found.optimal) == (76, True)
    assert survives(case, found.offsets, found.scratch_offsets)


def test_the_machine_notices_what_it_is_there_for() -> None:
    """The interpreter itself: an overlap one word too far destroys a byte, whatever the kind of rule."""
    for kind, gap, good, bad in (
        ("forward", 8, {0: 8, 1: 0}, {0: 4, 1: 0}),
        ("backward", 8, {0: 0, 1: 8}, {0: 0, 1: 4}),
        ("same", 0, {0: 0, 1: 0}, {0: 4, 1: 0}),
        ("same", 0, {0: 0, 1: 0}, {0: 0, 1: 4}),
    ):
        case = chain([32, 32], (Overlap(0, kind, gap),))
        assert survives(case, good, [None])
        assert not survives(case, bad, [None])


@pytest.mark.parametrize("optimize", ["speed", "ram"])
@pytest.mark.parametrize("family", ["c", "dsp", "helium"])
@pytest.mark.parametrize("name", ["residual", "tiny"])
def test_programs_of_models_survive(name: str, family: Family, optimize: Optimize) -> None:
    """The rules that the kernels state, with the schedules that they allow."""
    model = (DATA / f"{name}.tflite").read_bytes()
    program = compile_model(model, name, Target(family, optimize))
    sizes = {tensor.index: tensor.bytes for tensor in program.graph.tensors}
    case = Case(program.steps, sizes, program.graph.inputs, program.graph.outputs)
    assert survives(case, program.plan.offsets, program.plan.scratch_offsets)
    assert program.plan.optimal


@pytest.mark.parametrize("branches", [30, 90])
def test_large_graphs_are_planned_within_bounded_work(branches: int) -> None:
    """A deep network with residual sums, scratch and rules of all kinds: found, and shown to be the smallest."""
    sizes, steps = {0: 3072}, []
    for i in range(branches):
        sizes[i + 1] = 16384 // (1 + i // 10) + 64 * (i % 7)
        operands = [i] if i % 3 or i < 3 else [i, i - 2]
        steps.append(call(operands, [i + 1], Overlap(0, "forward", 96 * (i % 4)), scratch=(None, 576, 2304)[i % 3]))
    found = Case(tuple(steps), sizes, (0,), (branches,)).plan()
    assert found.optimal
