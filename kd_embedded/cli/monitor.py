"""`kd-embedded monitor`."""

from __future__ import annotations

from pathlib import Path

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.progress import Progress


@click.argument("project", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--port", metavar="PORT", help="The board's serial port; PlatformIO finds it where there is one.")
@verb
def command(progress: Progress, project: Path, port: str | None) -> Outcome:
    """Talk to the board of the generated project in DIR: type selftest, then Enter. Ctrl-C ends it."""
    from kd_embedded.toolchain import run_pio

    as_json = click.get_current_context().params["as_json"]
    ran = run_pio(project, ["device", "monitor", *(["--port", port] if port else [])], output_to_stderr=as_json)
    return Outcome({"project": str(project), "command": list(ran)})
