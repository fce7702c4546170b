"""TOML files that users may add -> frozen pydantic objects: boards, TFLM libraries, cores, tables of cycles.

A wrong file is a ConfigError that names the file, the key and the nearest right name.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from kd_embedded import resources
from kd_embedded.errors import ConfigError


class Frozen(BaseModel):
    """A table of such a file: immutable, no unknown key, no value converted from another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Named(Frozen):
    """A whole file, called by its name."""

    name: str


Model = TypeVar("Model", bound=Named)


def names_of(folder: Path) -> tuple[str, ...]:
    """Names of the files of ``folder``, sorted, without reading them."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def find_file(folder: Path, name: str, kind: str, listing: str = "") -> Path:
    """The file called ``name``; ConfigError with the nearest name. ``listing`` is the command that lists them all."""
    names = names_of(folder)
    if name in names:
        return folder / f"{name}.toml"
    known = f"there are {', '.join(names)}" if names else f"{folder} holds none"
    todo = f"{listing} lists them" if listing and names else known
    raise ConfigError(f"no such {kind}{nearest(name, names)}", where=name or '""', todo=todo)


def read_file(path: Path, schema: type[Model]) -> Model:
    """The object in ``path``; ConfigError that tells the first thing that is wrong."""
    problems: list[str] = []
    found = _parse(path, schema, problems)
    if found is None:
        where, _, what = problems[0].partition(": ")
        raise ConfigError(what, where=where)
    return found


def read_all(folder: Path, schema: type[Model], problems: list[str]) -> Iterator[tuple[Path, Model]]:
    """The right files of ``folder``; each thing that is wrong with the others is a line added to ``problems``."""
    if not names_of(folder):
        problems.append(f"{folder}: holds no *.toml file")
    for name in names_of(folder):
        path = folder / f"{name}.toml"
        found = _parse(path, schema, problems)
        if found is not None:
            yield path, found


def _parse(path: Path, schema: type[Model], problems: list[str]) -> Model | None:
    """The object in ``path``, or None and a line in ``problems`` for each thing that is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found = schema.model_validate(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{short_path(path)}: {error}")
    except ValidationError as error:
        # A misspelt key is also a missing one: say first what the user wrote.
        details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
        problems += [f"{short_path(path)}: {_explain(detail, schema)}" for detail in details]
    else:
        if found.name == path.stem:
            return found
        problems.append(f"{short_path(path)}: name: {found.name!r} is not the file's name {path.stem!r}")
    return None


def _explain(detail: Any, schema: type[BaseModel]) -> str:
    """``platformio.framwork: unknown key (did you mean 'framework'?)`` from one pydantic error."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        keys = _keys_at(schema, detail["loc"][:-1])
        return f"{place}: unknown key{nearest(str(detail['loc'][-1]), keys)}"
    if detail["type"] == "missing":
        return f"{place}: this key is missing"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    hint = ""
    if detail["type"] == "literal_error":
        hint = nearest(str(detail["input"]), re.findall(r"'([^']+)'", detail["ctx"]["expected"]))
    return f"{place}: {message}, not {detail['input']!r}{hint}"


def _keys_at(schema: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    for part in place:
        if isinstance(part, str):  # a number is a place in a list, whose elements are of one type
            inner = schema.model_fields[part].annotation
            inner = next(iter(get_args(inner)), inner)
            assert isinstance(inner, type) and issubclass(inner, BaseModel)
            schema = inner
    return list(schema.model_fields)


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'pico'?)``, or "" where no name is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def short_path(path: Path) -> str:
    """``boards/esp32.toml``, ``boards/tflm/chirale.toml``."""
    return path.relative_to(resources.boards_dir().parent).as_posix()
