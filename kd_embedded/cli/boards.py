"""``kd-embedded boards``: the boards that firmware can be made for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.errors import ConfigError
from kd_embedded.progress import Progress

if TYPE_CHECKING:
    from kd_embedded.boards import Board


@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Check every board file instead; exit 2 with a line for each problem.")
@verb
def command(progress: Progress, name: str | None, check: bool) -> Outcome:
    """The boards, or all about one."""
    from kd_embedded.boards import check_files, load_board, load_boards

    if check and name is not None:
        raise ConfigError("--check is of all board files", where=name, todo="leave out one of the two")
    if check:
        return _checked(check_files())
    if name is not None:
        board = load_board(name)
        return Outcome(_document(board), _all_about(board))
    boards = load_boards()
    return Outcome([_document(board) for board in boards], _listing(boards))


def _checked(problems: Sequence[str]) -> Outcome:
    from kd_embedded.boards import board_names, library_names

    counts = {"boards": len(board_names()), "libraries": len(library_names())}
    if problems:
        text = "\n".join((*problems, f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"))
    else:
        text = f"{counts['boards']} boards and {counts['libraries']} TFLM libraries are right"
    return Outcome({**counts, "problems": list(problems)}, text, 2 if problems else 0)


def _document(board: Board) -> dict[str, object]:
    return {**board.model_dump(mode="json", exclude={"tflm"}), "tflm": board.library.model_dump(mode="json")}


def _listing(boards: Iterable[Board]) -> str:
    head = ("NAME", "MCU", "CORE", "CLOCK", "FLASH", "RAM", "LIBRARY")
    return _columns([head, *map(_row, boards)])


def _row(board: Board) -> Sequence[str]:
    clock, flash, ram = f"{board.clock_mhz} MHz", _kib(board.flash_bytes), _kib(board.ram_bytes)
    return board.name, board.mcu, board.core, clock, flash, ram, board.library.title


def _all_about(board: Board) -> str:
    library, settings, firmware = board.library, board.platformio, board.firmware
    runtime = board.allowance.runtime_flash_bytes, board.allowance.runtime_ram_bytes
    rows = [
        ("board", f"{board.title} ({board.name})"),
        ("mcu", f"{board.mcu}, {board.core} at {board.clock_mhz} MHz"),
        ("flash", f"{_kib(board.flash_bytes)} for the program"),
        ("ram", f"{_kib(board.ram_bytes)} for data, heap and stack"),
        ("psram", _kib(board.psram_bytes) if board.psram_bytes else "none"),
        ("allowance", f"{_kib(board.allowance.flash_bytes)} of flash and {_kib(board.allowance.ram_bytes)} of RAM"),
        ("", "for the framework, the TFLM runtime and the harness"),
        ("", f"of these the runtime, which the aot engine lacks: {_kib(runtime[0])} and {_kib(runtime[1])}"),
        ("", f"{'measured' if board.allowance.measured else 'AN ESTIMATE: not measured'} on a build for this board"),
        ("const arrays", board.arch_flash_attribute or "stay in flash without an attribute"),
        ("loop stack", f"{firmware.loop_stack_bytes} bytes" if firmware.loop_stack_bytes else "the framework's own"),
        ("serial", f"{'native USB' if firmware.native_usb else 'UART'}, {settings.monitor_speed} baud"),
        ("first flash", firmware.flash_hint or "nothing to press"),
        ("platform", settings.platform),
        ("", f"board = {settings.board}, framework = {settings.framework}"),
        *_listed("lib_deps", settings.lib_deps, "none: the framework bundles the library"),
        *_listed("build_flags", settings.build_flags, "none"),
        *_listed("build_unflags", settings.build_unflags, "none"),
        *_listed("extra", [f"{key} = {value}" for key, value in settings.extra.items()], "none"),
        ("library", f"{library.title}, {library.kernels} kernels"),
        ("", f"{library.url} at {library.commit}"),
        ("", f"{len(library.resolver_methods)} ops, {len(library.int8_registrations)} with int8-only code"),
        ("", f"per-channel int8 dense layers: {'right' if library.per_channel_dense else 'silently wrong'}"),
        *_listed("sources", board.sources, ""),
    ]
    return _columns(rows)


def _listed(label: str, values: Sequence[str], none: str) -> list[tuple[str, str]]:
    return [("" if index else label, value) for index, value in enumerate(values or [none])]


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _kib(count: int) -> str:
    return f"{count / 1024:.0f} KiB"
