"""`kd-embedded build`."""

from __future__ import annotations

from pathlib import Path

import click

from kd_embedded.cli import Outcome, verb
from kd_embedded.progress import Progress


@click.argument("project", metavar="DIR", type=click.Path(path_type=Path))
@verb
def command(progress: Progress, project: Path) -> Outcome:
    """Compile the generated project in DIR with PlatformIO."""
    from kd_embedded.toolchain import run_pio

    ran = run_pio(project, ["run"])
    return Outcome({"project": str(project), "command": list(ran)}, f"built {project}")
