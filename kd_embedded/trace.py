"""Which instructions of an emulated image ran, and how often: exact, from QEMU's own log of every block it entered.

``-d exec,nochain`` writes a line for each block entered, ``-d in_asm`` the instructions of a block when it is first
seen. A block ends at its first branch and runs whole, so blocks and the order they came in give how often each
instruction ran, and how often each branch was taken. Counted is what the engine runs between ``kd_emulate_begin`` and
``kd_emulate_end``: its own code, and that of libraries while it was the engine that called them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import qemu
from kd_embedded.errors import ToolError
from kd_embedded.image import Image
from kd_embedded.toolchain import find_tool, run_tool, stream_tool

TRACE_SECONDS = 900.0
_PART = 1 << 23  # bytes of the log worked on at once
_TRACE_LINE = re.compile(rb"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")
_ASM_LINE = re.compile(rb"0x([0-9a-f]+):\s+([0-9a-f]+(?: [0-9a-f]+)?)\s")
_DISASSEMBLY = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(\S+)(?:\t(.*))?$", re.M)
_BITS = 22  # of an address in a key: half of its distance from the start of flash, so 8 MiB

_LIBRARY, _ENGINE, _HARNESS = 0, 1, 2  # whose code an address is; a library's is that of who called it
_HEX = np.zeros(256, np.int64)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


@dataclass(frozen=True)
class Instruction:
    """One instruction of the image, as objdump names it."""

    address: int
    bytes: int
    name: str
    operands: str


@dataclass(frozen=True)
class Block:
    """Instructions that ran one after the other ``times`` times for ``op``, before the one at ``next``.

    ``op`` is the index of an op of the model, or -1 where the image was not built to profile.
    """

    op: int
    instructions: tuple[Instruction, ...]
    next: int
    times: int

    @property
    def falls_through(self) -> bool:
        """Whether what came next stands right behind it: no branch was taken."""
        last = self.instructions[-1]
        return self.next == last.address + last.bytes


@dataclass(frozen=True)
class Trace:
    """All blocks of one inference, each with each of its successors."""

    blocks: tuple[Block, ...]

    @property
    def instructions(self) -> int:
        return sum(len(block.instructions) * block.times for block in self.blocks)

    def instructions_by_op(self) -> dict[int, int]:
        counts: Counter[int] = Counter()
        for block in self.blocks:
            counts[block.op] += len(block.instructions) * block.times
        return dict(sorted(counts.items()))


def trace(image: Image, one_input: NDArray[Any], *, timeout_s: float = TRACE_SECONDS) -> Trace:
    """Runs one inference, int8 [1, ...], and counts; by op where ``image`` was built to profile.

    Raises ToolError where the image does not run, or the emulator's log is not as expected.
    """
    symbols = _symbols(image)
    qemu.write_inputs(image, one_input)
    ops = np.zeros(0, np.int32)
    if "kd_profile" in symbols:  # the order of the ops, which the counted run needs beforehand
        qemu.run(image, one_input)
        ops, _ = qemu.read_profile(image)
        qemu.write_inputs(image, one_input)
    log = _Log(image, symbols, ops)
    fifo = image.elf.parent / "trace"
    where = f"the model on {image.core.name}"
    command = [*qemu.command(image), "-d", "in_asm,exec,nochain", "-D", str(fifo)]
    for piece in stream_tool(command, fifo, where=where, timeout_s=timeout_s):
        log.feed(piece)
    log.finish()
    qemu.read_outputs(image, 1)
    return Trace(tuple(_blocks(log, disassemble(image), image)))


def disassemble(image: Image) -> dict[int, Instruction]:
    """All instructions of the image by address."""
    core = image.core
    objdump = find_tool(f"{core.tools}objdump", core.packages.compiler)
    text = run_tool([objdump, "-d", str(image.elf)], where=core.name, folder=image.elf.parent, timeout_s=60)
    found = (
        Instruction(int(m[1], 16), len(m[2].replace(" ", "")) // 2, m[3], (m[4] or "").strip())
        for m in _DISASSEMBLY.finditer(text)
        if not m[3].startswith(".")  # constants between functions
    )
    return {instruction.address: instruction for instruction in found}


def _symbols(image: Image) -> dict[str, int]:
    nm = find_tool(f"{image.core.tools}nm", image.core.packages.compiler)
    text = run_tool([nm, str(image.elf)], where=image.core.name, folder=image.elf.parent, timeout_s=60)
    rows = (line.split() for line in text.splitlines())
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3}


class _Log:
    """Eats QEMU's log. ``edges`` counts (op, block, next block); ``ends`` gives where each block ends."""

    def __init__(self, image: Image, symbols: Mapping[str, int], ops: NDArray[np.int32]) -> None:
        assert image.machine is not None
        self.edges: Counter[int] = Counter()
        self.ends: dict[int, int] = {}
        self._where = f"the log of {image.machine.emulator}"
        self._base = image.machine.flash_base
        self._begin, self._end = symbols["kd_emulate_begin"], symbols["kd_emulate_end"]
        self._profile = symbols.get("kd_profile", -1)
        self._ops = ops
        self._rest: list[bytes] = []
        self._owners = _owners(image)
        self._last = -1  # the block before
        self._running = False  # between begin and end
        self._owner = _HARNESS  # whose code ran last
        self._events = 0  # calls of kd_profile so far
        self._pc: slice | None = None  # where a line has the block's address

    def feed(self, piece: bytes) -> None:
        self._rest.append(piece)
        if sum(map(len, self._rest)) >= _PART:
            text = b"".join(self._rest)
            # The last block's line stays behind, with all that may belong to it.
            cut = text.rfind(b"\nTrace ") + 1
            self._rest = [text[cut:]]
            self._eat(text[:cut])

    def finish(self) -> None:
        self._eat(b"".join(self._rest))
        self._rest = []
        if self._running or not self.edges:
            raise self._error("the inference was not seen whole")

    def _eat(self, part: bytes) -> None:
        text = np.frombuffer(part, np.uint8)
        newlines = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate(([0], newlines[:-1] + 1)) if len(newlines) else newlines
        kinds = text[starts]
        self._learn(part, starts, np.flatnonzero(kinds == ord("0")))
        entered = starts[kinds == ord("T")]
        if not len(entered):
            return
        # "Stopped execution of TB chain before": the block in the line above did not run.
        stopped = starts[kinds == ord("S")]
        entered = np.delete(entered, np.searchsorted(entered, stopped) - 1)
        self._count(self._addresses(part, text, entered))

    def _learn(self, part: bytes, starts: NDArray[Any], lines: NDArray[Any]) -> None:
        """Where blocks end: each group of lines of disassembly is a block."""
        for group in np.split(lines, np.flatnonzero(np.diff(lines) != 1) + 1):
            if not len(group):
                continue
            first = _ASM_LINE.match(part, starts[group[0]])
            last = _ASM_LINE.match(part, starts[group[-1]])
            if not first or not last:
                raise self._error("it does not show the instructions of a block")
            start, end = int(first[1], 16), int(last[1], 16) + len(last[2].replace(b" ", b"")) // 2
            if self.ends.setdefault(start, end) != end:
                raise self._error(f"the block at {start:#x} has two ends")

    def _addresses(self, part: bytes, text: NDArray[np.uint8], lines: NDArray[Any]) -> NDArray[np.int64]:
        if self._pc is None:
            found = _TRACE_LINE.match(part, lines[0])
            if not found:
                raise self._error("a line of it names no block")
            self._pc = slice(found.start(1) - lines[0], found.end(1) - lines[0])
        before, behind = text[lines + self._pc.start - 1], text[lines + self._pc.stop]
        if (before != ord("/")).any() or (behind != ord("/")).any():
            raise self._error("its lines are not of one form")
        digits = _HEX[text[lines[:, None] + np.arange(self._pc.stop - 8, self._pc.stop)]]
        return np.asarray(digits @ (16 ** np.arange(7, -1, -1, dtype=np.int64)))

    def _count(self, blocks: NDArray[np.int64]) -> None:
        before = np.concatenate(([self._last], blocks[:-1]))
        self._last = int(blocks[-1])
        events = self._events + np.cumsum(before == self._profile)
        self._events = int(events[-1])
        running = self._running + np.cumsum(before == self._begin) - np.cumsum(before == self._end)
        self._running = bool(running[-1])
        if self._profile < 0:
            ops = np.full(len(blocks), -1)
        else:
            known = np.concatenate(([-1], self._ops))
            ops = known[np.minimum(events, len(known) - 1)]
        here = (running == 1) & self._is_engine(before)
        keys = ((ops[here] + 1) << 2 * _BITS) + (self._place(before[here]) << _BITS) + self._place(blocks[here])
        for key, count in zip(*np.unique(keys, return_counts=True), strict=True):
            self.edges[int(key)] += int(count)

    def _is_engine(self, blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each block is the engine's, or a library's that the engine entered last."""
        owners = self._owners[np.clip((blocks - self._base) >> 1, 0, len(self._owners) - 1)]
        whole = np.concatenate(([self._owner], owners))
        last = np.maximum.accumulate(np.where(whole != _LIBRARY, np.arange(len(whole)), 0))
        self._owner = int(whole[last[-1]])
        return np.asarray(whole[last[1:]] == _ENGINE)

    def _place(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        places = (addresses - self._base) >> 1
        if (places < 0).any() or (places >> _BITS).any():
            raise self._error("a block lies outside of flash")
        return places

    def _error(self, what: str) -> ToolError:
        return ToolError(what, where=self._where, todo="instructions cannot be counted with this version of QEMU")


def _owners(image: Image) -> NDArray[np.int8]:
    """Whose code each half word of flash is."""
    assert image.machine is not None
    owners = np.full(1 << _BITS, _LIBRARY, np.int8)
    for owner, parts in ((_ENGINE, image.engine_code), (_HARNESS, image.harness_code)):
        for part in parts:
            owners[(part.start - image.machine.flash_base) >> 1 : (part.stop - image.machine.flash_base) >> 1] = owner
    return owners


def _blocks(log: _Log, instructions: Mapping[int, Instruction], image: Image) -> Iterator[Block]:
    assert image.machine is not None
    mask, base = (1 << _BITS) - 1, image.machine.flash_base
    for key, times in sorted(log.edges.items()):
        op, start, behind = (key >> 2 * _BITS) - 1, (key >> _BITS & mask) * 2 + base, (key & mask) * 2 + base
        yield Block(op, _within(instructions, start, log.ends[start]), behind, times)


def _within(instructions: Mapping[int, Instruction], start: int, end: int) -> tuple[Instruction, ...]:
    found: list[Instruction] = []
    while start < end:
        found.append(instructions[start])
        start += found[-1].bytes
    return tuple(found)
