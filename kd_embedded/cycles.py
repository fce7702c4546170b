"""An estimate of cycles: what ran (``trace.py``), weighted by a table of the core's own technical reference manual.

Zero wait states: real flash is slower, unless a cache or an accelerator hides it. A skipped instruction of an IT block
counts as if it ran. What runs in the block before is not looked at, which at most misses a pair of pipelined loads.
"""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field, NonNegativeInt, PositiveInt

from kd_embedded.cores import Core, cycles_path
from kd_embedded.toml_files import Named, read_file
from kd_embedded.trace import Block, Instruction, Trace

_CONDITIONS = {"eq", "ne", "cs", "hs", "cc", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le"}
_LOADS = {"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh"}
_STORES = {"str", "strb", "strh"}
_MULTIPLES = {"ldm", "ldmia", "ldmdb", "stm", "stmia", "stmdb", "push", "pop", "ldrd", "strd", "vldmia", "vstmia"}
_MULTIPLES |= {"vpush", "vpop", "vldm", "vstm", "vldmdb", "vstmdb"}
_WRITE_NOTHING = {"cmp", "cmn", "tst", "teq", "nop", "b", "bl", "bx", "blx", "cbz", "cbnz", "tbb", "tbh"}
_WRITE_TWO = {"smull", "umull", "smlal", "umlal", "smlald", "smlaldx", "smlsld", "smlalbb", "smlalbt", "smlaltb"}
_KNOWN = _LOADS | _STORES | _MULTIPLES | _WRITE_NOTHING | _WRITE_TWO | {"sdiv", "udiv"}
_REGISTER = re.compile(r"\b(r1[0-5]|r[0-9]|sl|fp|ip|sp|lr|pc|[sd][0-9]+)\b")
_ALIASES = {"r10": "sl", "r11": "fp", "r12": "ip", "r13": "sp", "r14": "lr", "r15": "pc"}


class Table(Named):
    """Cycles of instructions.

    ``other`` is what every instruction takes that is not named. ``taken`` holds branches that are taken; one that is
    not takes ``other``. ``multiple`` is what LDM and its like take beside a cycle for each register; ``load_pc`` what
    loading PC adds. ``pipelined``: a load or store right behind a load takes one cycle less, unless the load gives its
    address. ``address_stall``: what an address costs that the instruction right before computes.
    """

    title: str
    sources: list[str] = Field(min_length=1)
    other: PositiveInt
    load: PositiveInt
    store: PositiveInt
    store_register_offset: PositiveInt
    pipelined: bool
    address_stall: NonNegativeInt
    multiple: PositiveInt
    load_pc: PositiveInt
    taken: dict[str, PositiveInt]
    by_name: dict[str, PositiveInt]


def load_table(core: Core) -> Table:
    """The table of ``core``; ConfigError where it has none or its file is wrong."""
    return read_file(cycles_path(core), Table)


def estimate(table: Table, trace: Trace) -> dict[int, int]:
    """Cycles of each op, by its index (-1: the rest); the whole inference is their sum."""
    cycles: Counter[int] = Counter()
    for block in trace.blocks:
        cycles[block.op] += block_cycles(table, block) * block.times
    return dict(sorted(cycles.items()))


def block_cycles(table: Table, block: Block) -> int:
    """Cycles of one run of ``block``."""
    before: list[Instruction | None] = [None, *block.instructions[:-1]]
    last = len(block.instructions) - 1
    return sum(
        _cycles(table, instruction, previous, taken=number == last and not block.falls_through)
        for number, (instruction, previous) in enumerate(zip(block.instructions, before, strict=True))
    )


def _cycles(table: Table, instruction: Instruction, previous: Instruction | None, *, taken: bool) -> int:
    name = base_name(instruction.name)
    if name in table.taken:
        return table.taken[name] if taken else table.other
    reload = table.load_pc if taken else 0
    if name in _MULTIPLES:
        return table.multiple + _count(instruction, name) + _stall(table, instruction, previous) + reload
    if name in _LOADS or name in _STORES:
        return _single(table, instruction, name, previous) + reload
    return table.by_name.get(name, table.other) + reload


def _single(table: Table, instruction: Instruction, name: str, previous: Instruction | None) -> int:
    address = _address(instruction)
    store = table.store_register_offset if len(address) > 1 else table.store
    cycles = table.load if name in _LOADS else store
    behind_load = previous is not None and base_name(previous.name) in _LOADS
    if table.pipelined and cycles > 1 and behind_load and not set(_registers(previous)[:1]) & set(address):
        return cycles - 1
    return cycles + _stall(table, instruction, previous)


def _stall(table: Table, instruction: Instruction, previous: Instruction | None) -> int:
    """What it costs that the data processing instruction before gives the address."""
    if previous is None:
        return 0
    name = base_name(previous.name)
    if name in _LOADS | _STORES | _MULTIPLES | _WRITE_NOTHING or name.startswith("it"):
        return 0
    written = _registers(previous)[: 2 if name in _WRITE_TWO else 1]
    return table.address_stall if set(written) & set(_address(instruction)) else 0


def base_name(name: str) -> str:
    """The instruction's name without width and condition, where that matters here: ``ldrne.w`` is ``ldr``."""
    name = name.partition(".")[0]
    if name not in _KNOWN and name[-2:] in _CONDITIONS and name[:-2] in _KNOWN:
        return name[:-2]
    return name


def _registers(instruction: Instruction | None) -> list[str]:
    found = _REGISTER.findall(instruction.operands) if instruction else []
    return [_ALIASES.get(register, register) for register in found]


def _address(instruction: Instruction) -> list[str]:
    """The registers that an address is made of: those in brackets, or the base of an LDM."""
    inside = re.search(r"\[([^\]]*)\]", instruction.operands)
    text = inside[1] if inside else instruction.operands.partition("{")[0]
    return [_ALIASES.get(register, register) for register in _REGISTER.findall(text)]


def _count(instruction: Instruction, name: str) -> int:
    """How many registers an LDM or its like moves."""
    if name in ("ldrd", "strd"):
        return 2
    listed = re.search(r"\{([^}]*)\}", instruction.operands)
    return sum(_width(part) for part in (listed[1] if listed else "").split(","))


def _width(part: str) -> int:
    """``r4`` is one register, ``r4-r7`` are four, ``d8-d9`` four words."""
    names = re.findall(r"([rsd]?)(\d+)", part)
    count = int(names[1][1]) - int(names[0][1]) + 1 if len(names) == 2 else 1
    return count * (2 if part.strip().startswith("d") else 1)
