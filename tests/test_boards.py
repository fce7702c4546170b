"""Board and library files: all of ours are right, and each way of being wrong is one line that names its place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kd_embedded import boards, resources
from kd_embedded.boards import check_files, load_board, load_boards, load_library
from kd_embedded.cli import main
from kd_embedded.cli.boards import command
from kd_embedded.errors import ConfigError

REQUIRED = {"esp32", "esp32s3", "esp32c3", "nano33ble", "pico", "nucleo_l476rg", "teensy41"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of boards/ that a test may spoil, in place of the real one."""
    copy = tmp_path / "boards"
    shutil.copytree(resources.boards_dir(), copy)
    monkeypatch.setattr(resources, "boards_dir", lambda: copy)
    return copy


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, old
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_every_file_of_ours_is_right() -> None:
    assert check_files() == ()
    assert {board.name for board in load_boards()} >= REQUIRED


def test_boards_are_sorted_and_know_their_library() -> None:
    found = load_boards()
    assert [board.name for board in found] == sorted(board.name for board in found)
    nano = load_board("nano33ble")
    assert nano.library is not None and nano.library.kernels == "cmsis-nn" and not nano.library.per_channel_dense
    assert nano.library.int8_registrations["CONV_2D"] == "Register_CONV_2D_INT8"
    assert load_board("esp32").library.per_channel_dense


def test_template_is_a_right_board(folder: Path) -> None:
    text = (folder / "TEMPLATE.toml.example").read_text(encoding="utf-8")
    (folder / "myboard.toml").write_text(text, encoding="utf-8")
    assert check_files() == ()
    assert load_board("myboard").tflm.library == "chirale"


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_board("pico").flash_bytes = 1


def test_no_such_board_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        load_board("esp32-s3")
    assert str(error.value) == "esp32-s3: no such board (did you mean 'esp32s3'?): kd-embedded boards lists them"
    with pytest.raises(ConfigError, match=r"^qqq: no such TFLM library: there are chirale, esp$"):
        load_library("qqq")
    with pytest.raises(ConfigError, match=r'^"": no such board'):
        load_board("")
    with pytest.raises(ConfigError, match="no such board"):
        load_board("../boards/pico")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("clock_mhz = 133", "clock_hz = 133", "clock_hz: unknown key (did you mean 'clock_mhz'?)"),
        ("clock_mhz = 133", "", "clock_mhz: this key is missing"),
        ("clock_mhz = 133", 'clock_mhz = "133"', "clock_mhz: input should be a valid integer, not '133'"),
        ("clock_mhz = 133", "clock_mhz = 0", "clock_mhz: input should be greater than 0, not 0"),
        ('"cortex-m0plus"', '"cortex-m0+"', "(did you mean 'cortex-m0'?)"),
        ("framework =", "framwork =", "platformio.framwork: unknown key (did you mean 'framework'?)"),
        ('name = "pico"', 'name = "pica"', "name: 'pica' is not the file's name 'pico'"),
        ("psram_bytes = 0", "psram_bytes = -1", "psram_bytes: input should be greater than or equal to 0, not -1"),
        ("[tflm]", "[tflm", "at line"),
    ],
)
def test_schema_errors_name_file_and_key(folder: Path, old: str, new: str, line: str) -> None:
    spoil(folder / "pico.toml", old, new)
    with pytest.raises(ConfigError) as error:
        load_board("pico")
    assert str(error.value).startswith("boards/pico.toml: ")
    assert line in str(error.value)
    assert any(line in problem for problem in check_files())


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("raspberrypi@1.19.0", "raspberrypi", "platformio.platform: 'raspberrypi' is not pinned"),
        ("raspberrypi@1.19.0", "raspberrypi@^1.19.0", "is not pinned"),
        ("raspberrypi@1.19.0", "https://example.org/platform/stable/platform.zip", "is not pinned"),
        ("raspberrypi@1.19.0", "https://example.org/platform-1.19.0.zip", "is not pinned"),
        ("Chirale_TensorFLowLite@2.0.0", "Chirale_TensorFLowLite", "is not pinned: write owner/name@x.y.z"),
        (
            "Chirale_TensorFLowLite@2.0.0",
            "Chirale_TensorFlowLite@2.0.0",
            "platformio.lib_deps: the TFLM library is missing",
        ),
        ('flash_hint = "Hold', 'flash_hint = "hold', "firmware.flash_hint: string should match pattern"),
        (
            "native_usb = true",
            "rx_buffer_bytes = -1",
            "firmware.rx_buffer_bytes: input should be greater than or equal",
        ),
        ("measured = false", 'measured = "no"', "allowance.measured: input should be a valid boolean"),
        ('"-DTF_LITE', '"DTF_LITE', "platformio.build_flags: 'DTF_LITE_STATIC_MEMORY' is no compiler option"),
        ('library = "chirale"', 'library = "chirali"', "no file tflm/chirali.toml (did you mean 'chirale'?)"),
        ('"raspberrypi@1.19.0"\nboard = "pico"', '"teensy@5.2.0"\nboard = "teensy41"', "'teensy41' is also pico"),
    ],
)
def test_check_goes_beyond_the_schema(folder: Path, old: str, new: str, line: str) -> None:
    spoil(folder / "pico.toml", old, new)
    problems = check_files()
    assert all(problem.startswith("boards/") for problem in problems)
    assert line in problems[0]


def test_check_of_allowances(folder: Path) -> None:
    path = folder / "pico.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("[allowance]")] + "[allowance]\nflash_bytes = 9_999_999\nram_bytes = 9_999_999\n")
    flash, ram = check_files()
    assert flash == "boards/pico.toml: allowance.flash_bytes: 9999999 leaves nothing of 2097152"
    assert ram == "boards/pico.toml: allowance.ram_bytes: 9999999 leaves nothing of 262144"


def test_check_of_libraries(folder: Path) -> None:
    path = folder / "tflm" / "chirale.toml"
    spoil(path, '"AddConv2D"', '"Conv2D"')
    spoil(path, 'SOFTMAX = "Register_SOFTMAX_INT8"', 'SOFTMAXX = "Softmax_INT8"')
    assert [problem.removeprefix("boards/tflm/chirale.toml: ") for problem in check_files()] == [
        "resolver_methods.CONV_2D: 'Conv2D' is no method of MicroMutableOpResolver (AddConv2D)",
        "int8_registrations.SOFTMAXX: 'Softmax_INT8' is no registration (Register_CONV_2D_INT8)",
        "int8_registrations.SOFTMAXX: resolver_methods has no such op (did you mean 'SOFTMAX'?)",
    ]


def test_check_of_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "boards_dir", lambda: tmp_path / "boards")
    assert len(check_files()) == 2
    assert load_boards() == ()
    with pytest.raises(ConfigError, match="holds none"):
        load_board("pico")


def test_not_utf8(folder: Path) -> None:
    (folder / "pico.toml").write_bytes(b"name = \xff")
    with pytest.raises(ConfigError, match=r"^boards/pico\.toml: 'utf-8' codec"):
        load_board("pico")


def test_verb_lists_and_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    main(["boards"])
    listing = capsys.readouterr().out
    assert listing.splitlines()[0].split() == ["NAME", "MCU", "CORE", "CLOCK", "FLASH", "RAM", "LIBRARY"]
    assert all(any(line.startswith(f"{name} ") for line in listing.splitlines()) for name in REQUIRED)
    main(["boards", "teensy41"])
    told = capsys.readouterr().out
    assert "teensy@5.2.0" in told and ".progmem" in told and "silently wrong" in told
    assert "first flash" in told and "press the button on the Teensy." in told and "AN ESTIMATE: not measured" in told
    main(["boards", "nucleo_l476rg"])
    told = capsys.readouterr().out
    assert "nothing to press" in told and "ESTIMATE" not in told


def test_verb_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["boards", "--json"])
    listing = json.loads(capsys.readouterr().out)
    main(["boards", "pico", "--json"])
    pico = json.loads(capsys.readouterr().out)
    assert pico in listing
    assert pico["tflm"]["resolver_methods"]["CONV_2D"] == "AddConv2D"
    main(["boards", "--check", "--json"])
    assert json.loads(capsys.readouterr().out) == {"boards": len(listing), "libraries": 2, "problems": []}


def test_verb_check_prints_a_line_per_problem(folder: Path) -> None:
    assert (
        CliRunner().invoke(command, ["--check"]).output
        == f"{len(load_boards())} boards and 2 TFLM libraries are right\n"
    )
    spoil(folder / "pico.toml", "raspberrypi@1.19.0", "raspberrypi")
    spoil(folder / "esp32.toml", "mcu =", "mcuu =")
    result = CliRunner().invoke(command, ["--check"])
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert len(lines) == 4 and lines[-1] == "3 problems"  # esp32: an unknown key and a missing one


def test_verb_unknown_board_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["boards", "nano33"])
    assert stop.value.code == 2
    assert "did you mean 'nano33ble'?" in capsys.readouterr().err


def test_no_tensorflow_is_imported() -> None:
    code = "import sys; from kd_embedded.cli import main; main(['boards']); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_names_are_read_without_the_files() -> None:
    assert set(boards.board_names()) >= REQUIRED
    assert boards.library_names() == ("chirale", "esp")
