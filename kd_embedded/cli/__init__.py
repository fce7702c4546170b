"""The command line: one file per verb, found by listing this folder. Only this package prints and exits."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from kd_embedded import __version__
from kd_embedded.errors import KdError

_STORY = (
    *("init", "run", "teach", "examine", "distill", "quantize", "validate", "codegen", "report"),
    *("inputs", "inspect", "compare", "boards", "emulate", "build", "flash", "monitor"),
)


@dataclass(frozen=True)
class Outcome:
    """What a verb gives back: ``document`` is what ``--json`` prints, ``text`` what a person reads on stdout."""

    document: Any
    text: str = ""
    exit_code: int = 0


class _Verbs(click.Group):
    """Loads a verb's module when it is named, so that a quick command never pays for a slow one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
        return [name for name in _STORY if name in found] + sorted(found - set(_STORY))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command


def verb(function: Callable[..., Outcome]) -> click.Command:
    """Makes a click command of ``function(progress, **options) -> Outcome``: adds --json, -v, -q and the printing.

    The command's name is the module's; its help is the function's docstring. Add options below this decorator.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout; all else goes to stderr.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
    @click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
    @functools.wraps(function)
    def command(as_json: bool, verbose: bool, quiet: bool, **options: Any) -> None:
        from kd_embedded.progress import for_terminal

        with contextlib.redirect_stdout(sys.stderr):  # teachers of the user's print what they like
            outcome = function(for_terminal(verbose - quiet), **options)
        if as_json:
            from kd_embedded.artifacts import to_json

            click.echo(to_json(outcome.document), nl=False)
        elif outcome.text:
            click.echo(outcome.text)
        if outcome.exit_code:
            raise SystemExit(outcome.exit_code)

    name = function.__module__.rpartition(".")[2]
    return click.command(name, context_settings={"help_option_names": ["-h", "--help"]})(command)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kd-embedded")
def group() -> None:
    """Distil a teacher into a tiny int8 student, and generate firmware for it that is proven right.

    Start with `kd-embedded init`, then `kd-embedded run`.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line. A mistake of the user is one line on stderr and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        group.main(arguments, prog_name="kd-embedded", standalone_mode=False)
    except KdError as error:
        _fail(arguments, {"what": error.what, "where": error.where, "todo": error.todo}, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        raise SystemExit(2) from None
    except click.ClickException as error:
        help_of = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "kd-embedded"
        line = " ".join(error.format_message().split())
        _fail(arguments, {"what": line, "where": "command line", "todo": f"see {help_of} --help"}, line, 2)
    except (click.Abort, KeyboardInterrupt):
        discards = arguments[:1] == ["run"] and "--fresh" in arguments
        todo = "run it again without --fresh" if discards else "run the same command again"
        _fail(arguments, {"what": "interrupted", "where": "", "todo": todo}, f"interrupted; {todo} to carry on", 130)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{error.strerror or error}"
        _fail(arguments, {"what": error.strerror or str(error), "where": place[:-2], "todo": ""}, line, 2)
    except Exception as error:  # our own mistake, and still one line: the traceback is for -v
        if {"-v", "--verbose"} & set(arguments):
            raise
        what = f"internal error, please report it: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        _fail(arguments, {"what": what, "where": "kd-embedded", "todo": "-v shows where"}, f"{what}; -v shows where", 3)


def _fail(arguments: list[str], error: dict[str, str], line: str, exit_code: int) -> None:
    if "--json" in arguments:
        try:
            click.echo(json.dumps({"error": error}, indent=2, ensure_ascii=False))
        except OSError:  # a closed pipe or a full disk: the line and the exit code still tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    click.echo(f"error: {line}", err=True)
    raise SystemExit(exit_code)
