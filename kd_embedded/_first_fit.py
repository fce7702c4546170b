"""A plan without overlap: each tensor at the lowest address that is free while it lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kd_embedded.program import Alias, Step


@dataclass(frozen=True)
class Plan:
    offsets: Mapping[int, int]
    scratch_offsets: tuple[int | None, ...]
    arena_bytes: int


def plan(steps: Sequence[Step], sizes: Mapping[int, int], inputs: Sequence[int], outputs: Sequence[int]) -> Plan:
    root: dict[int, int] = {}

    def find(tensor: int) -> int:
        while tensor in root:
            tensor = root[tensor]
        return tensor

    for step in steps:
        if isinstance(step, Alias):
            root[step.output] = find(step.input)
    first: dict[int, int] = {find(i): -1 for i in inputs}
    last: dict[int, int] = {}
    for at, step in enumerate(steps):
        if isinstance(step, Alias):
            continue
        for i in step.outputs:
            first.setdefault(find(i), at)
            last[find(i)] = at
        last.update({find(i): at for i in step.inputs if isinstance(i, int)})
    last.update({find(i): len(steps) for i in outputs})
    boxes = [(sizes[i], begin, last.get(i, begin), i) for i, begin in first.items()]
    for at, step in enumerate(steps):
        if not isinstance(step, Alias) and step.scratch:
            boxes.append((step.scratch, at, at, -1 - at))
    placed: list[tuple[int, int, int, int]] = []
    found: dict[int, int] = {}
    for size, begin, end, i in sorted(boxes, key=lambda box: (-box[0], box[3])):
        offset = 0
        for start, stop, b, e in sorted(placed):
            if b <= end and begin <= e and start < offset + size:
                offset = max(offset, -(-stop // 4) * 4)
        placed.append((offset, offset + size, begin, end))
        found[i] = offset
    offsets = {i: found[find(i)] for i in sizes if find(i) in found}
    scratch = tuple(found.get(-1 - at) for at in range(len(steps)))
    return Plan(offsets, scratch, max((-(-stop // 4) * 4 for _, stop, _, _ in placed), default=0))
