"""Models that end in ARG_MAX: int32 indices, from the file to the firmware of both engines."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import c_models
import firmware_projects as projects
import numpy as np
import pytest
from conftest import needs_reference, require_tool
from numpy.typing import NDArray
from tflite.TensorType import TensorType
from tflite_builder import O, T, build

from kd_embedded import codegen, golden, interpreters
from kd_embedded.boards import load_board
from kd_embedded.codegen.plain import sources
from kd_embedded.cores import load_core
from kd_embedded.emulate import emulate_folder, emulate_model, load_vectors
from kd_embedded.errors import DataError, ModelError
from kd_embedded.image import find_engine
from kd_embedded.program import Target
from kd_embedded.tflite.classes import class_count
from kd_embedded.tflite.read import parse_model
from kd_embedded.validate import failures, validate

LABELS = ("red", "green", "blue", "grey", "white")


def model(op: str = "ARG_MAX", pixels: Sequence[int] = (), axis: int = -1) -> bytes:
    """A dense layer of five classes, [1, *pixels, 6] to [1, *pixels, 5], and the index of its largest output."""
    rng = np.random.default_rng(2)
    scores = [1, *pixels, 5]
    tensors = [
        T([1, *pixels, 6], "int8", 0.1, 3),
        T([5, 6], "int8", 0.02, 0, data=rng.integers(-127, 128, (5, 6))),
        T([5], "int32", 0.002, 0, data=rng.integers(-500, 500, 5)),
        T(scores, "int8", 0.5, -7),
        T([1], "int32", None, data=np.array([axis])),
        T([size for i, size in enumerate(scores) if i != axis % len(scores)], "int32", None, name="best"),
    ]
    dense = O("FULLY_CONNECTED", [0, 1, 2], [3], "FullyConnectedOptions", {"KeepNumDims": True}, version=5)
    options = {"ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions"}[op]
    return build(tensors, [dense, O(op, [3, 4], [5], options, {"OutputType": TensorType.INT32}, version=2)])


X = np.random.default_rng(1).integers(-128, 128, (40, 6), dtype=np.int8)
IMAGES = np.random.default_rng(1).integers(-128, 128, (10, 4, 3, 6), dtype=np.int8)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "net.tflite"
    path.write_bytes(data)
    return path


@needs_reference
@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize(("pixels", "axis", "inputs"), [((), -1, X), ((4, 3), 3, IMAGES), ((4, 3), 1, IMAGES)])
def test_all_interpreters_agree(op: str, pixels: Sequence[int], axis: int, inputs) -> None:
    data = model(op, pixels, axis)
    wanted = interpreters.run("builtin_ref", data, inputs)
    assert wanted.dtype == np.int32 and len(np.unique(wanted)) > 2
    for name in ("tflm", "reference", "default"):
        found = interpreters.run(name, data, inputs)
        assert found.dtype == np.int32 and np.array_equal(found.reshape(wanted.shape), wanted), name
    assert class_count(parse_model(data, "net")) == (5 if axis != 1 else 4)


@needs_reference
@pytest.mark.parametrize("core", ["host", "cortex-m0", "cortex-m4"])
def test_every_byte_is_right_on_a_core(core: str) -> None:
    chosen = load_core(core)
    for tool in (f"{chosen.tools}gcc", *(machine.emulator for machine in chosen.machines)):
        require_tool(tool)
    done = emulate_model(model(pixels=(4, 3)), "net", chosen, IMAGES)
    assert done.equal and done.oracle == "builtin_ref" and done.compared.bytes_compared == 10 * 12 * 4


def test_the_first_wrong_op_is_told_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    require_tool("gcc")
    real = interpreters.run_oracle

    def wrong(data: bytes, x: NDArray[Any]) -> interpreters.Oracle:
        return interpreters.Oracle("made up", real(data, x).outputs ^ 4)

    monkeypatch.setattr(interpreters, "run_oracle", wrong)
    done = emulate_model(model(), "net", load_core("host"), X)
    assert done.first is not None and done.compared.bytes_different == 40 and done.compared.bytes_compared == 160
    assert done.first.expected == done.first.got ^ 4 and done.first.index == 0


def test_plain_c_says_what_it_gives(tmp_path: Path) -> None:
    """The header, for C99 and C++11, strictly compiled; and two runs by hand."""
    require_tool("gcc")
    made = sources(written(tmp_path, model()), "net", Target())
    header = made.texts["net.h"]
    assert "#define NET_OUTPUT_BYTES 4\n" in header and "const int32_t *net_output(void);" in header
    assert "int32 1, classes 0 to 4" in header and "OUTPUT_SCALE" not in header and "OUTPUT_ZERO" not in header
    for name, text in made.texts.items():
        (tmp_path / name).write_text(text)
    objects = c_models.compile_c(tmp_path / "net.c", ("-O1", *c_models.SANITIZED))
    inputs = ", ".join(map(str, X[0]))
    (tmp_path / "main.cpp").write_text(
        '#include <cstdio>\n#include "net.h"\n'
        f"static const signed char x[6] = {{{inputs}}};\n"
        "int main() {\n  for (int i = 0; i < 6; i++) net_input()[i] = x[i];\n  net_invoke();\n"
        '  std::printf("%d %g", static_cast<int>(net_output()[0]), static_cast<double>(net_info()->output_scale));\n}\n'
    )
    program = projects.compile_host(tmp_path / "program", [tmp_path / "main.cpp", objects], [tmp_path])
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert said == f"{interpreters.run('reference', model(), X[:1])[0]} 1"


def test_the_firmware_of_aot(tmp_path: Path) -> None:
    require_tool("gcc")
    data = model()
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    out = tmp_path / "out"
    (plan,) = codegen.plan_file(
        written(tmp_path, data), [(load_board("pico"), out)], name="net", engine="aot", labels=labels
    )
    plan.write()
    program = host_program(out)
    lines = projects.talk(program, f"selftest\ninfo\ninfer {X[1].tobytes().hex()}\n")
    assert "selftest: PASS 8/8" in lines and "info: output int32 1, classes 0 to 4" in lines
    best = int(interpreters.run("reference", data, X[1:2])[0])
    assert lines[-1].endswith(f'index={best} label="{LABELS[best]}" output={best}')
    done = emulate_folder(out, load_core("host"))
    assert done.equal and done.compared.bytes_compared == 8 * 4


def test_a_wrong_golden_index_fails_the_selftest(tmp_path: Path) -> None:
    data = model()
    graph = codegen.checked_graph(data, "net", "aot")
    vectors = golden.from_inputs(data, X[:8], source="x", on_tflm=False)
    vectors.y_q[3] += 256  # a difference that the lowest byte does not show
    plan = codegen.plan(
        data, load_board("pico"), tmp_path / "out", where="net", name="net", labels=(), golden=vectors, provenance={},
        engine="aot",
    )  # fmt: skip
    plan.write()
    lines = projects.talk(host_program(tmp_path / "out"), "selftest\n")
    right = int(vectors.y_q[3]) - 256
    assert lines[4] == f"selftest 3: FAIL output 0 is {right}, expected {right + 256}; 1 of 1 differ"
    assert graph.output.bytes == 4 and lines[-1] == "selftest: FAIL 7/8"


def host_program(folder: Path) -> Path:
    """The whole project but for ``main.cpp``, strictly compiled and sanitized."""
    source = folder / "src"
    objects = [c_models.compile_c(path, ("-O1", *c_models.SANITIZED)) for path in sorted(source.rglob("*.c"))]
    units = [path for path in sorted(source.glob("*.cpp")) if path.name != "main.cpp"]
    return projects.compile_host(folder / "program", [*units, *objects, projects.HOST / "harness.cpp"], [source])


@needs_reference
def test_the_firmware_of_tflm(tmp_path: Path) -> None:
    (plan,) = codegen.plan_file(written(tmp_path, model()), [(load_board("esp32"), tmp_path / "out")], name="net")
    engine = plan.generated["src/engine_tflm.cpp"]
    assert "AddArgMax(" in engine and "output->type != kTfLiteInt32" in engine
    assert "const int32_t* engine_output() { return output->data.i32; }" in engine
    assert "const int32_t* engine_output();" in plan.generated["src/engine.h"]
    assert "extern const int32_t golden_outputs[kGoldenCount][kOutputCount];" in plan.generated["src/golden_vectors.h"]
    assert "gave the same bytes for these inputs" in plan.generated["README.md"]


@needs_reference
@pytest.mark.parametrize("engine", ["tflm", "aot"])
def test_accuracy_is_that_of_the_indices(engine: str, tmp_path: Path) -> None:
    data = model()
    y = interpreters.run("builtin_ref", data, X).astype(np.int64)
    y[:10] = (y[:10] + 1) % 5
    document = validate(written(tmp_path, data), X, y, class_names=LABELS, engine=engine)
    assert document["accuracy"]["student_int8"] == 0.75 and failures(document) == []
    assert document["interpreters"]["tflm"]["bytes_compared"] == 160 and sum(map(sum, document["confusion"])) == 40


def test_labels_of_a_map_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, model(pixels=(4, 3)))
    assert validate(path, IMAGES, engine="aot")["accuracy"]["student_int8"] is None
    with pytest.raises(DataError, match="gives 12 class indices for each sample"):
        validate(path, IMAGES, np.zeros(10, int), engine="aot")


def test_vectors_of_plain_c(tmp_path: Path) -> None:
    require_tool("gcc")
    for name, text in sources(written(tmp_path, model()), "net", Target()).texts.items():
        (tmp_path / name).write_text(text)
    np.savez(tmp_path / "v.npz", x=X, y_q=interpreters.run("reference", model(), X))
    engine = find_engine(tmp_path)
    done = emulate_folder(tmp_path, load_core("host"), load_vectors(tmp_path / "v.npz", engine))
    assert done.equal and done.compared.bytes_compared == 160
    np.savez(tmp_path / "bytes.npz", x=X, y_q=np.zeros((40, 4), np.int8))
    with pytest.raises(DataError, match="it takes 6 int8 values and gives 1 int32"):
        load_vectors(tmp_path / "bytes.npz", engine)


def _refused(change: str) -> bytes:
    axis = T([1], "int32", None, data=np.array([1]))
    scores, best = T([1, 4], name="scores"), T([1], "int32", None, name="best")
    kind = TensorType.INT32
    if change == "int64":
        best, kind = T([1], "int64", None, name="best"), TensorType.INT64
    if change == "axis":
        axis = T([1], "int32", None, data=np.array([2]))
    if change == "wide axis":
        axis = T([1], "int64", None, data=np.array([1]), name="wide")
    if change == "shape":
        best = T([1, 1], "int32", None, name="best")
    index = O("ARG_MAX", [0, 1], [2], "ArgMaxOptions", {"OutputType": kind})
    if change == "middle":
        rows = T([4, 2], data=np.ones((4, 2)))
        return build([scores, axis, best, rows, T([1, 2])], [index, O("GATHER", [3, 2], [4], "GatherOptions")])
    return build([scores, axis, best], [index])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("int64", r"op 0 \(ARG_MAX\) gives int64 indices \(tensor best\), and int32 is .*output_type=tf.int32"),
        ("axis", r"op 0 \(ARG_MAX\) has axis 2 for 2: use --engine tflm"),
        ("wide axis", r"op 0 \(ARG_MAX\) has an axis \(tensor wide\) that is not one constant int32"),
        ("shape", r"op 0 \(ARG_MAX\) makes shape \[1, 1\] of \[1, 4\] along axis 1"),
        ("middle", r"op 0 \(ARG_MAX\) gives indices \(tensor best\) that are read by op 1 \(GATHER\)"),
    ],
)
def test_refused_by_name(change: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        codegen.checked_graph(_refused(change), "net.tflite", "aot")
