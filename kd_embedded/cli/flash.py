"""`kd-embedded flash`."""

from __future__ import annotations

from pathlib import Path

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.progress import Progress


@click.argument("project", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--port", metavar="PORT", help="The board's serial port; PlatformIO finds it where there is one.")
@verb
def command(progress: Progress, project: Path, port: str | None) -> Outcome:
    """Compile the generated project in DIR and upload it to the board."""
    from kd_embedded.toolchain import run_pio

    ran = run_pio(project, ["run", "-t", "upload", *(["--upload-port", port] if port else [])])
    return Outcome({"project": str(project), "command": list(ran)}, f"flashed {project}")
