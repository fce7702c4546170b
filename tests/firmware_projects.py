"""Projects for the tests, generated from the committed tiny models with everything fixed: no interpreter is asked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kd_embedded import codegen
from kd_embedded.boards import load_board
from kd_embedded.codegen.arena import Arena
from kd_embedded.golden import Golden

TESTS = Path(__file__).resolve().parent
HOST = TESTS / "firmware"
TINY = TESTS / "data" / "tiny.tflite"
TINY_ARENA = 2752  # what probe_arena finds; a test of interpreters compares
LABELS = ("zero", "one", "two")
STRICT = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def golden(model: bytes, count: int = 8) -> Golden:
    """Seeded inputs and outputs of the right shapes. The outputs are made up: the fake engine looks them up."""
    graph = codegen.checked_graph(model, "test")
    generator = np.random.default_rng(1)
    x_q = generator.integers(-128, 128, (count, *graph.input.shape[1:]), dtype=np.int8)
    y_q = generator.integers(-128, 127, (count, *graph.output.shape[1:]), dtype=np.int8)
    labels = np.arange(count) % int(np.prod(graph.output.shape))
    return Golden(x_q, y_q, labels, "test split", "the reference interpreter")


def plan(out: Path, board: str = "esp32", model: bytes = b"", **changes: object) -> codegen.Plan:
    """The plan of ``model`` (tiny.tflite) on ``board``; ``changes`` replace arguments of ``codegen.plan``."""
    data = model or TINY.read_bytes()
    arguments: dict[str, object] = {
        "where": "tiny.tflite",
        "name": "tiny",
        "labels": LABELS,
        "golden": golden(data),
        "provenance": {"config_sha256": "0123abcd", "test_accuracy": "97.10 %"},
        "arena": Arena(TINY_ARENA, probed=True),
    }
    return codegen.plan(data, load_board(board), out, **{**arguments, **changes})


def build_host(project: Path, replaced: Mapping[str, str] | None = None) -> Path:
    """Compiles the project with the fake engine, strictly and sanitized, and returns the program.

    ``replaced`` puts other text in place of a generated file first.
    """
    for name, text in (replaced or {}).items():
        (project / name).write_text(text, encoding="utf-8")
    names = ("protocol", "model", "golden_vectors", "user_input")
    sources = [project / "src" / f"{name}.cpp" for name in names] + [HOST / "harness.cpp", HOST / "fake_engine.cpp"]
    return compile_host(project / "program", sources, [project / "src"])


def compile_host(program: Path, sources: Sequence[Path], includes: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """One strict and sanitized compilation to ``program``."""
    compiler = shutil.which("g++")
    assert compiler
    command = [compiler, *STRICT, *SANITIZED, *flags, *(f"-I{folder}" for folder in includes), *map(str, sources)]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def talk(program: Path, text: str | bytes, **environment: str) -> list[str]:
    """What the program answers to ``text``, line by line. A sanitizer's finding fails."""
    sent = text.encode() if isinstance(text, str) else text
    done = subprocess.run([program], input=sent, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="surrogateescape").splitlines()
