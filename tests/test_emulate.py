"""Models and generated C on emulated cores: equal where they are right, told where not, never without proof."""

from __future__ import annotations

import re
from pathlib import Path

import hand_engine
import numpy as np
import pytest
import small_nets
from conftest import needs_reference, require_tool
from numpy.typing import NDArray

from kd_embedded import emulate as emulate_module
from kd_embedded import interpreters, qemu
from kd_embedded.aot import compile_model
from kd_embedded.codegen.c_source import single_file
from kd_embedded.cores import HOST, Core, load_core
from kd_embedded.emulate import Vectors, emulate_folder, emulate_model, golden_vectors, load_vectors
from kd_embedded.errors import ConfigError, DataError, ToolError
from kd_embedded.image import build, find_engine
from kd_embedded.program import Target

CORES = ("cortex-m0", "cortex-m4", "cortex-m55", "rv32imc", HOST)
INPUTS = np.arange(32, dtype=np.int8).reshape(2, 16)


def needed(name: str) -> Core:
    """The core ``name``, where its programs are here."""
    core = load_core(name)
    require_tool(f"{core.tools}gcc")
    for machine in core.machines:
        require_tool(machine.emulator)
    return core


@needs_reference
@pytest.mark.parametrize("name", small_nets.NETS)
@pytest.mark.parametrize("core", CORES)
def test_every_byte_is_right_on_every_core(core: str, name: str) -> None:
    done = emulate_model(small_nets.NETS[name](), name, needed(core), 4)
    assert done.equal and done.first is None
    assert done.oracle == "builtin_ref"
    assert done.compared.bytes_compared == 4 * {"conv": 4, "depthwise": 3, "residual": 5}[name]
    assert done.arena > 0 and done.macs > 10_000
    if core == HOST:
        assert done.flash is done.static is done.stack is done.instructions is None
    else:
        assert done.flash and done.flash.weights > 1000 and 200 < done.flash.code < 8192
        assert done.static == 0 and done.stack and 32 <= done.stack < 1024
        assert done.instructions and done.instructions > done.macs / 4
    assert (done.cycles is not None) == bool(load_core(core).cycles)
    if done.cycles and done.instructions:
        assert done.instructions < done.cycles < 3 * done.instructions


@needs_reference
def test_a_model_with_float_edges_is_proven_between_them() -> None:
    done = emulate_model(small_nets.float_net(), "floats", needed("cortex-m0"), 3)
    assert done.equal and done.compared.bytes_compared == 3 * 6


def test_the_nets_outputs_are_of_all_sizes() -> None:
    """Otherwise a comparison would see saturated bytes alone."""
    for name, net in small_nets.NETS.items():
        x = emulate_module.random_inputs(compile_model(net(), name, Target()).input.shape[1:], 16, 0)
        values = interpreters.run("reference", net(), x)
        assert len(np.unique(values)) > 20, name


@needs_reference
def test_profile_tells_each_op() -> None:
    done = emulate_model(small_nets.residual_net(), "residual", needed("cortex-m0"), 1, profile=True)
    assert [(op.index, op.name) for op in done.ops] == [
        *((0, "CONV_2D"), (1, "CONV_2D"), (2, "CONV_2D"), (3, "ADD"), (5, "FULLY_CONNECTED"))
    ]
    assert done.instructions is not None and done.cycles is not None
    counted = sum(op.instructions for op in done.ops)
    assert abs(done.instructions - counted) < 50  # begin and end of the function; what tells of each op
    assert sum(op.macs for op in done.ops) == done.macs
    assert all(op.cycles and op.cycles > op.instructions for op in done.ops)


@needs_reference
@pytest.mark.parametrize("op", [1, 5])
def test_the_first_wrong_op_is_found(monkeypatch: pytest.MonkeyPatch, op: int) -> None:
    """A weight of one op is changed in the generated C."""

    def spoilt(*arguments: object) -> dict[str, str]:
        files = single_file(*arguments)
        return {name: spoil(text) for name, text in files.items()}

    def spoil(text: str) -> str:
        values = re.compile(rf"(w_op{op}_weights\[\d+\] KD_FLASH = \{{\n)(.*?)\}};", re.S)
        return values.sub(lambda m: m[1] + re.sub(r"-?\d+", "77", m[2], count=40) + "};", text)

    monkeypatch.setattr(emulate_module, "single_file", spoilt)
    done = emulate_model(small_nets.residual_net(), "residual", needed(HOST), 4)
    assert not done.equal and done.first is not None
    assert (done.first.op_index, done.first.op_name) == (op, {1: "CONV_2D", 5: "FULLY_CONNECTED"}[op])
    assert done.first.expected != done.first.got
    assert done.compared.bytes_different > 0


@needs_reference
def test_given_inputs_are_used(tmp_path: Path) -> None:
    core, net = needed(HOST), small_nets.conv_net()
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 13, 11, 3), np.int8))
    assert emulate_model(net, "conv", core, tmp_path / "x.npz").compared.bytes_compared == 3 * 4
    assert emulate_model(net, "conv", core, np.ones((2, 13, 11, 3), np.int8)).compared.bytes_compared == 2 * 4


def expected(inputs: NDArray[np.int8] = INPUTS) -> Vectors:
    return Vectors(inputs, inputs[:, :4], "by hand")


def test_generated_c_with_vectors(tmp_path: Path) -> None:
    hand_engine.write(tmp_path)
    done = emulate_folder(tmp_path, needed("cortex-m4"), expected())
    assert done.equal and done.compared.bytes_compared == 8
    assert done.arena == 20 and done.static == 0
    assert done.flash and (done.flash.constants, done.flash.weights) == (0, 0)  # it uses none
    assert 20 <= done.flash.code <= 60


def test_the_folder_may_be_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_engine.write(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    done = emulate_folder(Path(tmp_path.name), needed(HOST), expected())
    assert done.equal and done.compared.bytes_compared == 8


def test_a_difference_in_generated_c_is_told_by_its_place(tmp_path: Path) -> None:
    hand_engine.write(tmp_path, hand_engine.FIRST_FOUR + "out[2] = 99;")
    done = emulate_folder(tmp_path, needed(HOST), expected())
    assert not done.equal and done.compared.bytes_different == 2
    assert done.first and (done.first.op_name, done.first.index) == ("output", 2)
    assert (done.first.expected, done.first.got) == (2, 99)


def test_stack_is_what_the_model_takes(tmp_path: Path) -> None:
    """A hundred words on the stack more are 400 bytes more."""
    stack = {}
    for words in (100, 200):
        folder = tmp_path / str(words)
        folder.mkdir()
        body = f"volatile int32_t room[{words}]; room[0] = 1; out[0] = (int8_t)room[0];"
        image = build(hand_engine.write(folder, body), needed("cortex-m4"), folder / "image")
        stack[words] = qemu.run(image, INPUTS).stack
    assert stack[100] is not None and stack[200] is not None
    assert stack[200] - stack[100] == 400
    assert 400 <= stack[100] < 440


def test_weights_constants_code_and_static_are_told_apart(tmp_path: Path) -> None:
    body = "static int8_t kept[12]; static int32_t begun[2] = {1, 2}; kept[hand_input()[0] & 3] += (int8_t)begun[1]++;"
    body += "out[0] = (int8_t)(w_op0_weights[hand_input()[0] & 63] + c_op0_args[hand_input()[1] & 3] + kept[1]);"
    image = build(hand_engine.write(tmp_path, body), needed("cortex-m4"), tmp_path / "image")
    assert image.flash.weights == 100
    assert image.flash.constants == 16 + 8  # the arguments, and what initialised data begins as
    assert image.static == 12 + 8


def test_a_model_too_large_for_the_first_machine_takes_the_next(tmp_path: Path) -> None:
    engine = hand_engine.write(tmp_path, arena=20_000)
    image = build(engine, needed("cortex-m0"), tmp_path / "image")
    assert image.machine is not None and image.machine.options == ["-M", "mps2-an385"]
    assert np.array_equal(qemu.run(image, INPUTS).outputs, INPUTS[:, :4])


def test_a_model_too_large_for_all_machines_is_one_line(tmp_path: Path) -> None:
    engine = hand_engine.write(tmp_path, arena=5_000_000)
    with pytest.raises(ToolError, match="^cortex-m4: the model does not fit the emulated machine: 4194304 bytes of fl"):
        build(engine, needed("cortex-m4"), tmp_path / "image")


def test_nothing_compared_is_an_error(tmp_path: Path) -> None:
    image = build(hand_engine.write(tmp_path), needed(HOST), tmp_path / "image")
    with pytest.raises(ToolError, match="are no runs of 16 bytes"):
        qemu.run(image, INPUTS[:0])


def test_an_image_that_stops_early_proves_nothing(tmp_path: Path) -> None:
    body = "if (hand_input()[0] != 0) { void exit(int); exit(0); }"
    image = build(hand_engine.write(tmp_path, body), needed("cortex-m4"), tmp_path / "image")
    with pytest.raises(ToolError, match="ran 0 of 2 inputs: nothing is proven"):
        qemu.run(image, INPUTS)


@pytest.mark.parametrize("core", ["cortex-m4", "rv32imc"])
def test_a_fault_is_an_error(tmp_path: Path, core: str) -> None:
    body = "*(volatile int32_t *)0xdfff0000u = 1;"
    image = build(hand_engine.write(tmp_path, body), needed(core), tmp_path / "image")
    with pytest.raises(ToolError, match=f"the model on {core}: qemu-.* failed with exit code"):
        qemu.run(image, INPUTS, timeout_s=20)


def test_an_endless_loop_is_an_error(tmp_path: Path) -> None:
    image = build(hand_engine.write(tmp_path, "for (;;) {}"), needed("cortex-m4"), tmp_path / "image")
    with pytest.raises(ToolError, match="took longer than 1 s"):
        qemu.run(image, INPUTS, timeout_s=1)


@pytest.mark.parametrize(
    ("core", "missing", "package"),
    [
        ("cortex-m4", "arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("rv32imc", "riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
        ("host", "gcc", "gcc"),
    ],
)
def test_a_missing_compiler_is_one_line_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core: str, missing: str, package: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as error:
        build(hand_engine.write(tmp_path), load_core(core), tmp_path / "image")
    assert str(error.value) == f"{missing} is not installed: apt-get install {package}"


def test_a_missing_emulator_is_one_line_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "riscv64-unknown-elf-gcc").symlink_to(require_tool("riscv64-unknown-elf-gcc"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError) as error:
        build(hand_engine.write(tmp_path), load_core("rv32imc"), tmp_path / "image")
    assert str(error.value) == "qemu-system-riscv32 is not installed: apt-get install qemu-system-misc"


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no generated model: kd-embedded codegen --engine aot makes one"):
        find_engine(tmp_path)


def test_plain_c_without_vectors_is_one_line(tmp_path: Path) -> None:
    engine = hand_engine.write(tmp_path)
    with pytest.raises(ConfigError, match="holds plain C and no vectors to compare with: give the MODEL.tflite"):
        golden_vectors(tmp_path, engine)


def test_vectors_of_a_file(tmp_path: Path) -> None:
    engine = hand_engine.write(tmp_path)
    np.savez(tmp_path / "v.npz", x=INPUTS, y_q=INPUTS[:, :4])
    assert np.array_equal(load_vectors(tmp_path / "v.npz", engine).outputs, INPUTS[:, :4])
    np.savez(tmp_path / "wrong.npz", x=INPUTS, y_q=INPUTS)
    with pytest.raises(DataError, match="are no vectors of this model: it takes 16 int8 values and gives 4"):
        load_vectors(tmp_path / "wrong.npz", engine)
    np.savez(tmp_path / "none.npz", x=INPUTS[:0], y_q=INPUTS[:0, :4])
    with pytest.raises(DataError, match="are no vectors of this model"):
        load_vectors(tmp_path / "none.npz", engine)
    np.savez(tmp_path / "without.npz", x=INPUTS)
    with pytest.raises(DataError, match="lacks x or y_q: numpy.savez"):
        load_vectors(tmp_path / "without.npz", engine)
