"""The counter of instructions, proven against loops that are counted by hand and against the emulated core's own."""

from __future__ import annotations

from pathlib import Path

import hand_engine
import numpy as np
import pytest
from conftest import require_tool
from numpy.typing import NDArray

from kd_embedded import qemu
from kd_embedded.cores import Core, load_core, load_cores
from kd_embedded.image import Image, build
from kd_embedded.toolchain import run_tool
from kd_embedded.trace import Trace, trace

INPUT = np.arange(16, dtype=np.int8).reshape(1, 16)
LOOP = "hand_loop((uint32_t)hand_input()[0]);"
EMULATED = [core.name for core in load_cores() if core.machines]


def image_of(folder: Path, core: Core, body: str, *, profile: bool = False) -> Image:
    require_tool(f"{core.tools}gcc")
    require_tool(core.machines[0].emulator)
    folder.mkdir()
    return build(hand_engine.write(folder, body), core, folder / "image", profile=profile)


def traced(folder: Path, core: str, body: str, *, profile: bool = False) -> Trace:
    return trace(image_of(folder, load_core(core), body, profile=profile), INPUT)


def inputs_of(first: int) -> NDArray[np.int8]:
    """An input whose first value is ``first``."""
    return np.concatenate(([first], np.ones(15))).astype(np.int8).reshape(1, 16)


@pytest.mark.parametrize("core", EMULATED)
def test_a_loop_of_two_instructions_counts_two_for_each_time_round(tmp_path: Path, core: str) -> None:
    image = image_of(tmp_path / "c", load_core(core), LOOP)
    one, hundred = (trace(image, inputs_of(times)).instructions for times in (1, 100))
    assert hundred - one == 2 * 99
    assert one < 20


def test_a_count_is_the_same_each_time(tmp_path: Path) -> None:
    image = image_of(tmp_path / "c", load_core("cortex-m4"), "hand_loop(50);" + hand_engine.FIRST_FOUR)
    assert trace(image, INPUT) == trace(image, INPUT)


def test_a_whole_inference_is_counted_to_the_instruction(tmp_path: Path) -> None:
    found = traced(tmp_path / "c", "cortex-m4", "hand_loop(10);")
    names = [instruction.name for block in found.blocks for instruction in block.instructions]
    # hand_invoke: movs r0, #10 and a branch to hand_loop; there subs and bne ten times, and bx.
    assert found.instructions == 2 + 2 * 10 + 1, names


def test_library_code_that_the_engine_calls_counts(tmp_path: Path) -> None:
    """A division is a call of libgcc on a core without a divider, and one instruction on another."""
    body = "out[0] = (int8_t)((uint32_t)hand_input()[0x1] * 1000u / (uint32_t)hand_input()[2]);"
    without, with_divider = (traced(tmp_path / core, core, body) for core in ("cortex-m0", "cortex-m3"))
    assert with_divider.instructions < 20
    assert without.instructions > with_divider.instructions + 20


def test_the_cores_own_counter_of_retired_instructions_agrees(tmp_path: Path) -> None:
    """The RISC-V machine counts in minstret, exactly where QEMU runs with -icount."""
    read = '__asm__ volatile(".option push\\n.option arch, +zicsr\\ncsrr %0, minstret\\n.option pop" : "=r"({}));'
    work = "for (volatile int i = 0; i < hand_input()[0]; i++) { hand_loop((uint32_t)i + 1u); }"
    body = (
        f"uint32_t begin, end; {read.format('begin')} {work} {read.format('end')} end -= begin; memcpy(out, &end, 4);"
    )
    image = image_of(tmp_path / "c", load_core("rv32imc"), body)
    counted, traced_counts = [], []
    for times in (3, 37):
        qemu.write_inputs(image, inputs_of(times))
        run_tool([*qemu.command(image), "-icount", "shift=0"], where="", folder=image.elf.parent, timeout_s=60)
        counted.append(int(qemu.read_outputs(image, 1).outputs.view(np.int32)[0, 0]))
        traced_counts.append(trace(image, inputs_of(times)).instructions)
    assert counted[1] - counted[0] > 2 * sum(range(4, 38))
    assert traced_counts[1] - traced_counts[0] == counted[1] - counted[0]


def test_by_op(tmp_path: Path) -> None:
    body = "hand_loop(100); KD_OP(1) hand_loop(200); KD_OP(0) hand_loop(50);" + hand_engine.FIRST_FOUR
    by_op = traced(tmp_path / "c", "cortex-m4", body, profile=True).instructions_by_op()
    assert 300 < by_op[0] < 330
    assert 400 < by_op[1] < 410
    assert by_op[-1] < 10


def test_a_branch_that_falls_through_is_told_from_one_that_is_taken(tmp_path: Path) -> None:
    blocks = traced(tmp_path / "c", "cortex-m4", "hand_loop(10);").blocks
    ends = [(b.falls_through, b.times) for b in blocks if b.instructions[-1].name == "bne.n"]
    assert sum(times for through, times in ends if through) == 1
    assert sum(times for through, times in ends if not through) == 9
