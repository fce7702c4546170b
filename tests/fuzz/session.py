"""A run of many cases: made from a seed, compared in batches on every leg, shrunk where they fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuzz import arithmetic, graphs, macs, moves
from fuzz.build import Case
from fuzz.c_legs import Leg, Runner
from fuzz.draw import Draw, shrink
from fuzz.legs import Outcome, difference, expected, numpy_leg
from kd_embedded import ops
from kd_embedded.errors import KdError

CASES: dict[str, Callable[[Draw], Case]] = {
    name: make
    for name, make in {**moves.CASES, **macs.CASES, **arithmetic.CASES, **graphs.CASES}.items()
    if name == "GRAPH" or ops.spec(name).reference is not None
}
REFERENCE = "reference"
_GRAPHS = 4  # every so manieth case is a whole graph
_BATCH = 120


@dataclass(frozen=True, eq=False)
class Failure:
    """A case that one leg does not compute as BUILTIN_REF does."""

    name: str
    leg: str
    what: str
    case: Case

    @property
    def replay(self) -> str:
        """What ``scripts/fuzz_ops --replay`` takes."""
        return f"{self.name}:{','.join(map(str, self.case.made))}"


@dataclass
class Tally:
    """What was run. ``refused``: cases of which BUILTIN_REF computes nothing; ``compared``: bytes by leg."""

    cases: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)


def make(name: str, made: Sequence[int]) -> Case:
    """The case that the numbers ``made`` give."""
    return CASES[name](Draw(made))


def seeded(names: Sequence[str], count: int, seed: int, first: int = 0) -> Iterator[tuple[str, Case]]:
    """``count`` cases from number ``first`` on: graphs and the ops of ``names`` by turns."""
    singles = [name for name in names if name != "GRAPH"]
    for i in range(first, first + count):
        turn, rest = divmod(i, _GRAPHS)
        whole = "GRAPH" in names and (rest == 0 or not singles)
        name = "GRAPH" if whole else singles[(turn * (_GRAPHS - 1) + rest - 1) % len(singles)]
        yield name, CASES[name](Draw.seeded(seed, i))


class Session:
    """Compares cases on the reference and on the ``legs``, whose programs lie in ``folder``."""

    def __init__(self, legs: Sequence[str], folder: Path) -> None:
        self.tally = Tally()
        self._runners = {text: Runner(Leg.parse(text), folder / text.replace("/", "_")) for text in legs}

    def run(self, cases: Sequence[tuple[str, Case]]) -> Iterator[Failure]:
        """The failures, batch by batch."""
        for start in range(0, len(cases), _BATCH):
            yield from self._batch(cases[start : start + _BATCH])

    def shrunk(self, failure: Failure, tries: int) -> Failure:
        """The simplest case found that fails on the same leg."""
        best = failure

        def fails(made: list[int]) -> bool:
            nonlocal best
            try:
                case = make(failure.name, made)
            except Exception:  # numbers from which no case can be made
                return False
            (wanted,) = expected([case])
            (found,) = self._outcomes(failure.leg, [case])
            what = difference(wanted, found)
            if what and _kind(what) == _kind(failure.what):
                best = Failure(failure.name, failure.leg, what, case)
                return True
            return False

        shrink(failure.case.made, fails, tries)
        return best

    def _batch(self, cases: Sequence[tuple[str, Case]]) -> Iterator[Failure]:
        wanted = expected([case for _, case in cases])
        self.tally.cases.update(name for name, _ in cases)
        for (name, _), outcome in zip(cases, wanted, strict=True):
            if isinstance(outcome, KdError):
                self.tally.refused[name] += 1
        for leg in (REFERENCE, *self._runners):
            outcomes = self._outcomes(leg, [case for _, case in cases])
            for (name, case), right, found in zip(cases, wanted, outcomes, strict=True):
                what = difference(right, found)
                if what:
                    yield Failure(name, leg, what, case)
                elif not isinstance(right, KdError):
                    self.tally.compared[leg] += right.size

    def _outcomes(self, leg: str, cases: Sequence[Case]) -> Sequence[Outcome]:
        return [numpy_leg(case) for case in cases] if leg == REFERENCE else self._runners[leg].run(cases)


def _kind(what: str) -> str:
    """Refusals and differences are failures of two kinds: one is not shrunk to the other."""
    return what.split(":")[0] if what.startswith("refused") else "differs"
