"""Where each tensor and each call's scratch lies in the arena: the smallest arena there is, for graphs of this size.

What goes in are the steps of a program with the sizes of its tensors; what comes out are offsets. A pure function: no
clock and no chance, the search is bounded by the work it does.

Tensors that an Alias unites, or that a call updates in place, are one value. A value lives from the step that first
writes it to the step that last reads it (the model's input from before step 0, its output beyond the end); scratch
lives in its call alone. Values that live in the same step lie apart, except that what a call writes first may lie over
an input that the call reads last, as far as the call's ``Overlap`` rules say. So for each pair of values that meet, the
difference of their addresses lies in one of a few intervals, and the search is one over difference constraints:
bounds on every address are propagated through the pairs, and it branches on a pair that is not satisfied yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from kd_embedded.program import Alias, Call, Overlap, Step, Stream

ALIGNMENT = 4  # bytes, of every address and of the arena's size
_UNBOUNDED = 1 << 40
_WORK = 400_000  # visits of a pair in the search: a second or two
_WORK_OF_STEP = 20_000  # the same for the few values that live in one step
_DEAD_ENDS = 32  # after which the search begins again; half as many more each time


@dataclass(frozen=True)
class Value:
    """Bytes of the arena in use from step ``first`` to step ``last``, both included.

    ``tensors`` share them; empty for the scratch of the call ``first``. The model's input has ``first`` -1, its output
    a ``last`` one past the last step.
    """

    tensors: tuple[int, ...]
    bytes: int
    first: int
    last: int
    offset: int


@dataclass(frozen=True)
class Plan:
    """Addresses from the start of the arena, which is aligned to 4, and so are they.

    ``offsets`` by tensor index; ``scratch_offsets`` one for each step, None where it has none. ``optimal`` says that no
    smaller arena exists (within the work that the search may do, that could be shown).
    """

    offsets: Mapping[int, int]
    scratch_offsets: tuple[int | None, ...]
    arena_bytes: int
    values: tuple[Value, ...]
    optimal: bool


def plan(steps: Sequence[Step], sizes: Mapping[int, int], inputs: Sequence[int], outputs: Sequence[int]) -> Plan:
    """The smallest arena for ``steps``, done in order; ``sizes`` has the bytes of each tensor that they name.

    ``inputs`` and ``outputs`` are the model's, tensor indices.
    """
    boxes = _boxes(steps, sizes, inputs, outputs)
    pairs = _pairs(boxes, steps)
    words, optimal = _place([box.words for box in boxes], pairs, _together(boxes))
    values = tuple(
        Value(box.tensors, box.bytes, box.first, box.last, ALIGNMENT * word)
        for box, word in zip(boxes, words, strict=True)
    )
    scratch = {value.first: value.offset for value in values if not value.tensors}
    return Plan(
        offsets=MappingProxyType({i: value.offset for value in values for i in value.tensors}),
        scratch_offsets=tuple(scratch.get(at, 0 if _takes_scratch(step) else None) for at, step in enumerate(steps)),
        arena_bytes=ALIGNMENT * max((box.words + word for box, word in zip(boxes, words, strict=True)), default=0),
        values=values,
        optimal=optimal,
    )


# ---------------------------------------------------------------------------------------------------------------------
# From steps to values that live at certain times


@dataclass
class _Box:
    """A value without its address."""

    tensors: tuple[int, ...]
    bytes: int
    first: int
    last: int

    @property
    def words(self) -> int:
        return -(-self.bytes // ALIGNMENT)

    def lives_in(self, step: int) -> bool:
        return self.first <= step <= self.last


def _boxes(
    steps: Sequence[Step], sizes: Mapping[int, int], inputs: Sequence[int], outputs: Sequence[int]
) -> list[_Box]:
    members = _united(steps)
    found: dict[int, _Box] = {}  # by tensor; united ones share the box

    def live(tensor: int, step: int) -> None:
        if tensor not in found:
            tensors = members.get(tensor, (tensor,))
            box = _Box(tensors, max(sizes[i] for i in tensors), step, step)
            found.update(dict.fromkeys(tensors, box))
        found[tensor].last = step

    for tensor in inputs:
        live(tensor, -1)
    for at, step in enumerate(steps):
        if isinstance(step, Alias):
            continue
        for tensor in (*_read(step), *step.outputs):
            live(tensor, at)
    for tensor in outputs:
        live(tensor, len(steps))
    values = list({id(box): box for box in found.values()}.values())
    return values + [_Box((), scratch, at, at) for at, step in enumerate(steps) if (scratch := _scratch(step))]


def _united(steps: Sequence[Step]) -> dict[int, tuple[int, ...]]:
    """The tensors that share a value with each tensor named by an Alias."""
    members: dict[int, tuple[int, ...]] = {}
    for step in steps:
        if isinstance(step, Alias):
            union = members.get(step.input, (step.input,)) + members.get(step.output, (step.output,))
            members.update(dict.fromkeys(union, union))
    return members


def _read(step: Call | Stream) -> Iterator[int]:
    return (operand for operand in step.inputs if isinstance(operand, int))


def _takes_scratch(step: Step) -> bool:
    """Whether a pointer to scratch is passed, be it to no bytes."""
    return not isinstance(step, Alias) and step.scratch is not None


def _scratch(step: Step) -> int:
    return 0 if isinstance(step, Alias) else step.scratch or 0


def _together(boxes: Sequence[_Box]) -> list[list[int]]:
    """The sets of values that live in one step, without those that are part of another."""
    sets = {frozenset(i for i, box in enumerate(boxes) if box.lives_in(step)) for step in {box.first for box in boxes}}
    return sorted(sorted(each) for each in sets if not any(each < other for other in sets))


# ---------------------------------------------------------------------------------------------------------------------
# Which addresses two values may have

_Intervals = tuple[tuple[int, int], ...]  # sorted and apart, both ends included


@dataclass(frozen=True)
class _Pair:
    """Values that meet: the address of ``b`` less that of ``a``, in words, lies in one of the intervals ``allowed``."""

    a: int
    b: int
    allowed: _Intervals


def _pairs(boxes: Sequence[_Box], steps: Sequence[Step]) -> list[_Pair]:
    pairs = []
    for b, later in enumerate(boxes):
        for a, earlier in enumerate(boxes):
            if earlier.lives_in(later.first) and (earlier.first < later.first or a < b):
                allowed = _allowed(earlier, later, steps)
                if allowed != ((-_UNBOUNDED, _UNBOUNDED),):
                    pairs.append(_Pair(a, b, allowed))
    return pairs


def _allowed(earlier: _Box, later: _Box, steps: Sequence[Step]) -> _Intervals:
    apart = [(-_UNBOUNDED, -later.words), (earlier.words, _UNBOUNDED)]
    step = steps[later.first] if 0 <= later.first < len(steps) else None
    handed_over = earlier.last == later.first and earlier.first < later.first and earlier.tensors and later.tensors
    if not handed_over or step is None or isinstance(step, Alias) or len(set(step.outputs)) != 1:
        return _union(apart)
    allowed: _Intervals = ((-_UNBOUNDED, _UNBOUNDED),)
    for position, operand in enumerate(step.inputs):
        if operand in earlier.tensors:
            rules = [_interval(rule, earlier, later) for rule in step.overlaps if rule.input == position]
            allowed = _intersection(allowed, _union(apart + rules))
    return allowed


def _interval(rule: Overlap, read: _Box, written: _Box) -> tuple[int, int]:
    """Where the value ``written`` may begin, from the beginning of ``read``."""
    if rule.kind == "forward":
        return -_UNBOUNDED, -rule.gap // ALIGNMENT
    if rule.kind == "backward":
        return -(-(rule.gap + read.bytes - written.bytes) // ALIGNMENT), _UNBOUNDED
    return 0, 0


def _union(intervals: Sequence[tuple[int, int]]) -> _Intervals:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return tuple(merged)


def _intersection(left: _Intervals, right: _Intervals) -> _Intervals:
    common = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return _union([(low, high) for low, high in common if low <= high])


# ---------------------------------------------------------------------------------------------------------------------
# The search, in words


def _place(sizes: Sequence[int], pairs: Sequence[_Pair], together: Sequence[Sequence[int]]) -> tuple[list[int], bool]:
    """Addresses, and whether they are known to be the best. No arena is below what one step needs by itself."""
    floor = 0
    for chosen in together:
        if sum(sizes[i] for i in chosen) > floor:
            floor = max(floor, _floor(sizes, pairs, chosen))
    return _smallest(sizes, pairs, floor, _WORK)


def _floor(sizes: Sequence[int], pairs: Sequence[_Pair], chosen: Sequence[int]) -> int:
    """What the ``chosen`` values need at least if there were no others."""
    place = {value: i for i, value in enumerate(chosen)}
    inner = [_Pair(place[pair.a], place[pair.b], pair.allowed) for pair in pairs if {pair.a, pair.b} <= place.keys()]
    own = [sizes[i] for i in chosen]
    found, optimal = _smallest(own, inner, max(own), _WORK_OF_STEP)
    return _top(own, found) if optimal else max(own)


def _smallest(sizes: Sequence[int], pairs: Sequence[_Pair], floor: int, work: int) -> tuple[list[int], bool]:
    """The best addresses found, and whether none are better: first what greedy orders give, then the search.

    The search is for the ``floor`` first, which nearly always can be had, then for halves of what is left between.
    """
    best = min(_greedy(sizes, pairs), key=lambda found: _top(sizes, found))
    search = _Search(sizes, pairs)
    aim, proven = floor, True
    while aim < _top(sizes, best):
        cap = floor if aim == floor else (aim + _top(sizes, best) - 1) // 2
        found = search.run(cap, work // 2)
        work -= search.done
        if found is not None:
            best = found
        else:
            aim, proven = cap + 1, proven and not search.gave_up
    return best, proven


def _top(sizes: Sequence[int], words: Sequence[int]) -> int:
    return max((size + word for size, word in zip(sizes, words, strict=True)), default=0)


def _greedy(sizes: Sequence[int], pairs: Sequence[_Pair]) -> Iterator[list[int]]:
    """Each value at its lowest free address, in several orders: as given, backwards, large ones first."""
    values = range(len(sizes))
    crowded = [0] * len(sizes)
    for pair in pairs:
        crowded[pair.a] += sizes[pair.b]
        crowded[pair.b] += sizes[pair.a]
    by_size = sorted(values, key=lambda i: (-sizes[i], i))
    by_crowd = sorted(values, key=lambda i: (-crowded[i] - sizes[i], i))
    for order in (values, values[::-1], by_size, by_crowd):
        yield _in_order(sizes, pairs, order)


def _in_order(sizes: Sequence[int], pairs: Sequence[_Pair], order: Sequence[int]) -> list[int]:
    words = [-1] * len(sizes)
    near: list[list[tuple[int, _Intervals]]] = [[] for _ in sizes]
    for pair in pairs:
        near[pair.b].append((pair.a, pair.allowed))
        near[pair.a].append((pair.b, tuple((-high, -low) for low, high in reversed(pair.allowed))))
    for i in order:
        placed = [(words[other], allowed) for other, allowed in near[i] if words[other] >= 0]
        starts = {0, *(base + low for base, allowed in placed for low, _ in allowed)}
        words[i] = next(
            start
            for start in sorted(starts)
            if start >= 0 and all(any(low <= start - base <= high for low, high in each) for base, each in placed)
        )
    return words


@dataclass
class _State:
    """What is known on the way down: bounds of every address, and what is left of every pair's intervals."""

    low: list[int]
    high: list[int]
    allowed: list[_Intervals]

    def copy(self) -> _State:
        return _State(self.low.copy(), self.high.copy(), self.allowed.copy())


@dataclass
class _Search:
    """Looks for addresses with which everything ends at a ``cap``; depth first, from the start again now and then.

    A pair that could not be satisfied weighs more from then on, and the heaviest broken pair is decided first: so the
    search comes back to where the difficulty is, wherever in the graph that may be (Boussemart et al., "Boosting
    systematic search by weighting constraints", ECAI 2004).
    """

    sizes: Sequence[int]
    pairs: Sequence[_Pair]
    done: int = 0  # visits of a pair in the last run, and how many it may have
    limit: int = 0
    _near: list[list[int]] = field(default_factory=list)
    _weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._near = [[] for _ in self.sizes]
        for p, pair in enumerate(self.pairs):
            self._near[pair.a].append(p)
            self._near[pair.b].append(p)
        largest = max(self.sizes, default=0) or 1
        self._weights = [(self.sizes[pair.a] + self.sizes[pair.b]) / (2 * largest) for pair in self.pairs]

    def run(self, cap: int, work: int) -> list[int] | None:
        """The addresses; None where there are none, or where they were not found with that ``work`` (``gave_up``)."""
        self.done, self.limit = 0, work
        if max(self.sizes, default=0) > cap:
            return None
        start = _State([0] * len(self.sizes), [cap - size for size in self.sizes], [p.allowed for p in self.pairs])
        if not self._propagate(start, range(len(self.pairs))):
            return None
        dead_ends = _DEAD_ENDS
        while not self.gave_up:
            stack = [start]
            found = self._descend(stack, dead_ends)
            if found is not None or not stack:
                return found
            dead_ends += dead_ends // 2
        return None

    @property
    def gave_up(self) -> bool:
        return self.done >= self.limit

    def _descend(self, stack: list[_State], dead_ends: int) -> list[int] | None:
        """Searches below the states of ``stack``, which is empty afterwards if that was all, for ``dead_ends``."""
        while stack and dead_ends > 0 and not self.gave_up:
            state = stack.pop()
            broken = self._broken(state)
            if broken is None:
                return state.low
            branches = [*self._branches(state, broken)]
            dead_ends -= not branches
            stack += reversed(branches)
        return None

    def _broken(self, state: _State) -> int | None:
        """The heaviest pair that the lowest addresses do not satisfy."""
        worst, weight = None, -1.0
        self.done += len(self.pairs) // 8  # a look is cheaper than a visit
        for p, pair in enumerate(self.pairs):
            difference = state.low[pair.b] - state.low[pair.a]
            if self._weights[p] > weight and not any(low <= difference <= high for low, high in state.allowed[p]):
                worst, weight = p, self._weights[p]
        return worst

    def _branches(self, state: _State, p: int) -> Iterator[_State]:
        """``state`` with pair ``p`` in each of its intervals that can be, the least shift of an address first."""
        difference = state.low[self.pairs[p].b] - state.low[self.pairs[p].a]
        for interval in sorted(state.allowed[p], key=lambda each: max(each[0] - difference, difference - each[1])):
            branch = state.copy()
            branch.allowed[p] = (interval,)
            if self._propagate(branch, [p]):
                yield branch

    def _propagate(self, state: _State, changed: Sequence[int]) -> bool:
        """Narrows bounds and intervals until nothing changes; False where a pair cannot be satisfied."""
        queue, waiting = deque(changed), set(changed)
        while queue:
            self.done += 1
            p = queue.popleft()
            waiting.discard(p)
            moved = self._narrow(state, p)
            if moved is None:
                self._weights[p] += 1
                return False
            for other in (other for value in moved for other in self._near[value]):
                if other not in waiting:
                    waiting.add(other)
                    queue.append(other)
        return True

    def _narrow(self, state: _State, p: int) -> list[int] | None:
        """The values of pair ``p`` whose bounds became narrower; None where none are left."""
        a, b, low, high = self.pairs[p].a, self.pairs[p].b, state.low, state.high
        least, most = low[b] - high[a], high[b] - low[a]
        kept = tuple(each for each in state.allowed[p] if each[0] <= most and each[1] >= least)
        if not kept:
            return None
        state.allowed[p] = kept
        first, last = kept[0][0], kept[-1][1]
        moved = []
        if low[b] < low[a] + first or high[b] > high[a] + last:
            low[b], high[b] = max(low[b], low[a] + first), min(high[b], high[a] + last)
            moved.append(b)
        if low[a] < low[b] - last or high[a] > high[b] - first:
            low[a], high[a] = max(low[a], low[b] - last), min(high[a], high[b] - first)
            moved.append(a)
        return None if low[a] > high[a] or low[b] > high[b] else moved
