"""The C that the aot engine writes: compiled as strictly as anybody might, run on the host, linked twice, and read."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import c_models
import firmware_projects as projects
import numpy as np
import pytest
from conftest import needs_reference, require_tool
from numpy.typing import NDArray
from tflite_builder import O, T, build, dense, relu6_alone

from kd_embedded import codegen, golden, interpreters
from kd_embedded.aot import Program, compile_model
from kd_embedded.boards import board_names, load_board
from kd_embedded.codegen import c_source, plain
from kd_embedded.codegen.c_source import account, kernel_files, model_files, single_file
from kd_embedded.errors import KdError
from kd_embedded.program import Family, Optimize, Target
from kd_embedded.resources import templates_dir

EXPECTED = projects.TESTS / "firmware" / "expected" / "aot_pico"
RESIDUAL = projects.TESTS / "data" / "residual.tflite"
FAMILIES: tuple[Family, ...] = ("c", "dsp", "helium")
MODES: tuple[Optimize, ...] = ("speed", "ram", "size")
PARTS = ("-ffunction-sections", "-fdata-sections")


def small_net(seed: int = 0) -> bytes:
    """Convolution, depthwise convolution, reshape and dense layer, int8 [1, 7, 6, 3] to [1, 5]."""
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> NDArray[Any]:
        return rng.integers(-127, 128, shape)

    def scales(count: int, of: float) -> list[float]:
        return [of * (1 + i / 8) for i in range(count)]

    tensors = [
        T([1, 7, 6, 3], "int8", 0.05, -3),
        T([8, 3, 3, 3], "int8", scales(8, 0.01), [0] * 8, data=values(8, 3, 3, 3)),
        T([8], "int32", scales(8, 0.0005), [0] * 8, data=values(8) * 9),
        T([1, 7, 6, 8], "int8", 0.04, -128),
        T([1, 3, 3, 8], "int8", scales(8, 0.01), [0] * 8, axis=3, data=values(1, 3, 3, 8)),
        T([8], "int32", scales(8, 0.0004), [0] * 8, data=values(8) * 9),
        T([1, 4, 3, 8], "int8", 0.03, 4),
        T([2], "int32", None, data=np.array([1, 96])),
        T([1, 96], "int8", 0.03, 4),
        T([5, 96], "int8", 0.01, 0, data=values(5, 96)),
        T([5], "int32", 0.0003, 0, data=values(5) * 9),
        T([1, 5], "int8", 0.2, 7),
    ]
    conv = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "FusedActivationFunction": 1}
    depthwise = {"StrideH": 2, "StrideW": 2, "DilationHFactor": 1, "DilationWFactor": 1, "DepthMultiplier": 1}
    return build(
        tensors,
        [
            O("CONV_2D", [0, 1, 2], [3], "Conv2DOptions", conv, version=3),
            O("DEPTHWISE_CONV_2D", [3, 4, 5], [6], "DepthwiseConv2DOptions", depthwise, version=3),
            O("RESHAPE", [6, 7], [8], "ReshapeOptions"),
            O("FULLY_CONNECTED", [8, 9, 10], [11], "FullyConnectedOptions", version=4),
        ],
    )


MODELS = {"net": small_net(), "tiny": projects.TINY.read_bytes(), "residual": RESIDUAL.read_bytes()}


def compiled(model: str, family: Family = "c", optimize: Optimize = "speed") -> Program:
    return compile_model(MODELS[model], model, Target(family, optimize))


def samples(program: Program, count: int = 12) -> NDArray[np.int8]:
    shape = (count, *program.input.shape[1:])
    return np.random.default_rng(5).integers(-128, 128, shape, dtype=np.int8)


def oracle(model: str, inputs: NDArray[np.int8]) -> NDArray[Any]:
    return interpreters.run_oracle(MODELS[model], inputs).outputs


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
    flash = c_source.Flash("PROGMEM", "<avr/pgmspace.h>")
    source = single_file(compiled("net"), "net", flash=flash)["net.c"]
    assert "#include <avr/pgmspace.h>" in source and "#define KD_FLASH PROGMEM\n" in source
    constants = re.findall(r"^static (?:KD_ALIGNED )?const .*$", source[source.index("KD_FLASH PROGMEM") :], re.M)
    assert constants and all("KD_FLASH" in line for line in constants if "c_info" not in line)


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


# ---- The project


def project(out: Path, board: str = "pico", **changes: Any) -> codegen.Plan:
    data = projects.TINY.read_bytes()
    graph = codegen.checked_graph(data, "tiny.tflite", "aot")
    vectors = golden.from_random(data, graph, on_tflm=False)
    arguments = {"golden": vectors, "engine": "aot", "arena": None, **changes}
    return projects.plan(out, board, **arguments)


def contents(folder: Path) -> Mapping[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_selftest_of_the_project_passes_on_the_host(tmp_path: Path) -> None:
    project(tmp_path / "out").write()
    source = tmp_path / "out/src"
    objects = []
    for path in sorted(source.rglob("*.c")):
        objects.append(c_models.compile_c(path, ("-O1", *c_models.SANITIZED)))
    units = [source / f"{unit}.cpp" for unit in ("protocol", "model", "golden_vectors", "user_input", "engine_aot")]
    made = projects.compile_host(tmp_path / "program", [*units, *objects, projects.HOST / "harness.cpp"], [source])
    lines = projects.talk(made, "selftest\ninfo\n")
    assert "selftest: PASS 8/8" in lines
    told = dict(line.removeprefix("info: ").split(" ", 1) for line in lines if re.match(r"info: \w+ ", line))
    assert told["arena_bytes"] == told["arena_used_bytes"] == str(compiled("tiny").arena_bytes)
    assert re.fullmatch(r"kd-embedded \S+ aot \(portable C, for speed\)", told["engine"])


def test_a_wrong_golden_byte_fails_the_selftest(tmp_path: Path) -> None:
    data = projects.TINY.read_bytes()
    project(tmp_path / "out", golden=projects.golden(data)).write()  # outputs made up
    source = tmp_path / "out/src"
    objects = [c_models.compile_c(path) for path in sorted(source.rglob("*.c"))]
    units = [source / f"{unit}.cpp" for unit in ("protocol", "model", "golden_vectors", "user_input", "engine_aot")]
    made = projects.compile_host(tmp_path / "program", [*units, *objects, projects.HOST / "harness.cpp"], [source])
    assert "selftest: FAIL 0/8" in projects.talk(made, "selftest\n")


@pytest.mark.parametrize("board", board_names())
def test_no_board_needs_a_library(board: str, tmp_path: Path) -> None:
    from platformio.project.config import ProjectConfig  # type: ignore[import-untyped]

    plan = project(tmp_path / "out", board)
    plan.write()
    everything = "".join(text for name, text in plan.generated.items() if name != ".gitignore")
    for trace in ("tflite", "TF_LITE", "Chirale", "TensorFlow Lite Micro"):
        assert trace not in everything.replace("tiny.tflite", "").replace(".tflite file", ""), trace
    path = tmp_path / "out/platformio.ini"
    problems = ProjectConfig.lint(str(path))
    assert not problems["errors"] and not problems["warnings"]
    config, about = ProjectConfig(str(path)), load_board(board)
    assert config.get(f"env:{board}", "lib_deps") == []
    flags = config.get(f"env:{board}", "build_flags")
    assert flags == [flag for flag in about.platformio.build_flags if "TF_LITE" not in flag]
    assert config.get(f"env:{board}", "build_unflags") == about.platformio.build_unflags
    source = plan.generated["src/aot/network.c"]
    assert f"#define KD_FLASH{' ' * bool(about.arch_flash_attribute)}{about.arch_flash_attribute}\n" in source
    assert "SET_LOOP_TASK" not in plan.generated["src/main.cpp"]


@pytest.mark.parametrize(
    ("board", "family"), [("nano33ble", "dsp"), ("teensy41", "dsp"), ("pico", "c"), ("esp32", "c")]
)
def test_the_kernels_are_those_of_the_boards_core(board: str, family: Family, tmp_path: Path) -> None:
    plan = project(tmp_path / "out", board)
    kernels = {f"src/aot/{path}" for path in kernel_files(compiled("tiny", family).kernels)}
    assert {path for path in plan.generated if path.startswith("src/aot/kernels/")} == kernels
    for path in kernels:
        text = (templates_dir() / path.removeprefix("src/")).read_text("utf-8")
        assert (
            plan.generated[path].endswith(text) and "Generated by kd-embedded" in plan.generated[path].splitlines()[0]
        )


def test_the_project_is_as_committed(tmp_path: Path, update_golden: bool) -> None:
    """But for the kernels, which are files of their own. After a change that is meant: pytest --update-golden."""
    data = projects.TINY.read_bytes()
    for out in (EXPECTED, tmp_path / "out") if update_golden else (tmp_path / "out",):
        project(out, golden=projects.golden(data)).write()
        shutil.rmtree(out / "src/aot/kernels")
    found, expected = contents(tmp_path / "out"), contents(EXPECTED)
    marker = ".kd-embedded.json"  # holds hashes of the kernels
    assert sorted(found) == sorted(expected)
    for name in found.keys() - {marker}:
        assert found[name] == expected[name], f"{name} differs"


def test_ram_and_flash_are_those_of_the_program(tmp_path: Path) -> None:
    board, program = load_board("nano33ble"), compiled("tiny", "dsp")
    about = project(tmp_path / "out", "nano33ble").project
    assert about.arena_bytes == program.arena_bytes and about.arena_probed
    assert about.ram_bytes == program.arena_bytes + board.allowance.ram_bytes - board.allowance.runtime_ram_bytes
    on_tflm = projects.plan(tmp_path / "other", "nano33ble").project
    assert about.flash_bytes < on_tflm.flash_bytes and about.ram_bytes < on_tflm.ram_bytes


def test_the_readme_tells_what_a_maintainer_needs(tmp_path: Path) -> None:
    readme = project(tmp_path / "out", "esp32").generated["README.md"]
    for told in ("## The model as C", "`src/aot/network.c`", "`kd-embedded emulate DIR`", "the plan: exact"):
        assert told in readme
    assert "\n\n\n" not in readme.split("## Sizes")[1].replace("\n\n\n## Where", "")
    for table in re.findall(r"((?:^\|.*\n)+)", readme, re.M):
        assert len({row.count("|") for row in table.splitlines()}) == 1


@needs_reference
def test_a_model_that_tflm_computes_otherwise(tmp_path: Path) -> None:
    """RELU6 alone: refused for TFLM, right here."""
    data = relu6_alone()
    (tmp_path / "relu6.tflite").write_bytes(data)
    boards = [(load_board("pico"), tmp_path / "out")]
    with pytest.raises(KdError, match="RELU6"):
        codegen.plan_file(tmp_path / "relu6.tflite", boards, name="relu6")
    (plan,) = codegen.plan_file(tmp_path / "relu6.tflite", boards, name="relu6", engine="aot")
    assert "BUILTIN_REF" in plan.generated["README.md"]
    wide = dense(per_channel=True)
    (tmp_path / "wide.tflite").write_bytes(wide)
    codegen.plan_file(tmp_path / "wide.tflite", [(load_board("nano33ble"), tmp_path / "o")], name="w", engine="aot")


# ---- The command line


def kd(model: Path | str, options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kd_embedded", "codegen", str(model), *shlex.split(options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_plain_c_as_a_user_types_it(tmp_path: Path) -> None:
    told = kd(projects.TINY, "--engine aot --format c --name 'My Net' --out lib/net", tmp_path)
    assert told.returncode == 0 and told.stderr == "" and "my_net.h" in told.stdout
    assert sorted(path.name for path in (tmp_path / "lib/net").iterdir()) == ["my_net.c", "my_net.h"]
    first = contents(tmp_path / "lib/net")
    again = kd(projects.TINY, "--engine aot --format c --name my_net --out lib/net --json", tmp_path)
    assert contents(tmp_path / "lib/net") == first
    document = json.loads(again.stdout)
    assert document["files"] == ["my_net.c", "my_net.h"] and document["arena_bytes"] == compiled("tiny").arena_bytes
    c_models.compile_c(tmp_path / "lib/net/my_net.c")


def test_a_core_picks_the_kernels(tmp_path: Path) -> None:
    for core, family in (("cortex-m4", "dsp"), ("cortex-m55", "helium"), ("rv32imc", "c")):
        told = kd(projects.TINY, f"--engine aot --format c --json --out {core} --core {core}", tmp_path)
        assert json.loads(told.stdout)["kernels"] == list(compiled("tiny", family).kernels)


def test_a_project_as_a_user_types_it(tmp_path: Path) -> None:
    options = "--engine aot --optimize size --board pico --board nano33ble --out fw --name net --json"
    told = kd(projects.TINY, options, tmp_path)
    assert told.returncode == 0, told.stderr
    for found in json.loads(told.stdout)["projects"]:
        folder = tmp_path / found["folder"]
        assert all((folder / name).is_file() for name in found["files"])
        assert "net_invoke" in (folder / "src/aot/network.h").read_text()
        assert "for size" in (folder / "src/engine_aot.cpp").read_text()


BAD: Mapping[str, tuple[str, str]] = {
    "format without engine": ("--format c --out o", "--format goes with --engine aot"),
    "optimize without engine": ("--optimize ram --board pico --out o", "--optimize goes with --engine aot"),
    "core of a project": ("--engine aot --core cortex-m4 --board pico --out o", "--core goes with --format c"),
    "board of plain C": ("--engine aot --format c --board pico --out o", "--board goes with --format project"),
    "labels of plain C": ("--engine aot --format c --labels x --out o", "--labels goes with --format project"),
    "golden of plain C": ("--engine aot --format c --golden x --out o", "--golden goes with --format project"),
    "no out": ("--engine aot --format c", "a model needs --out"),
    "no board": ("--engine aot --out o", "a model needs --board"),
    "no such core": ("--engine aot --format c --core cortex-m5 --out o", "did you mean 'cortex-m55'?"),
    "no such mode": ("--engine aot --optimize fast --format c --out o", "'fast' is not one of"),
    "no such format": ("--engine aot --format cpp --out o", "'cpp' is not one of"),
    "a keyword": ("--engine aot --format c --name while --out o", "keyword"),
    "the kernels' names": ("--engine aot --format c --name kd_net --out o", "begins like the kernels' own"),
    "the kernels' names in a project": ("--engine aot --board pico --name kd --out o", "begins like the kernels' own"),
    "a file in the way": ("--engine aot --format c --out file", "file: is a file"),
    "their source": ("--engine aot --format c --name theirs --out .", "was not generated by kd-embedded"),
    "unwritable": ("--engine aot --format c --out /proc/self/nowhere", "cannot write"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line(case: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "theirs.c").write_text("int x;")
    options, what = BAD[case]
    told = kd(projects.TINY, options, tmp_path)
    assert told.returncode == 2 and told.stdout == "", told.stderr
    assert told.stderr.startswith("error: ") and told.stderr.count("\n") == 1 and what in told.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "theirs.c"]


def test_an_unknown_op_is_refused_with_the_way_out(tmp_path: Path) -> None:
    data = build([T([1, 8]), T([1, 8])], [O("CUMSUM", [0], [1])])
    (tmp_path / "model.tflite").write_bytes(data)
    told = kd("model.tflite", "--engine aot --format c --out o", tmp_path)
    assert told.stderr == (
        "error: model.tflite: op 0 (CUMSUM) is not among the ops of the aot engine: use --engine tflm for this model\n"
    )


def test_two_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"a.c": "/* Generated by kd-embedded */\n", "a.h": "/* Generated by kd-embedded */\n"}
    plain.write(tmp_path / "out", texts)
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "a.h":
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    later = {name: f"{text}later" for name, text in texts.items()}
    for out in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(KdError, match="No space left on device"):
            plain.write(out, later)
    assert contents(tmp_path) == {f"out/{name}": text for name, text in texts.items()}
