"""The generated C++ compiled for the Cortex-M4 of the Nano 33 BLE: what lies where, and what it calls."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import firmware_projects as projects
import pytest
from conftest import require_tool

CPU = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=softfp", "-Os", "-fno-exceptions", "-fno-rtti")
UNITS = ("protocol", "model", "model_data", "golden_vectors", "user_input")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's objects, and ``firmware.o``, all of them joined."""
    compiler = require_tool("arm-none-eabi-g++")
    out = tmp_path_factory.mktemp("cortex") / "tiny"
    projects.plan(out, "nano33ble").write()
    for unit in UNITS:
        source, made = out / "src" / f"{unit}.cpp", out / f"{unit}.o"
        subprocess.run([compiler, *CPU, *projects.STRICT, "-c", source, "-o", made], check=True)
    parts = [str(out / f"{unit}.o") for unit in UNITS]
    subprocess.run([compiler, *CPU, "-nostdlib", "-r", *parts, "-o", out / "firmware.o"], check=True)
    return out


def readelf(objects: Path, unit: str, option: str) -> str:
    command = [require_tool("arm-none-eabi-readelf"), "-W", option, objects / f"{unit}.o"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sections(objects: Path, unit: str) -> dict[int, tuple[str, int, int]]:
    """Name, size and alignment of each section by its number."""
    row = re.compile(r"\[ *(\d+)\] (\S+) +\S+ +\w+ +\w+ +(\w+) .* (\d+)$", re.M)
    found = row.findall(readelf(objects, unit, "-S"))
    return {int(number): (name, int(size, 16), int(align)) for number, name, size, align in found}


def symbol(objects: Path, unit: str, name: str) -> tuple[int, int, int]:
    """Offset, size and section number of a symbol of namespace kd."""
    row = re.search(rf"(\w+) +(\d+) OBJECT .* (\d+) _ZN2kd\d+{name}E$", readelf(objects, unit, "-s"), re.M)
    assert row, name
    return int(row[1], 16), int(row[2]), int(row[3])


def test_the_model_is_in_flash_aligned_to_16_and_whole(objects: Path) -> None:
    offset, size, number = symbol(objects, "model_data", "tiny_model_data")
    name, _, alignment = sections(objects, "model_data")[number]
    assert name.startswith(".rodata") and alignment == 16 and offset % 16 == 0
    data = projects.TINY.read_bytes()
    assert size == len(data)
    command = ["arm-none-eabi-objcopy", "-O", "binary", "-j", name, objects / "model_data.o", objects / "model.bin"]
    subprocess.run(command, check=True)
    assert (objects / "model.bin").read_bytes()[offset : offset + size] == data


@pytest.mark.parametrize("array", ["golden_inputs", "golden_outputs"])
def test_the_golden_vectors_are_in_flash(objects: Path, array: str) -> None:
    _, size, number = symbol(objects, "golden_vectors", array)
    assert sections(objects, "golden_vectors")[number][0].startswith(".rodata")
    assert size == 8 * (64 if array == "golden_inputs" else 3)


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_takes_ram(objects: Path, unit: str) -> None:
    """The only static memory is the arena, and what main.cpp declares."""
    sizes = {name: size for name, size, _ in sections(objects, unit).values()}
    assert sum(size for name, size in sizes.items() if name.startswith((".data", ".bss"))) == 0


def test_no_heap_no_printf_no_exceptions(objects: Path) -> None:
    undefined = set(re.findall(r" UND (\S+)$", readelf(objects, "firmware", "-s"), re.M))
    ours = {name for name in undefined if name.startswith("_ZN2kd")}
    assert {re.sub(r"^_ZN2kd\d+(\w+)Ev$", r"\1", name) for name in ours} == {
        f"engine_{name}" for name in ("begin", "input", "invoke", "output", "arena_bytes", "arena_used_bytes", "name")
    }
    assert undefined - ours <= {"memcpy", "memcmp", "memset", "strlen"}
