"""Estimates of cycles against the examples and tables of the cores' technical reference manuals."""

from __future__ import annotations

import pytest

from kd_embedded.cores import load_core, load_cores
from kd_embedded.cycles import Table, block_cycles, estimate, load_table
from kd_embedded.errors import ConfigError
from kd_embedded.trace import Block, Instruction, Trace

M4, M0 = "cortex-m4", "cortex-m0"


def table(core: str) -> Table:
    return load_table(load_core(core))


def block(text: str, *, taken: bool = False, times: int = 1, op: int = 0) -> Block:
    """Instructions separated by ;, each as objdump writes it."""
    instructions = []
    for number, line in enumerate(text.split(";")):
        name, _, operands = line.strip().partition(" ")
        instructions.append(Instruction(2 * number, 2, name, operands))
    return Block(op, tuple(instructions), 1000 if taken else 2 * len(instructions), times)


def cycles(core: str, text: str, *, taken: bool = False) -> int:
    return block_cycles(table(core), block(text, taken=taken))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        # Section 3.3.3, the examples.
        ("ldr r0, [r1, #0]; ldr r1, [r2, #0]", 3),
        ("ldr r0, [r1, r2]; str r0, [r3, #20]", 3),
        ("ldr r0, [r1, r2]; str r1, [r3, r2]", 3),
        ("ldr r0, [r1, r5]; ldr r1, [r2, #0]; ldr r2, [r3, #4]", 4),
        # The second address is what the first loads: not pipelined.
        ("ldr r0, [r1, #0]; ldr r2, [r0, #0]", 4),
        # Stores.
        ("str.w r0, [r1, #4]; strb r0, [r1, #1]", 2),
        ("str.w r0, [r1, r2]", 2),
        # An address that was computed right before.
        ("add.w r0, r1, r2; ldr r3, [r0, #0]", 4),
        ("add.w sl, r1, r2; ldr.w r3, [r10, #0]", 4),
        ("add.w r0, r1, r2; nop; ldr r3, [r0, #0]", 4),
        ("cmp r0, #3; ldr r3, [r0, #0]", 3),
        ("smull r0, r1, r2, r3; ldr r3, [r1, #0]", 4),
        # Several registers.
        ("ldmia.w r0!, {r1, r2, r3, r4}", 5),
        ("ldrd r0, r1, [r2]", 3),
        ("push {r4, r5, r6, r7, lr}", 6),
        ("stmdb sp!, {r4-r11, lr}", 10),
        ("vpush {d8-d9}", 5),
        # Multiplications, divisions.
        ("smlad r0, r1, r2, r0; mla r0, r1, r2, r3; smull r0, r1, r2, r3", 3),
        ("sdiv r0, r1, r2", 12),
        ("sxtb16 r0, r1; ssat r0, #8, r1; movne r0, r1; ldrne.w r0, [r1]", 5),
    ],
)
def test_cortex_m4(text: str, count: int) -> None:
    assert cycles(M4, text) == count


@pytest.mark.parametrize(
    ("text", "taken", "count"),
    [
        ("subs r0, #1; bne.n 0", True, 4),
        ("subs r0, #1; bne.n 0", False, 2),
        ("ble.w 0", True, 3),
        ("bl 0", True, 3),
        ("cbz r0, 0", False, 1),
        ("bx lr", True, 4),
        ("pop {r4, pc}", True, 6),
        ("ldr.w pc, [r1]", True, 5),
        ("tbb [pc, r0]", True, 6),
    ],
)
def test_cortex_m4_branches(text: str, taken: bool, count: int) -> None:
    assert cycles(M4, text, taken=taken) == count


@pytest.mark.parametrize(
    ("text", "taken", "count"),
    [
        # Table 3.1 of the manual.
        ("ldr r0, [r1, #0]; ldr r1, [r2, #0]", False, 4),
        ("strb r0, [r1, #0]", False, 2),
        ("add r0, r1; ldr r2, [r0, #0]", False, 3),
        ("muls r0, r1", False, 1),
        ("push {r4, r5, lr}", False, 4),
        ("pop {r4, r5, pc}", True, 6),
        ("stmia r0!, {r1, r2}", False, 3),
        ("bne.n 0", True, 2),
        ("bne.n 0", False, 1),
        ("bl 0", True, 3),
        ("bx lr", True, 2),
    ],
)
def test_cortex_m0plus(text: str, taken: bool, count: int) -> None:
    assert cycles(M0, text, taken=taken) == count


def test_blocks_count_as_often_as_they_ran_and_by_op() -> None:
    loop = [block("subs r0, #1; bne.n 0", taken=True, times=9), block("subs r0, #1; bne.n 0", times=1)]
    assert estimate(table(M4), Trace((*loop, block("nop", op=-1, times=5)))) == {-1: 5, 0: 9 * 4 + 2}


def test_every_table_of_a_core_is_right_and_a_core_without_says_so() -> None:
    for core in load_cores():
        if core.cycles:
            assert load_table(core).sources
    with pytest.raises(ConfigError, match="cortex-m33: has no table of cycles"):
        load_table(load_core("cortex-m33"))
