"""The generated protocol, compiled strictly for the host with sanitizers, in real dialogues."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import firmware_projects as projects
import numpy as np
import pytest
from conftest import require_tool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_builder import O, T, build

from kd_embedded.golden import quantize
from kd_embedded.tflite.graph import QuantParams

NASTY = (
    'say "hi"',
    "back\\slash \\n ??/ ??=",
    "line\nbreak\ttab\r",
    "*/ // /* end",
    "emoji 😀 naïve 日本",
    "\x01\x7f1234",
    "%s%n{{ x }}{% if %}",
)
HELLO = "ready: tiny on esp32, type help"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_tool("g++")
    out = tmp_path_factory.mktemp("host") / "tiny"
    projects.plan(out).write()
    return projects.build_host(out)


def infer(values: np.ndarray) -> str:
    return f"infer {values.astype(np.int8).tobytes().hex()}\n"


def test_selftest_passes_and_counts_every_vector(program: Path) -> None:
    lines = projects.talk(program, "selftest\n")
    assert lines == [HELLO, *(f"selftest {i}: pass us=100" for i in range(8)), "selftest: PASS 8/8"]


def test_selftest_tells_the_vector_and_the_output_that_differ(program: Path) -> None:
    expected = projects.golden(projects.TINY.read_bytes()).y_q[3]
    lines = projects.talk(program, "selftest\n", KD_FAKE="wrong")
    assert lines[4] == f"selftest 3: FAIL output 2 is {expected[2] + 1}, expected {expected[2]}; 1 of 3 differ"
    assert lines[-1] == "selftest: FAIL 7/8"


def test_selftest_of_no_vectors_fails(tmp_path: Path) -> None:
    require_tool("g++")
    out = tmp_path / "none"
    projects.plan(out).write()
    header = (out / "src/golden_vectors.h").read_text()
    arrays = "const int8_t golden_inputs[1][kInputBytes] = {};\nconst int8_t golden_outputs[1][kOutputBytes] = {};\n"
    replaced = {
        "src/golden_vectors.h": header.replace("kGoldenCount = 8", "kGoldenCount = 0").replace("[kGoldenCount]", "[1]"),
        "src/golden_vectors.cpp": f'#include "golden_vectors.h"\nnamespace kd {{\n{arrays}}}\n',
    }
    assert projects.talk(projects.build_host(out, replaced), "selftest\n")[1:] == ["selftest: FAIL 0/0"]


def test_infer_answers_output_label_and_time(program: Path) -> None:
    values = np.zeros(64, np.int8)
    values[:3] = (-128, 127, -1)
    assert projects.talk(program, infer(values))[1:] == ['infer: us=100 index=1 label="one" output=-128,127,-1']


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n\r\n"])
def test_line_ends(program: Path, ending: str) -> None:
    text = ending.join(["infer " + "00" * 64, "  infer\t" + "FF, " * 64, "nonsense", ""])
    lines = projects.talk(program, text)
    assert [line.partition(" ")[0] for line in lines] == ["ready:", "infer:", "infer:", "error:"]
    assert lines[2].endswith('index=0 label="zero" output=-1,-1,-1')


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("infer", "error: infer: only 0 bytes: 64 bytes are needed"),
        ("infer 7f", "error: infer: only 1 byte: 64 bytes are needed"),
        ("infer " + "00" * 63 + "0", "error: infer: byte 63 has one hex digit, not two: 64 bytes are needed"),
        ("infer 0 0", "error: infer: byte 0 has one hex digit, not two: 64 bytes are needed"),
        ("infer " + "00" * 65, "error: infer: more bytes than the input has: 64 bytes are needed"),
        ("infer " + "00" * 64 + "0", "error: infer: more bytes than the input has: 64 bytes are needed"),
        ("infer 00g0", 'error: infer: byte 1 has "g", no hex digit: 64 bytes are needed'),
        ('infer "', 'error: infer: byte 0 has "\\x22", no hex digit: 64 bytes are needed'),
        ("infer " + "zz" * 100_000, 'error: infer: byte 0 has "z", no hex digit: 64 bytes are needed'),
        ("INFO", 'error: unknown command "INFO": type help'),
        ("a" * 15, 'error: unknown command "' + "a" * 15 + '": type help'),
        ("selftests", 'error: unknown command "selftests": type help'),
        ("selftest" * 500, 'error: unknown command "selftestselftes"...: type help'),
        ("\x00\x1b[A", 'error: unknown command "\\x00\\x1b[A": type help'),
        ("info please", 'error: "info" takes no argument'),
        ("sample", "error: sample: user_input() gave nothing: write it in src/user_input.cpp"),
    ],
)
def test_mistakes_are_named_and_leave_no_trace(program: Path, line: str, answer: str) -> None:
    lines = projects.talk(program, f"{line}\n" + infer(np.arange(64)))
    assert lines[1:] == [answer, 'infer: us=100 index=2 label="two" output=0,1,2']


def test_help_names_every_command(program: Path) -> None:
    lines = projects.talk(program, "help  \t\n")
    named = [line.split()[1] for line in lines[1:]]
    assert named == ["help", "info", "infer", "sample", "selftest", "end"]


def test_info_tells_where_everything_comes_from(program: Path) -> None:
    lines = projects.talk(program, "info\n")[1:]
    told = dict(line.removeprefix("info: ").split(" ", 1) for line in lines[:-1] if "label" not in line)
    graph_sha = json.loads((program.parent / ".kd-embedded.json").read_text())["model"]["sha256"]
    assert lines[-1] == "info: end" and told["model"] == "tiny" and told["model_sha256"] == graph_sha
    assert told["arena_bytes"] == "4096" and told["arena_used_bytes"] == "1234"
    assert told["input"].startswith("int8 1x8x8x1, real = 0.003920") and told["golden_source"] == "test split"
    assert told["test_accuracy"] == "97.10 %"
    labels = [f'info: label {i} "{name}"' for i, name in enumerate(projects.LABELS)]
    assert [line for line in lines if "label" in line] == labels


@pytest.mark.parametrize("command", ["infer " + "00" * 64, "infer 0", "selftest", "sample"])
def test_a_broken_engine_is_told_in_every_answer(program: Path, command: str) -> None:
    lines = projects.talk(program, f"{command}\ninfo\n", KD_FAKE="begin")
    assert lines[:2] == ["error: engine: begin failed"] * 2
    assert "info: engine_error begin failed" in lines


def test_a_run_that_fails(program: Path) -> None:
    assert projects.talk(program, "infer " + "00" * 64 + "\n", KD_FAKE="invoke")[1:] == ["error: engine: invoke failed"]
    assert projects.talk(program, "selftest\n", KD_FAKE="invoke")[1:] == [
        "selftest 0: FAIL invoke failed",
        "selftest: FAIL 0/8",
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.sampled_from([b"infer ", b"selftest", b"info", b"help ", b"00" * 64, b"\r", b"\n", b" ", b",", b"\x00"]),
        ),
        max_size=30,
    )
)
def test_garbage_never_harms(program: Path, garbage: list[bytes]) -> None:
    lines = projects.talk(program, b"".join(garbage) + b"\n" + infer(np.arange(64)).encode())
    assert lines[-1] == 'infer: us=100 index=2 label="two" output=0,1,2'


def test_a_long_input_streams_into_the_tensor(tmp_path: Path) -> None:
    """96x96x3 pixels: 27 648 bytes on one line."""
    require_tool("g++")
    attributes = {"FilterHeight": 96, "FilterWidth": 96, "StrideH": 96, "StrideW": 96}
    pool = O("AVERAGE_POOL_2D", [0], [1], "Pool2DOptions", attributes)
    model = build([T((1, 96, 96, 3)), T((1, 1, 1, 3))], [pool])
    projects.plan(tmp_path / "big", "esp32s3", model, golden=projects.golden(model)).write()
    program = projects.build_host(tmp_path / "big")
    values = np.random.default_rng(2).integers(-128, 128, 27_648, dtype=np.int8)
    answer = projects.talk(program, infer(values) + "selftest\n")
    assert answer[1].endswith("output=" + ",".join(map(str, values[:3])))
    assert answer[-1] == "selftest: PASS 8/8"


def test_nasty_labels_stay_valid_and_whole(tmp_path: Path) -> None:
    require_tool("g++")
    attributes = {"FilterHeight": 1, "FilterWidth": 1, "StrideH": 1, "StrideW": 1}
    pool = O("AVERAGE_POOL_2D", [0], [1], "Pool2DOptions", attributes)
    model = build([T((1, 1, 1, 7)), T((1, 1, 1, 7))], [pool])
    vectors = projects.golden(model)
    projects.plan(tmp_path / "nasty", model=model, golden=vectors, labels=NASTY).write()
    program = projects.build_host(tmp_path / "nasty")
    printed = subprocess.run([program, "labels"], capture_output=True, check=True).stdout
    assert printed.split(b"\0")[:-1] == [label.encode() for label in NASTY]
    for index, label in enumerate(NASTY):
        values = np.zeros(7, np.int8)
        values[index] = 1
        answer = projects.talk(program, infer(values))[1]
        quoted = answer.split('label="', 1)[1].rsplit('" output=', 1)[0]
        assert quoted.encode().decode("utf-8") == escaped(label)


def _seven(out: Path, scale: float, zero_point: int, **changes: object) -> Path:
    """The program of a model that gives its seven inputs back."""
    attributes = {"FilterHeight": 1, "FilterWidth": 1, "StrideH": 1, "StrideW": 1}
    pool = O("AVERAGE_POOL_2D", [0], [1], "Pool2DOptions", attributes)
    tensor = T((1, 1, 1, 7), scale=scale, zero_point=zero_point)
    model = build([tensor, tensor], [pool])
    projects.plan(out, model=model, golden=projects.golden(model), labels=(), **changes).write()
    return projects.build_host(out)


@pytest.mark.parametrize(("scale", "zero_point"), [(0.085, -7), (1e-7, 127), (0.00035, 3), (2e6, -128), (1e38, 0)])
def test_a_regression_answers_with_real_numbers(tmp_path: Path, scale: float, zero_point: int) -> None:
    require_tool("g++")
    program = _seven(tmp_path / "numbers", scale, zero_point, task="regression")
    for q in (np.array([-128, -127, -8, -7, -6, 0, 127]), np.array([3, 4, 11, 12, 103, 126, 127])):
        answer = projects.talk(program, infer(q))[1]
        assert answer.startswith("infer: us=100 value=") and answer.endswith(f" output={','.join(map(str, q))}")
        said = answer.split("value=")[1].split(" ")[0].split(",")
        real = np.clip((q - zero_point) * np.float32(scale), -np.finfo("f4").max, np.finfo("f4").max)
        assert np.allclose([float(text) for text in said], real, rtol=6e-5, atol=0)
        assert all(len(text.lstrip("-0.").replace(".", "").split("e")[0]) in (0, 5) for text in said)


def test_real_numbers_are_written_as_one_reads_them(tmp_path: Path) -> None:
    require_tool("g++")
    program = _seven(tmp_path / "numbers", 0.5, 0, task="regression")
    assert (
        " value=0.0000,0.50000,-0.50000,5.0000,-63.500,50.000,-64.000 "
        in (projects.talk(program, infer(np.array([0, 1, -1, 10, -127, 100, -128])))[1])
    )


def test_a_single_output_is_a_number_and_an_auto_encoder_answers_with_bytes_alone(tmp_path: Path) -> None:
    require_tool("g++")
    attributes = {"FilterHeight": 2, "FilterWidth": 2, "StrideH": 2, "StrideW": 2}
    pool = O("AVERAGE_POOL_2D", [0], [1], "Pool2DOptions", attributes)
    tensors = [T((1, *shape), scale=0.25, zero_point=-1) for shape in ((2, 2, 1), (1, 1, 1))]
    model = build(tensors, [pool])
    projects.plan(tmp_path / "one", model=model, golden=projects.golden(model), labels=()).write()
    one = projects.build_host(tmp_path / "one")
    assert projects.talk(one, infer(np.array([7, 0, 0, 0])))[1:] == ["infer: us=100 value=2.0000 output=7"]
    seven = _seven(tmp_path / "seven", 0.5, 0, task="autoencoder")
    assert projects.talk(seven, infer(np.arange(7)))[1:] == ["infer: us=100 output=0,1,2,3,4,5,6"]


def escaped(label: str) -> str:
    """A label as the protocol writes it."""
    return "".join(f"\\x{ord(c):02x}" if c in '"\\' or ord(c) < 32 or ord(c) == 127 else c for c in label)


def test_the_users_function_feeds_sample(tmp_path: Path) -> None:
    require_tool("g++")
    projects.plan(tmp_path / "mine").write()
    text = (tmp_path / "mine/src/user_input.cpp").read_text()
    mine = "for (size_t i = 0; i < kInputBytes; ++i) input[i] = quantize(0.5f, kInputScale, kInputZeroPoint);"
    replaced = {"src/user_input.cpp": text.replace("  (void)input;\n  return false;", f"  {mine}\n  return true;")}
    program = projects.build_host(tmp_path / "mine", replaced)
    assert projects.talk(program, "sample\n")[1:] == ['sample: us=100 index=0 label="zero" output=0,0,0']


def test_main_joins_serial_and_protocol(tmp_path: Path) -> None:
    require_tool("g++")
    out = tmp_path / "tiny"
    for board, flags in (("esp32", ["-DARDUINO_ARCH_ESP32"]), ("nano33ble", ["-funsigned-char"])):
        projects.plan(out, board).write()
        names = ("main", "protocol", "model", "golden_vectors", "user_input")
        sources = [out / "src" / f"{name}.cpp" for name in names]
        sources += [projects.HOST / "arduino_main.cpp", projects.HOST / "fake_engine.cpp"]
        program = projects.compile_host(out / "arduino", sources, [projects.HOST, out / "src"], flags)
        assert projects.talk(program, "selftest\n")[-1] == "selftest: PASS 8/8"


def test_quantization_helpers_equal_pythons(tmp_path: Path) -> None:
    require_tool("g++")
    projects.plan(tmp_path / "tiny").write()
    generator = np.random.default_rng(3)
    special = [0.0, -0.0, 0.49999997, 0.5, -0.5, 1.5, -1.5, 127.5, 1e30, -1e30, np.inf, -np.inf]
    reals = np.concatenate([special, generator.normal(0, 40, 2000)]).astype(np.float32)
    source = tmp_path / "print.cpp"
    source.write_text(
        '#include <stdio.h>\n#include <stdlib.h>\n#include "quantization.h"\n'
        "int main(int, char** a) {\n  const float scale = strtof(a[1], nullptr);\n  const int zero = atoi(a[2]);\n"
        '  for (float real = 0; scanf("%a", &real) == 1;) {\n'
        "    const int8_t q = kd::quantize(real, scale, zero);\n"
        '    printf("%d %a\\n", q, static_cast<double>(kd::dequantize(q, scale, zero)));\n  }\n'
        '  printf("%d\\n", kd::quantize(strtof("nan", nullptr), scale, zero));\n}\n'
    )
    program = projects.compile_host(tmp_path / "print", [source], [tmp_path / "tiny/src"])
    text = "\n".join("inf" if r == np.inf else "-inf" if r == -np.inf else float(r).hex() for r in reals)
    for scale, zero_point in ((1.0, 0), (0.0039215686, -128), (0.58470290899, 83)):
        command = [program, float(np.float32(scale)).hex(), str(zero_point)]
        lines = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
        expected = quantize(reals, QuantParams((scale,), (zero_point,)))
        assert [int(line.split()[0]) for line in lines] == [*expected, zero_point]
        back = np.array([float.fromhex(line.split()[1]) for line in lines[:-1]])
        assert (back == np.float32(scale) * (expected.astype(np.float32) - np.float32(zero_point))).all()
