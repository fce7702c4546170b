"""Ops computed row by row, for ``optimize = "ram"``: of the tensors between them only rows still to be read are kept.

No row is computed twice. A row is computed as soon as all it reads is there; of the model's large first tensors only as
many rows exist as the next convolution spans. Rows kept lie one behind the other; when the memory of a tensor is full,
the live rows slide to its front (``kernels/slide.c``), which costs far less than the convolution that follows. An
element-wise op writes over the row it reads, so the tensor before it has no memory of its own.

The order of work is found by simulating it (``_Simulation``), and folded into loops (``_fold``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kd_embedded import kernels, ops
from kd_embedded.kernels.layers import Layer
from kd_embedded.ops._layers import to_layer
from kd_embedded.program import Array, Call, Overlap, Place, Repeat, RowCall, Step, Stream, Target
from kd_embedded.tflite.graph import Graph, Op, Tensor

Steps = tuple[Step, ...]
_Part = tuple[tuple[Op, ...], Steps]

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_WORTH = 0.9
_LONGEST_LOOP = 64  # calls; the rows of a few ops repeat sooner


@dataclass(frozen=True, eq=False)
class _Event:
    """One call of the simulated order. ``places`` are (buffer, byte offset) of inputs, then outputs."""

    call: Call
    places: tuple[tuple[int | None, int] | Array, ...]

    def like(self, other: _Event) -> bool:
        return self.call is other.call and len(self.places) == len(other.places)


def smallest(
    graph: Graph, lowered: Sequence[tuple[Op, tuple[Step, ...]]], target: Target, arena: Callable[[Steps], int]
) -> Steps:
    """The steps of ``lowered`` with runs of ops streamed, so that ``arena(steps)`` is small.

    The runs are those whose largest need is least, found by dynamic programming over where they end; what they do not
    show, tensors that wait while others run, ``arena`` tells: a run is streamed only if the arena is larger without,
    and any only if that saves a tenth, for rows of few pixels cost time.
    """
    plain: list[_Part] = [((op,), steps) for op, steps in lowered]
    parts = _partition(_Lowering(graph, target), plain, arena)
    need = arena(_joined(parts))
    for part in [part for part in parts if len(part[0]) > 1]:
        at, ops_of = parts.index(part), part[0]
        undone = [*parts[:at], *(one for one in plain if one[0][0] in ops_of), *parts[at + 1 :]]
        if (without := arena(_joined(undone))) <= need:
            parts, need = undone, without
    return _joined(parts if need <= _WORTH * arena(_joined(plain)) else plain)


def stream(graph: Graph, chosen: Sequence[Op], target: Target) -> Stream | None:
    """``chosen``, consecutive ops, as one Stream; None where they cannot run by rows.

    Each must be a convolution or an element-wise op on [1, H, W, C]; all they produce but the last output is read by
    them alone.
    """
    return _Simulation(_Lowering(graph, target), chosen).stream() if _suits(graph, chosen) else None


def _joined(parts: Sequence[_Part]) -> Steps:
    return tuple(step for _, steps in parts for step in steps)


def _partition(lowering: _Lowering, plain: Sequence[_Part], arena: Callable[[Steps], int]) -> list[_Part]:
    """``plain`` with runs joined to streams: the largest need is least, then the fewest ops are streamed."""
    best: list[tuple[int, int, list[_Part]]] = [(0, 0, [])]  # for the first parts: need, ops streamed, parts
    suits = [_by_rows(lowering.graph, op) for (op, *_), _ in plain]
    for end in range(1, len(plain) + 1):
        need, streamed, before = best[end - 1]
        found = [(max(need, arena(plain[end - 1][1])), streamed, [*before, plain[end - 1]])]
        begin = end - 1
        while begin > 0 and all(suits[begin - 1 : end]):
            begin -= 1
            chosen = [op for ops_of, _ in plain[begin:end] for op in ops_of]
            need, streamed, before = best[begin]
            if not _suits(lowering.graph, chosen) or need > found[0][0]:
                continue
            simulation = _Simulation(lowering, chosen)
            if simulation.bytes <= found[0][0]:
                joined: _Part = (tuple(chosen), (simulation.stream(),))
                found.append((max(need, simulation.bytes), streamed + len(chosen), [*before, joined]))
        best.append(min(found, key=lambda run: run[:2]))
    return best[-1][2]


def _suits(graph: Graph, chosen: Sequence[Op]) -> bool:
    made = {i for op in chosen for i in op.outputs}
    last = set(chosen[-1].outputs)
    read_outside = {i for op in graph.ops if op not in chosen for i in op.inputs} | set(graph.outputs)
    return (
        len(chosen) > 1
        and all(len(op.outputs) == 1 and _by_rows(graph, op) for op in chosen)
        and not (made - last) & read_outside
        and all(any(i in op.inputs for op in chosen) for i in made - last)
    )


def _by_rows(graph: Graph, op: Op) -> bool:
    output = graph.tensors[op.outputs[0]]
    if len(output.shape) != 4 or output.shape[0] != 1:
        return False
    if op.name in _LAYERS:
        return len(graph.tensors[op.inputs[0]].shape) == 4
    return _is_elementwise(graph, op)


def _is_elementwise(graph: Graph, op: Op) -> bool:
    """Whether it is one call on all elements alike that may write over each of its inputs.

    A pool may write over its input, too: only ``pointwise`` says that an output value is made of those at its place.
    """
    spec, output = ops.spec(op.name), graph.tensors[op.outputs[0]]
    inputs = _activations(graph, op)
    if spec.pointwise is None or spec.lower is None or not inputs:
        return False
    if any(graph.tensors[i].shape != output.shape for i in inputs):
        return False
    if len(inputs) != sum(i >= 0 for i in op.inputs):
        return False  # a constant operand is not cut into rows
    steps = spec.lower(graph, op, Target())
    alike = {(over.input, over.gap) for step in steps if isinstance(step, Call) for over in step.overlaps}
    return len(steps) == 1 and alike >= {(position, 0) for position in range(len(inputs))}


def _activations(graph: Graph, op: Op) -> list[int]:
    return [i for i in op.inputs if i >= 0 and graph.tensors[i].data is None]


class _Lowering:
    """Calls for single rows of the graph's ops, each made once."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self._target = graph, target
        self._layers: dict[int, Layer] = {}
        self._calls: dict[tuple[int, int, int], tuple[Call, ...]] = {}
        self._slides: dict[int, Call] = {}

    def maker(self, op: Op) -> _Maker:
        height = self.graph.tensors[op.outputs[0]].shape[1]
        if op.name in _LAYERS:
            layer = self._layer(op)
            span = (layer.stride[0], layer.padding[0], (layer.kernel[0] - 1) * layer.dilation[0] + 1)
            return _Maker(op, (op.inputs[0],), op.outputs[0], height, span)
        return _Maker(op, tuple(_activations(self.graph, op)), op.outputs[0], height, (1, 0, 1))

    def row(self, op: Op, above: int, within: int) -> tuple[Call, ...]:
        """The calls for a row of ``op`` that spans ``above`` rows before the image and ``within`` in it."""
        key = (op.index, above, within)
        if key not in self._calls:
            self._calls[key] = self._lower(op, above, within)
        return self._calls[key]

    def slide(self, count: int, op: Op) -> Call:
        """The call that moves ``count`` bytes."""
        return self._slides.setdefault(count, Call("slide", op.index, (), (), {"bytes": count}))

    def _layer(self, op: Op) -> Layer:
        if op.index not in self._layers:
            self._layers[op.index] = to_layer(self.graph, op)
        return self._layers[op.index]

    def _lower(self, op: Op, above: int, within: int) -> tuple[Call, ...]:
        if op.name in _LAYERS:
            layer = self._layer(op)
            row = replace(
                layer,
                input_shape=(within, *layer.input_shape[1:]),
                output_shape=(1, *layer.output_shape[1:]),
                padding=(above, layer.padding[1]),
            )
            return kernels.lower(row, op.index, self._target)
        used = set(op.inputs) | set(op.outputs)
        tensors = tuple(_one_row(tensor) if tensor.index in used else tensor for tensor in self.graph.tensors)
        lower = ops.spec(op.name).lower
        assert lower is not None  # _is_elementwise has seen to it
        steps = lower(replace(self.graph, tensors=tensors), op, self._target)
        return tuple(step for step in steps if isinstance(step, Call))


@dataclass
class _Rows:
    """The memory of one tensor, or of several that share rows: ``held`` rows of ``row_bytes``, the first is ``base``.

    ``whole`` is the tensor it lies in where it is not kept in part: the stream's input or output.
    """

    row_bytes: int
    height: int
    whole: int | None = None
    held: int = 1
    base: int = 0
    offset: int = 0  # in the stream's memory


@dataclass
class _Maker:
    """An op of the stream: ``next`` is the row it computes next."""

    op: Op
    inputs: tuple[int, ...]
    output: int
    height: int
    span: tuple[int, int, int]  # stride, padding, rows: row y reads that many from y * stride - padding on
    next: int = 0

    def reads(self, y: int, height: int) -> tuple[int, int]:
        """First row, and one past the last, of an input of ``height`` rows that output row ``y`` reads."""
        stride, padding, rows = self.span
        return max(y * stride - padding, 0), min(y * stride - padding + rows, height)


class _Simulation:
    """The rows of ``chosen`` computed in order, twice: the first time finds how many each memory must hold."""

    def __init__(self, lowering: _Lowering, chosen: Sequence[Op]) -> None:
        graph = lowering.graph
        self._graph, self._lowering = graph, lowering
        self._makers = [lowering.maker(op) for op in chosen]
        self._by_output = {maker.output: maker for maker in self._makers}
        self._consumers: dict[int, list[_Maker]] = {}
        for maker in self._makers:
            for i in maker.inputs:
                self._consumers.setdefault(i, []).append(maker)
        self._rows = _memories(graph, self._makers, self._consumers)
        self._chosen = chosen
        self.rows_bytes = 0
        self.events: list[_Event] = []
        self._run()
        self._lay_out()
        self._run()

    @property
    def scratch(self) -> int:
        """Bytes of the rows kept, and of the scratch of the call that wants most."""
        return self.rows_bytes + max((event.call.scratch or 0) for event in self.events)

    @property
    def bytes(self) -> int:
        """What the stream takes with its inputs and its output, which lies over the first of them as it may."""
        first, *others = (self._graph.tensors[i].bytes for i in self._inputs())
        output = self._graph.tensors[self._chosen[-1].outputs[0]].bytes
        gap = self._overlap(0, self._inputs()[0]).gap
        return self.scratch + sum(others) + max(output, first + max(gap, 0))

    def stream(self) -> Stream:
        """What was simulated, as a step."""
        return Stream(
            op=self._chosen[0].index,
            ops=tuple(op.index for op in self._chosen),
            inputs=self._inputs(),
            outputs=self._chosen[-1].outputs,
            repeats=tuple(_fold(self.events)),
            rows_bytes=self.rows_bytes,
            scratch=self.scratch,
            overlaps=tuple(self._overlap(at, i) for at, i in enumerate(self._inputs())),
        )

    def _overlap(self, position: int, i: int) -> Overlap:
        """How the output may follow the reading of input ``i``, at ``position``: what is written lies before it."""
        gap, unread, (output,) = -self._graph.tensors[i].bytes, self._graph.tensors[i].bytes, self._chosen[-1].outputs
        for event in reversed(self.events):
            *read, written = (place for place in event.places if not isinstance(place, Array))
            unread = min([unread, *(offset for tensor, offset in read if tensor == i)])
            if written[0] == output:
                gap = max(gap, written[1] + self._rows[output].row_bytes - unread)
        return Overlap(position, "forward", gap)

    def _inputs(self) -> tuple[int, ...]:
        read = (i for op in self._chosen for i in _activations(self._graph, op))
        return tuple(dict.fromkeys(i for i in read if i not in self._by_output))

    def _lay_out(self) -> None:
        """Back to the first row, with places for the rows that were found to be held."""
        self.events, self.rows_bytes = [], 0
        for memory in {id(rows): rows for rows in self._rows.values()}.values():
            memory.base = 0
            if memory.whole is None:
                memory.offset = self.rows_bytes
                self.rows_bytes += -(-memory.held * memory.row_bytes // 4) * 4
        for maker in self._makers:
            maker.next = 0

    def _run(self) -> None:
        """Computes every row of the last op."""
        last = self._makers[-1]
        for y in range(last.height):
            self._ensure(last, y)

    def _ensure(self, maker: _Maker, y: int) -> None:
        while (row := maker.next) <= y:
            for i in maker.inputs:
                if i in self._by_output:
                    source = self._by_output[i]
                    self._ensure(source, maker.reads(row, source.height)[1] - 1)
            if maker.next == row:  # else it was made as soon as all it reads was there
                self._make(maker)

    def _make(self, maker: _Maker) -> None:
        y = maker.next
        self._make_room(maker.output, y)
        inputs = [self._place(i, maker.reads(y, self._height(i))[0]) for i in maker.inputs]
        output = self._place(maker.output, y)
        for call in self._calls(maker, y):
            in_place = set(call.inputs) == set(call.outputs)  # a clamp behind the layer
            self.events.append(_Event(call, (output, output) if in_place else (*inputs, output)))
        maker.next += 1
        for consumer in self._consumers.get(maker.output, []):
            self._make_if_ready(consumer)

    def _make_if_ready(self, maker: _Maker) -> None:
        """Eagerly: what has all its rows is computed, so that they need not wait. The last op's rows are asked for."""
        while maker.next < maker.height and all(self._has(maker, i) for i in maker.inputs):
            self._make(maker)

    def _has(self, maker: _Maker, i: int) -> bool:
        source = self._by_output.get(i)
        return source is not None and source.next >= maker.reads(maker.next, source.height)[1]

    def _height(self, i: int) -> int:
        return self._graph.tensors[i].shape[1]

    def _place(self, i: int, y: int) -> tuple[int | None, int]:
        rows = self._rows[i]
        if rows.whole is not None:
            return rows.whole, y * rows.row_bytes
        return None, rows.offset + (y - rows.base) * rows.row_bytes

    def _make_room(self, i: int, y: int) -> None:
        """Sees that row ``y`` of tensor ``i`` has a place: where all are taken, dead rows make way."""
        rows = self._rows[i]
        if rows.whole is not None or y - rows.base < rows.held:
            return
        live = self._first_live(i)
        if y - live >= rows.held:
            rows.held = y - live + 1
        kept = (self._top(i) - live) * rows.row_bytes
        if kept > 0:
            here, there = self._place(i, live), (None, rows.offset)
            slide = self._lowering.slide(kept, self._chosen[0])
            self.events.append(_Event(slide, (here, there)))
        rows.base = live

    def _sharing(self, i: int) -> list[int]:
        return [other for other, rows in self._rows.items() if rows is self._rows[i]]

    def _first_live(self, i: int) -> int:
        """The first row that somebody still reads, of any tensor that shares the memory."""
        needs = [
            consumer.reads(consumer.next, self._rows[i].height)[0]
            for other in self._sharing(i)
            for consumer in self._consumers.get(other, [])
            if consumer.next < consumer.height
        ]
        return min([*needs, self._top(i)]) if needs else self._top(i)

    def _top(self, i: int) -> int:
        return max(self._by_output[other].next for other in self._sharing(i))

    def _calls(self, maker: _Maker, y: int) -> tuple[Call, ...]:
        stride, padding, _ = maker.span
        first, end = maker.reads(y, self._height(maker.inputs[0]))
        return self._lowering.row(maker.op, first - (y * stride - padding), end - first)


def _memories(graph: Graph, makers: Sequence[_Maker], consumers: Mapping[int, list[_Maker]]) -> dict[int, _Rows]:
    """The memory of each tensor of the stream; an element-wise op's output shares that of an input it alone reads."""
    made = {maker.output for maker in makers}
    rows: dict[int, _Rows] = {}
    for maker in makers:
        for i in maker.inputs:
            if i not in made:
                rows[i] = _rows_of(graph.tensors[i], i)
    rows[makers[-1].output] = _rows_of(graph.tensors[makers[-1].output], makers[-1].output)
    for maker in reversed(makers):
        rows.setdefault(maker.output, _rows_of(graph.tensors[maker.output], None))
        if maker.op.name not in _LAYERS:
            own = (i for i in maker.inputs if i in made and len(consumers[i]) == 1)
            if (shared := next(own, None)) is not None:
                rows[shared] = rows[maker.output]
    return rows


def _rows_of(tensor: Tensor, whole: int | None) -> _Rows:
    _, height, width, depth = tensor.shape
    return _Rows(width * depth, height, whole)


def _one_row(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=(1, 1, *tensor.shape[2:])) if tensor.data is None else tensor


def _fold(events: Sequence[_Event]) -> Iterator[Repeat]:
    """The events as loops: at each place the body that covers most, whose places advance by a constant each time."""
    at = 0
    while at < len(events):
        period, count = max(
            ((period, _repeats(events, at, period)) for period in range(1, _LONGEST_LOOP)),
            key=lambda found: (found[0] * (found[1] - 1), -found[0]),
        )
        steps = [_step(events[at + i], events[at + i + period]) if count > 1 else None for i in range(period)]
        if count == 1:
            period, steps = 1, [None]
        yield Repeat(count, tuple(_row_call(events[at + i], steps[i]) for i in range(period)))
        at += period * count


def _repeats(events: Sequence[_Event], at: int, period: int) -> int:
    if at + 2 * period > len(events):
        return 1
    steps = [_step(events[at + i], events[at + i + period]) for i in range(period)]
    count = 1
    while at + (count + 1) * period <= len(events):
        here = at + (count - 1) * period
        pairs = ((events[here + i], events[here + period + i]) for i in range(period))
        if any(step is None or _step(*pair) != step for step, pair in zip(steps, pairs, strict=True)):
            break
        count += 1
    return count


def _step(one: _Event, other: _Event) -> tuple[int, ...] | None:
    """How far each place moves from ``one`` to ``other``; None where these are not the same call."""
    if not one.like(other):
        return None
    moved: list[int] = []
    for a, b in zip(one.places, other.places, strict=True):
        if isinstance(a, Array) or isinstance(b, Array) or a[0] != b[0]:
            return None
        moved.append(b[1] - a[1])
    return tuple(moved)


def _row_call(event: _Event, steps: tuple[int, ...] | None) -> RowCall:
    moved: Sequence[Any] = steps or (0,) * len(event.places)
    places = [
        place if isinstance(place, Array) else Place(place[0], place[1], step)
        for place, step in zip(event.places, moved, strict=True)
    ]
    return RowCall(event.call, tuple(places[:-1]), tuple(p for p in places[-1:] if isinstance(p, Place)))
