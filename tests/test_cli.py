"""The contract of the command line: quick, documented, one line for a mistake, one JSON document on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kd_embedded import cli

_ROOT = Path(__file__).resolve().parent.parent
_VERBS = cli.group.list_commands(click.Context(cli.group))
_TINY = _ROOT / "tests" / "data" / "tiny.tflite"


def _kd(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kd_embedded", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def test_the_verbs_are_those_of_the_readme_in_the_order_of_the_pipeline() -> None:
    assert [
        *("init", "run", "teach", "examine", "distill", "quantize", "validate", "codegen", "report"),
        *("inputs", "inspect", "compare", "boards", "emulate", "build", "flash", "monitor"),
    ] == _VERBS


@pytest.mark.parametrize("name", _VERBS)
def test_every_verb_has_help_json_verbose_and_quiet(name: str) -> None:
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    assert command.help
    options = {option: parameter for parameter in command.params for option in parameter.opts}
    assert {"--json", "--verbose", "--quiet"} <= set(options)
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


def test_the_pages_of_docs_are_current() -> None:
    done = subprocess.run([sys.executable, str(_ROOT / "scripts" / "make_docs"), "--check"], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["boards"],
        ["boards", "pico"],
        ["inspect", str(_TINY)],
        ["codegen", str(_TINY), "--board", "pico", "--out", "OUT"],
        ["validate", str(_TINY)],
        ["init", "NEW"],
    ],
)
def test_quick_commands_import_no_tensorflow(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from kd_embedded.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "kd.toml: no such file: `kd-embedded init` writes one"),
        (["run", "other.toml"], "other.toml: no such file"),
        (["nonsense"], "No such command 'nonsense'."),
        (["run", "--nonsense"], "No such option"),
        (["run", "--until", "lunch"], "'lunch' is not one of"),
        (["init", "--example", "digts"], "no such example 'digts': did you mean digits?"),
        (["boards", "nano33"], "did you mean 'nano33ble'?"),
        (["inspect", "none.tflite"], "none.tflite: no such file"),
        (["validate", "none.tflite"], "none.tflite: no such file"),
        (["codegen", "none.tflite", "--board", "pico", "--out", "out"], "none.tflite: no such file"),
        (["codegen", str(_TINY), "--board", "esp23", "--out", "out"], "did you mean 'esp32'?"),
        (["validate", str(_TINY), "--golden", "none.npz"], "none.npz: no such file"),
        (["validate", str(_TINY), "--fresh"], "tiny.tflite: --fresh goes with a kd.toml: leave it out"),
        (
            ["validate", str(_TINY), "--golden", "g.npz", "--seed", "3"],
            "--seed goes with random inputs, not with --gold",
        ),
        (["codegen", str(_TINY), "--fresh", "--board", "pico", "--out", "o"], "--fresh goes with a kd.toml"),
        (["boards", "pico", "--check"], "pico: --check is of all board files"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = _kd(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert list(tmp_path.iterdir()) == []
    machine = _kd(*arguments, "--json", cwd=tmp_path)
    assert machine.returncode == 2
    assert json.loads(machine.stdout)["error"]["what"]


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[project\n", "not valid TOML: "),
        ("[project]\nsede = 1\n", "unknown key project.sede: did you mean seed?"),
        ('[project]\nboards = ["nano"]\n', "did you mean 'nano33ble'?"),
        ('[project]\nname = "int"\n', "keyword"),
        ('[data]\nsource = "npz:absent.npz"\n', "absent.npz: no such file"),
        ('[[teacher]]\nfile = "absent.keras"\nmode = "frozen"\n', "absent.keras"),
        ('[student]\nfile = "absent.keras"\n', "absent.keras: no such file"),
    ],
)
def test_a_mistake_in_kd_toml_is_one_line(toml: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "kd.toml").write_text(toml)
    done = _kd("run", "-q", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr
    assert not list(tmp_path.rglob("*.tflite"))


@pytest.mark.parametrize("verb", ["codegen", "validate"])
def test_options_of_a_model_do_not_go_with_a_config(verb: str, tmp_path: Path) -> None:
    _kd("init", tmp_path)
    done = _kd(verb, tmp_path / "kd.toml", "--golden", "none.npz")
    assert done.returncode == 2
    assert "--golden goes with a MODEL.tflite" in done.stderr


def test_a_config_with_a_byte_order_mark_and_crlf_is_read(tmp_path: Path) -> None:
    (tmp_path / "kd.toml").write_bytes(b"\xef\xbb\xbf[project]\r\nsede = 1\r\n")
    assert "unknown key project.sede" in _kd("run", cwd=tmp_path).stderr


def test_our_own_mistakes_are_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("odd\nthing")

    monkeypatch.setattr(cli.group, "main", fail)
    with pytest.raises(SystemExit) as end:
        cli.main(["boards", "--json"])
    said = capsys.readouterr()
    assert end.value.code == 3
    assert json.loads(said.out)["error"]["what"].endswith("RuntimeError: odd thing")
    assert said.err.count("\n") == 1
    with pytest.raises(RuntimeError):
        cli.main(["boards", "-v"])


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted; run it again without --fresh to carry on"),
        (OSError(28, "No space left on device", "here"), 2, "here: No space left on device"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_what_the_system_does_to_us_is_one_line(
    raised: BaseException, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(cli.group, "main", fail)
    monkeypatch.setattr(sys.stderr, "close", lambda: None)
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "--fresh"])
    assert end.value.code == code
    assert says in capsys.readouterr().err


def test_an_interrupted_verb_carries_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.group, "main", fail)
    for arguments in (["run"], ["teach", "--fresh"]):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        assert "interrupted; run the same command again to carry on" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["boards nope --json", "boards --json"])
def test_where_stdout_takes_nothing_the_line_and_the_code_tell_it(arguments: str) -> None:
    command = f"exec {sys.executable} -m kd_embedded {arguments} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_without_a_stderr_stdout_is_as_ever() -> None:
    command = f"exec {sys.executable} -m kd_embedded boards --json 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)


def test_what_users_code_prints_is_no_part_of_the_json(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def outputs(x):\n    print('asked')\n    return x.reshape(len(x), -1)[:, :10] - 9\n"
    )
    (tmp_path / "kd.toml").write_text(
        '[data]\nmax_per_class = 10\n[student]\narch = "mlp"\n[[teacher]]\nkind = "python"\nfunction = "own:outputs"\n'
    )
    done = _kd("run", "--until", "teach", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) and "asked" in done.stderr


def test_a_run_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kd.toml").write_text('[project]\nout = "mine"\n')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    done = _kd("run", "--fresh", cwd=tmp_path)
    assert done.returncode == 2
    assert "exists and is no run folder of kd-embedded" in done.stderr
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


def test_init_never_overwrites(tmp_path: Path) -> None:
    assert _kd("init", tmp_path).returncode == 0
    before = (tmp_path / "kd.toml").read_text()
    done = _kd("init", tmp_path, "--example", "cifar10")
    assert done.returncode == 2
    assert "is already there" in done.stderr
    assert (tmp_path / "kd.toml").read_text() == before


@pytest.mark.parametrize("example", ["digits", "forest", "cifar10", "npz"])
def test_every_example_is_a_valid_config(example: str, tmp_path: Path) -> None:
    from kd_embedded.config import load_config

    document = json.loads(_kd("init", tmp_path, "--example", example, "--json").stdout)
    assert load_config(Path(document["config"])).project.boards


def test_shell_completion_is_clicks_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kd_embedded"],
        env={"_KD_EMBEDDED_COMPLETE": "bash_source", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_KD_EMBEDDED_COMPLETE=bash_complete" in done.stdout
