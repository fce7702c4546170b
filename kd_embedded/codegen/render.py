"""Templates and plain files of ``firmware_templates/`` to the texts of a project."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kd_embedded.resources import templates_dir

_COMMENTS = {
    ".cpp": ("// ", ""),
    ".c": ("// ", ""),
    ".h": ("// ", ""),
    ".ini": ("; ", ""),
    ".md": ("<!-- ", " -->"),
    "": ("# ", ""),
}
_RENAMED = {"gitignore": ".gitignore"}  # under its real name it would apply to the templates themselves


@cache
def environment(folder: Path) -> Environment:
    """Jinja over ``folder``: an unknown variable is an error, and a block's own line leaves no trace."""
    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(folders: tuple[str, ...], context: Mapping[str, Any]) -> dict[str, str]:
    """The text of each file below ``firmware_templates/<folder>``, by its path in the project, sorted.

    ``NAME.j2`` is rendered with ``context`` to ``NAME``; other files are taken as they are.
    """
    texts: dict[str, str] = {}
    for folder in folders:
        root = templates_dir() / folder
        jinja = environment(root)
        for path in sorted(root.rglob("*")):
            if path.is_dir():
                continue
            source = path.relative_to(root).as_posix()
            name = _RENAMED.get(source, source).removesuffix(".j2")
            is_template = source.endswith(".j2")
            texts[name] = jinja.get_template(source).render(context) if is_template else path.read_text("utf-8")
    return dict(sorted(texts.items()))


def banner(name: str, lines: tuple[str, ...]) -> str:
    """``lines`` as the first comment lines of the file ``name``; each must be fit for a comment already."""
    before, after = _COMMENTS[Path(name).suffix]
    return "".join(f"{before}{line}{after}\n" for line in lines)
