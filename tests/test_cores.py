"""Core files: all of ours are right, every board has a core or says why not, and a wrong file is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kd_embedded import resources
from kd_embedded.boards import load_boards
from kd_embedded.cores import HOST, core_names, load_core, load_cores, of_board
from kd_embedded.errors import ConfigError

WANTED = {"cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc", "host"}


def test_every_file_of_ours_is_right() -> None:
    assert {core.name for core in load_cores()} == WANTED


def test_only_the_host_runs_without_an_emulator_and_every_other_names_its_packages() -> None:
    for core in load_cores():
        assert bool(core.machines) == (core.name != HOST)
        assert core.packages.compiler
        if core.machines:
            assert core.packages.libc and core.packages.emulator and core.flags


def test_every_board_has_a_core_or_a_line_on_what_stands_in() -> None:
    for board in load_boards():
        choice = of_board(board)
        if board.core.startswith("xtensa"):
            assert [core.name for core in choice.cores] == ["host", "rv32imc"]
            assert board.core in choice.note and "\n" not in choice.note
        else:
            assert len(choice.cores) == 1 and choice.note == ""
            assert board.core in (choice.cores[0].name, *choice.cores[0].runs)


def test_an_unknown_core_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^cortex-m5: no such core \(did you mean 'cortex-m55'\?\): there are "):
        load_core("cortex-m5")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("family =", "famly =", "boards/cores/cortex-m4.toml: famly: unknown key (did you mean 'family'?)"),
        ('"dsp"', '"dps"', "boards/cores/cortex-m4.toml: family: input should be 'c', 'dsp' or 'helium', not 'dps'"),
        ("ram_base", "rambase", "boards/cores/cortex-m4.toml: machines.0.rambase: unknown key (did you mean 'ram_b"),
        ("[[machines]]", "[packages2]", "boards/cores/cortex-m4.toml: packages2: unknown key"),
    ],
)
def test_a_wrong_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, says: str
) -> None:
    folder = tmp_path / "boards"
    shutil.copytree(resources.boards_dir(), folder)
    monkeypatch.setattr(resources, "boards_dir", lambda: folder)
    path = folder / "cores" / "cortex-m4.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_core("cortex-m4")
    assert str(error.value).startswith(says)
    assert core_names() == tuple(sorted(WANTED))
