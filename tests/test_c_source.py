"""The C that the aot engine writes: compiled as strictly as anybody might, run on the host, linked twice, and read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import c_models
import firmware_projects as projects
import numpy as np
import pytest
from aot_models import FAMILIES, MODELS, compiled, oracle, samples, small_net
from conftest import require_tool
from tflite_builder import O, T, build, dense

from kd_embedded import interpreters
from kd_embedded.aot import compile_model
from kd_embedded.codegen import c_source
from kd_embedded.codegen.c_source import account, kernel_files, model_files, single_file
from kd_embedded.errors import KdError
from kd_embedded.program import Family, Optimize, Target
from kd_embedded.resources import templates_dir

MODES: tuple[Optimize, ...] = ("speed", "ram", "size")
PARTS = ("-ffunction-sections", "-fdata-sections")


# ---- What it computes


@pytest.mark.parametrize("optimize", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_one_file_computes_what_the_oracle_does(model: str, optimize: Optimize, tmp_path: Path) -> None:
    program = compiled(model, optimize=optimize)
    c_models.write(tmp_path, single_file(program, model))
    inputs = samples(program)
    found = c_models.infer(c_models.build(tmp_path, model), inputs, program.output.shape)
    np.testing.assert_array_equal(found, oracle(model, inputs))


def test_a_source_beside_its_kernels_computes_the_same(tmp_path: Path) -> None:
    program = compiled("tiny")
    c_models.write(tmp_path, {**model_files(program, "tiny"), **kernel_files(program.kernels)})
    inputs = samples(program)
    found = c_models.infer(c_models.build(tmp_path, "tiny"), inputs, program.output.shape)
    np.testing.assert_array_equal(found, oracle("tiny", inputs))


_INTERLEAVED = """
#include <stdio.h>
#include <string.h>
#include "net.h"

static int32_t memory[3][(NET_ARENA_BYTES + 3) / 4];

int main(void) {
  int8_t *arenas[3];
  for (int i = 0; i < 3; i++) {
    arenas[i] = (int8_t *)memory[i];
    memset(arenas[i], 0x55 + i, NET_ARENA_BYTES); /* nothing is expected of it */
    if (fread(arenas[i] + NET_INPUT_OFFSET, 1, NET_INPUT_BYTES, stdin) != NET_INPUT_BYTES) {
      return 1;
    }
  }
  for (int i = 2; i >= 0; i--) {
    net_invoke_in(arenas[i]);
  }
  for (int i = 0; i < 3; i++) {
    fwrite(arenas[i] + NET_OUTPUT_OFFSET, 1, NET_OUTPUT_BYTES, stdout);
  }
  return 0;
}
"""


def test_several_arenas_at_once_and_no_static_one(tmp_path: Path) -> None:
    program = compiled("net")
    c_models.write(tmp_path, {**single_file(program, "net"), "main.c": _INTERLEAVED})
    sources = [str(tmp_path / "net.c"), str(tmp_path / "main.c"), "-o", str(tmp_path / "program")]
    flags = [*c_models.C99, *c_models.WARNINGS, *c_models.SANITIZED, "-DNET_NO_STATIC_ARENA"]
    c_models.run([require_tool("gcc"), *flags, *sources])
    inputs = samples(program, 3)
    found = c_models.infer(tmp_path / "program", inputs, program.output.shape)
    np.testing.assert_array_equal(found, oracle("net", inputs))
    assert "arena" not in c_models.run([require_tool("nm"), str(tmp_path / "program")])


_PROFILED = """
#include <stdio.h>
#include "net.h"

void kd_profile(int32_t op);
void kd_profile(int32_t op) { printf("%d ", (int)op); }

int main(void) {
  net_invoke();
  return 0;
}
"""


def test_the_hook_for_profiling(tmp_path: Path) -> None:
    c_models.write(tmp_path, {**single_file(compiled("net"), "net"), "main.c": _PROFILED})
    sources = [str(tmp_path / "net.c"), str(tmp_path / "main.c"), "-o", str(tmp_path / "program")]
    c_models.run([require_tool("gcc"), *c_models.C99, *c_models.WARNINGS, "-DKD_PROFILE", *sources])
    told = [int(op) for op in c_models.run([str(tmp_path / "program")]).split()]
    assert told[-1] == -1 and list(dict.fromkeys(told[:-1])) == [0, 1, 3]  # a reshape calls nothing
    silent = c_models.compile_c(tmp_path / "net.c")
    assert "kd_profile" not in c_models.run([require_tool("nm"), str(silent)])


# ---- How it compiles and links


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
def test_strict_compilers_have_nothing_to_say(compiler: str, level: str, tmp_path: Path) -> None:
    for model in MODELS:
        c_models.write(tmp_path, single_file(compiled(model, optimize="ram"), model))
        c_models.compile_c(tmp_path / f"{model}.c", (level,), compiler=compiler)


@pytest.mark.parametrize("family", FAMILIES)
def test_cross_compilers_have_nothing_to_say(family: Family, tmp_path: Path) -> None:
    for model in MODELS:
        c_models.write(tmp_path, single_file(compiled(model, family), model))
        for level in ("-O2", "-Os"):
            flags = (*c_models.ARM[family], level)
            c_models.compile_c(tmp_path / f"{model}.c", flags, compiler="arm-none-eabi-gcc")


@pytest.mark.parametrize("family", ["dsp", "helium"])
def test_a_compiler_for_another_core_is_told(family: Family, tmp_path: Path) -> None:
    texts = single_file(compiled("net", family), "net")
    whom = re.search(r"^ \* For (cores with .*)\.$", texts["net.h"], re.M)
    c_models.write(tmp_path, texts)
    command = [require_tool("gcc"), "-c", str(tmp_path / "net.c"), "-o", str(tmp_path / "net.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert whom and done.returncode and f'#error "net is for {whom[1]}: compile it for one' in done.stderr
    assert " * For any core.\n" in single_file(compiled("net"), "net")["net.h"]


def family_of(kernel: str) -> Family:
    return next((family for family in FAMILIES if kernel.endswith(f"_{family}")), "c")


@pytest.mark.parametrize("compiler", ["gcc", "clang", "arm-none-eabi-gcc"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_kernels_in_one_source(family: Family, compiler: str, tmp_path: Path) -> None:
    """Whatever a model calls, no two kernels share a name; those with instructions of their own compile for them."""
    names = sorted(path.stem for path in (templates_dir() / "aot" / "kernels").glob("*.c"))
    chosen = [name for name in names if family_of(name) in ("c", family)]
    if compiler != "arm-none-eabi-gcc":
        chosen = [name for name in chosen if family_of(name) == "c"]
    (tmp_path / "all.c").write_text(c_source._embedded(chosen))
    flags = c_models.ARM[family] if compiler == "arm-none-eabi-gcc" else ()
    made = c_models.compile_c(tmp_path / "all.c", (*flags, "-O2"), compiler=compiler)
    public = [line.split()[-1] for line in c_models.run([require_tool("nm"), str(made)]).splitlines() if " W " in line]
    assert len(public) == len(chosen) and all(re.fullmatch(r"kd_\w+_[0-9a-f]{8}", name) for name in public)


def test_risc_v(tmp_path: Path) -> None:
    c_models.write(tmp_path, single_file(compiled("tiny"), "tiny"))
    flags = ("-march=rv32imac", "-mabi=ilp32", "-Os", "--specs=picolibc.specs")
    c_models.compile_c(tmp_path / "tiny.c", flags, compiler="riscv64-unknown-elf-gcc")


def test_the_header_in_cpp_11(tmp_path: Path) -> None:
    c_models.write(tmp_path, single_file(compiled("net"), "net"))
    caller = '#include "net.h"\n#include "net.h"\nint main() { net_invoke(); return net_info()->arena_bytes == 0; }\n'
    (tmp_path / "main.cpp").write_text(caller)
    made = c_models.compile_c(tmp_path / "net.c")
    for compiler in ("g++", "clang++"):
        command = [require_tool(compiler), *projects.STRICT, "-pedantic", str(tmp_path / "main.cpp"), str(made)]
        c_models.run([*command, "-o", str(tmp_path / "program")])
        c_models.run([str(tmp_path / "program")])


def test_cppcheck_has_nothing_to_say(tmp_path: Path) -> None:
    for model in MODELS:
        c_models.write(tmp_path, single_file(compiled(model), model))
    command = [require_tool("cppcheck"), "--enable=warning,style,performance,portability", "--std=c99", "--quiet"]
    c_models.run([*command, "--error-exitcode=1", "--inline-suppr", str(tmp_path)])


def symbols(path: Path) -> list[str]:
    """Names of all symbols of an object or a program."""
    return [line.split()[-1] for line in c_models.run([require_tool("nm"), str(path)]).splitlines()]


_TWO = """
#include <stdio.h>
#include "net.h"
#include "other.h"

int main(void) {
  fread(net_input(), 1, NET_INPUT_BYTES, stdin);
  net_invoke();
  fwrite(net_output(), 1, NET_OUTPUT_BYTES, stdout);
  for (size_t i = 0; i < OTHER_INPUT_BYTES; i++) {
    other_input()[i] = (int8_t)i;
  }
  other_invoke();
  fwrite(other_output(), 1, OTHER_OUTPUT_BYTES, stdout);
  return net_info() == other_info();
}
"""


def link_two(folder: Path) -> Path:
    flags = [require_tool("gcc"), "-O2", *PARTS, "-Wl,--gc-sections", "-Wno-unused-result"]
    sources = [str(folder / name) for name in ("net.c", "other.c", "main.c")]
    c_models.run([*flags, *sources, "-o", str(folder / "program")])
    return folder / "program"


def test_two_models_in_one_image_share_their_kernels(tmp_path: Path) -> None:
    net, other = compiled("net"), compile_model(small_net(1), "other", Target())
    c_models.write(tmp_path, {**single_file(net, "net"), **single_file(other, "other"), "main.c": _TWO})
    program = link_two(tmp_path)
    found = [name for name in symbols(program) if re.fullmatch(r"kd_\w+_[0-9a-f]{8}", name)]
    assert sorted(found) == sorted(set(found)) and len(found) == len(net.kernels) == len(other.kernels)
    inputs = samples(net, 1)
    ramp = np.arange(126, dtype=np.int8).reshape(1, 7, 6, 3)
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True, check=True).stdout
    second = interpreters.run_oracle(small_net(1), ramp).outputs
    assert done == oracle("net", inputs).tobytes() + second.tobytes()


def test_kernels_of_two_versions_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, other = compiled("net"), compile_model(small_net(1), "other", Target())
    old = single_file(net, "net")
    text = c_source._kernel_text
    monkeypatch.setattr(c_source, "_kernel_text", lambda file: text(file) + "/* a later version */\n")
    c_models.write(tmp_path, {**old, **single_file(other, "other"), "main.c": _TWO})
    found = [name for name in symbols(link_two(tmp_path)) if re.fullmatch(r"kd_\w+_[0-9a-f]{8}", name)]
    assert len(found) == 2 * len(net.kernels) == len(set(found))


def test_an_unused_static_arena_is_not_linked(tmp_path: Path) -> None:
    caller = '#include "net.h"\nint main(void) { net_invoke_in((int8_t *)0); return 0; }\n'
    c_models.write(tmp_path, {**single_file(compiled("net"), "net"), "main.c": caller})
    sources = [str(tmp_path / name) for name in ("net.c", "main.c")]
    made = tmp_path / "program"
    c_models.run([require_tool("gcc"), *PARTS, "-Wl,--gc-sections", *sources, "-o", str(made)])
    assert "net_arena" not in symbols(made) and "net_invoke_in" in symbols(made)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_object_holds(family: Family, tmp_path: Path) -> None:
    """No memory but the arena, nothing from outside but moving bytes, constants where the account looks for them."""
    program = compiled("residual", family)
    c_models.write(tmp_path, single_file(program, "residual"))
    made = c_models.compile_c(tmp_path / "residual.c", (*c_models.ARM[family], "-Os"), compiler="arm-none-eabi-gcc")
    table = c_models.run([require_tool("arm-none-eabi-nm"), "-S", str(made)])
    rows = [line.split() for line in table.splitlines() if not line.split()[-1].startswith("$")]
    sized = {row[3]: (row[2], int(row[1], 16)) for row in rows if len(row) == 4}
    memory = {name: size for name, (kind, size) in sized.items() if kind in "bBdD"}
    assert memory == {"residual_arena": program.arena_bytes}
    undefined = {row[1] for row in rows if row[0] == "U"}
    assert undefined <= {"memcpy", "memmove", "memset", "__aeabi_idiv", "__aeabi_lmul", "__aeabi_llsl", "__aeabi_llsr"}
    by_kind: dict[str | None, int] = {}
    for name, (kind, size) in sized.items():
        assert (account(name) is None) == (kind not in "rR"), name
        by_kind[account(name)] = by_kind.get(account(name), 0) + size
    assert by_kind["weights"] == program.flash.weights
    strings = 40  # c_info, and the tables of a kernel
    assert abs(by_kind["constants"] - program.flash.constants) <= strings


# ---- The text


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kd_embedded.aot import compile_model;"
        "from kd_embedded.codegen.c_source import single_file; from kd_embedded.program import Target;"
        "p = compile_model(Path(sys.argv[1]).read_bytes(), sys.argv[2], Target(optimize='ram'));"
        "sys.stdout.write(''.join(single_file(p, 'tiny').values()))"
    )
    texts = []
    for seed, where in (("1", "here.tflite"), ("2", "/elsewhere/there.tflite")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"}
        command = [sys.executable, "-c", script, str(projects.TINY), where]
        texts.append(subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout)
    assert texts[0] == texts[1] and len(texts[0]) > 1000
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", texts[0])


def test_each_call_tells_op_shapes_macs_and_places() -> None:
    program = compiled("net")
    text = model_files(program, "net")["net.c"]
    body = text[text.index("void net_invoke_in") :]
    told = re.findall(r"/\* op (\d+) (\w+): (\S+) -> (\S+?)(?:, (\d+) MACs)?\n", body)
    assert told == [
        ("0", "CONV_2D", "1x7x6x3", "1x7x6x8", "9072"),
        ("1", "DEPTHWISE_CONV_2D", "1x7x6x8", "1x4x3x8", "864"),
        ("2", "RESHAPE", "1x4x3x8", "1x96", ""),
        ("3", "FULLY_CONNECTED", "1x96", "1x5", "480"),
    ]
    for line in re.findall(r"arena: (.*) \*/", body):
        for first, last in re.findall(r"(\d+)-(\d+)", line):
            assert 0 <= int(first) <= int(last) < program.arena_bytes
    assert body.count("the same bytes: nothing to do") == 1
    assert max(map(len, text.splitlines())) <= 120


def test_dead_channels_are_told() -> None:
    weights = np.ones((4, 1, 1, 4))
    weights[2] = 0
    tensors = [
        T([1, 4, 4, 4]),
        T([4, 1, 1, 4], "int8", [0.1] * 4, [0] * 4, data=weights),
        T([4], "int32", [0.01] * 4, [0] * 4, data=np.array([5, 5, 0, 5])),
        T([1, 4, 4, 4], "int8", 0.1, 0),
        T([3, 1, 1, 4], "int8", [0.1] * 3, [0] * 3, data=np.ones((3, 1, 1, 4))),
        T([3], "int32", [0.01] * 3, [0] * 3, data=np.ones(3)),
        T([1, 4, 4, 3], "int8", 0.1, 0),
    ]
    conv = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    ops = [O("CONV_2D", [3 * i, 3 * i + 1, 3 * i + 2], [3 * i + 3], "Conv2DOptions", conv, version=3) for i in (0, 1)]
    texts = single_file(compile_model(build(tensors, ops), "net", Target(optimize="size")), "net")
    assert "Dead channels left out, which cannot change the output: 1." in texts["net.h"]
    assert " * 2 ops, 336 multiply-accumulates, " in texts["net.h"]  # 16 pixels: 4 to 3 channels, and those to 3
    assert "op 0 CONV_2D: 1x4x4x4 -> 1x4x4x3, 1 dead channel (64 MACs) left out, 256 MACs" in texts["net.c"]


def test_names_and_values_of_the_header() -> None:
    program = compiled("net")
    header = single_file(program, "my_net")["my_net.h"]
    defined = dict(re.findall(r"^#define (MY_NET_\w+) (.+)$", header, re.M))
    assert defined == {
        "MY_NET_INPUT_BYTES": "126",
        "MY_NET_INPUT_SCALE": "0.05f",
        "MY_NET_INPUT_ZERO_POINT": "(-3)",
        "MY_NET_OUTPUT_BYTES": "5",
        "MY_NET_OUTPUT_SCALE": "0.2f",
        "MY_NET_OUTPUT_ZERO_POINT": "(7)",
        "MY_NET_ARENA_BYTES": str(program.arena_bytes),
        "MY_NET_INPUT_OFFSET": str(program.plan.offsets[program.input.index]),
        "MY_NET_OUTPUT_OFFSET": str(program.plan.offsets[program.output.index]),
    }
    for line in header[: header.index("#ifndef")].splitlines():
        assert len(line) <= 120
    for function in ("info(void)", "input(void)", "output(void)", "invoke(void)", "invoke_in(int8_t *arena)"):
        assert f"my_net_{function};" in header


def test_hostile_names_of_tensors_do_not_reach_the_source() -> None:
    data = build([T([1, 8], name="*/ int x; /*"), T([1, 8], name='"\n#error')], [O("RELU", [0], [1])])
    texts = single_file(compile_model(data, "*/ where", Target()), "net")
    assert not any(word in text for text in texts.values() for word in ("int x;", "#error", "*/ where"))


def test_a_flash_attribute_stands_at_every_constant(tmp_path: Path) -> None:
    """As on a Teensy 4, whose startup code copies every other constant to RAM."""
    flash = c_source.Flash("PROGMEM", "<avr/pgmspace.h>")
    program = compiled("residual", "dsp", "ram")
    pgmspace = '#define PROGMEM __attribute__((section(".progmem")))\n'
    c_models.write(tmp_path, {**single_file(program, "net", flash=flash), "avr/pgmspace.h": pgmspace})
    made = c_models.compile_c(
        tmp_path / "net.c", (*c_models.ARM["dsp"], f"-I{tmp_path}", "-Os"), compiler="arm-none-eabi-gcc"
    )
    table = c_models.run([require_tool("arm-none-eabi-objdump"), "-t", str(made)])
    rows = re.findall(r" O (\S+)\s+\S+ ([wc]_op\w+)$", table, re.M)
    assert len(rows) > 10 and {section for section, _ in rows} == {".progmem"}


def test_only_the_kernels_that_are_called() -> None:
    program = compile_model(dense(), "dense", Target())
    assert program.kernels == ("fully_connected",)
    source = single_file(program, "dense")["dense.c"]
    assert set(re.findall(r"^#define kd_(\w+) kd_", source, re.M)) == {"fully_connected"}
    for path, text in kernel_files(program.kernels).items():
        assert (templates_dir() / "aot" / path).read_text("utf-8") == text


def test_names_like_the_kernels_own_are_refused() -> None:
    for name in ("kd", "kd_conv"):
        with pytest.raises(KdError, match="begins like the kernels' own symbols"):
            single_file(compiled("net"), name)
