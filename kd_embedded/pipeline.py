"""The run folder: which stage is still good, which must be redone, and run.json, the account of both.

A stage reads sections of kd.toml and artifacts, and writes artifacts. Its key is a hash of all it reads; run.json keeps
the key and the hashes of what was written. A stage whose key and files still match is not redone. Everything is written
whole or not at all, run.json last, so a run that was killed carries on from the last whole artifact.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from kd_embedded import __version__, artifacts, resources
from kd_embedded import data as data_sets
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.boards import Board, load_board, load_boards
from kd_embedded.codegen.folder import MARKER, read_marker
from kd_embedded.config import RunSpec, config_sha256
from kd_embedded.errors import KdError
from kd_embedded.progress import Progress

_SCHEMA = 1
_TOOL_NAME = "kd-embedded"
_TOOL = f"{_TOOL_NAME} {__version__}"
_INTERPRETERS = ("tflite-runtime", "ai-edge-litert", "tflite-micro")
_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "numpy",
    "tflite-runtime",
    "ai-edge-litert",
    "tflite-micro",
    "scikit-learn",
    "skops",
    "torch",
    "onnxruntime",
)
_MAKERS = (_TOOL_NAME, *(name for name in _PACKAGES if name not in _INTERPRETERS))  # whose versions no key holds


@dataclass(frozen=True)
class Stage:
    """One step. ``sections`` of the config, ``reads`` and ``writes`` of the run folder; ``work`` does it.

    ``needs_data``, ``needs_boards`` (those chosen, or all there are), ``needs_interpreters`` and ``needs_tool`` add the
    data set, board files, the interpreters' and this tool's versions to what the stage depends on. ``files`` names the
    user's own models that it reads.
    """

    name: str
    sections: tuple[str, ...]
    writes: Callable[[Run], tuple[str, ...]]
    work: Callable[[Run], None]
    reads: Callable[[Run], tuple[str, ...]] = lambda run: ()
    files: Callable[[Run], tuple[str, ...]] = lambda run: ()
    needs_data: bool = False
    needs_boards: Literal["", "chosen", "all"] = ""
    needs_interpreters: bool = False
    needs_tool: bool = False
    settings: Callable[[Run], Any] = lambda run: None


class Run:
    """One kd.toml and its run folder.

    ``base`` is the folder of kd.toml, where its relative paths start, ``config`` what the user calls it.
    """

    def __init__(self, spec: RunSpec, base: Path, progress: Progress, config: str = "kd.toml") -> None:
        self.spec, self.base, self.progress = spec, base, progress
        self.folder = artifacts.locate(base, spec.project.out)
        self._config = "" if config == "kd.toml" else f"{shlex.quote(config)} "  # what messages tell to type
        self._made: list[Path] = []
        self._unlock: weakref.finalize[..., Run] | None = None
        self.notes: dict[str, Any] = {}  # a stage's own entry in run.json
        self._told = False  # that other versions made what stands
        # Who computes the teachers' logits: worker processes here, the Dask cluster at an address, or this process.
        self.workers, self.cluster = 0, ""

    def path(self, name: str) -> Path:
        return self.folder / name

    def checkpoint(self, stage: Stage, number: int = 0) -> Path:
        """Where the fits of ``stage`` keep their state; gone once the stage is done."""
        return self.path(f".{stage.name}{number}.checkpoint.npz")

    @cached_property
    def boards(self) -> tuple[Board, ...]:
        return tuple(load_board(name) for name in self.spec.project.boards)

    @cached_property
    def data_fingerprint(self) -> str:
        return data_sets.fingerprint(self.spec.data, self.base)

    @cached_property
    def data(self) -> data_sets.Data:
        self.progress.detail(f"reading {self.spec.data.source}")
        return data_sets.load(self.spec.data, self.base)

    @cached_property
    def splits(self) -> data_sets.Splits:
        return data_sets.split(self.data, self.spec.data, self.spec.project.seed)

    @cached_property
    def state(self) -> dict[str, Any]:
        """The stages of run.json as they were last stored."""
        path = self.path(artifacts.RUN)
        stages = artifacts.read_json(path).get("stages") if path.exists() else None
        entries = stages.items() if isinstance(stages, dict) else ()
        return {name: entry for name, entry in entries if _is_entry(entry)}

    def open_folder(self, *, fresh: bool) -> None:
        """Makes the run folder or takes it up, for this process alone; ``fresh`` forgets what it holds.

        The user's own firmware files stay. Raises KdError where the folder holds something else, cannot be made, or
        another process works in it.
        """
        self._check_ours()
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise artifacts.cannot_write(self.folder, error) from None
        if self._unlock is None:
            self._unlock = weakref.finalize(self, os.close, _lock(self.folder))
        for leftover in (*self.folder.glob(".kd-*"), *self.path(artifacts.FIRMWARE).glob(".kd-*")):
            shutil.rmtree(leftover, ignore_errors=True)
        if fresh and self.path(artifacts.RUN).exists():
            self._forget()

    @contextmanager
    def opened(self, *, fresh: bool) -> Iterator[None]:
        """``open_folder`` for a block; a folder that it made and nothing was written to is removed at the end."""
        self.open_folder(fresh=fresh)
        try:
            yield
        finally:
            for path in self._made:
                with suppress(OSError):
                    path.rmdir()

    def _check_ours(self) -> None:
        if self.path(artifacts.RUN).is_file():
            try:
                document = artifacts.read_json(self.path(artifacts.RUN))
            except KdError as error:
                todo = "remove the whole folder, or set project.out to another"
                raise KdError(error.what, where=error.where, todo=todo) from None
            ours = isinstance(document, dict) and str(document.get("tool", "")).startswith(_TOOL_NAME)
        elif self.folder.is_dir():
            ours = all(
                path.name.startswith(".kd-") for path in self.folder.iterdir()
            )  # a kill left them, or it is empty
        else:
            ours = not os.path.lexists(self.folder)
        if not ours:
            raise KdError(
                "exists and is no run folder of kd-embedded",
                where=str(self.folder),
                todo="set project.out to another folder",
            )

    def _forget(self) -> None:
        """Removes what the stages wrote and cached. The firmware stays: generating it again keeps the user's files."""
        written = [name for stage in self.state.values() for name in stage["wrote"]]
        self.state.clear()
        self.store()
        caches = [path.name for path in self.folder.glob(".*.checkpoint.npz")]
        for name in (*written, *caches, artifacts.TEACHER_LOGITS):
            if not name.startswith(f"{artifacts.FIRMWARE}/"):
                self.path(name).unlink(missing_ok=True)
        shutil.rmtree(self.path(artifacts.SOFT_TARGETS), ignore_errors=True)

    def store(self) -> None:
        """Writes run.json."""
        artifacts.write_json(
            self.path(artifacts.RUN),
            {
                "schema": _SCHEMA,
                "tool": _TOOL,
                "versions": _versions(),
                "seed": self.spec.project.seed,
                "config_sha256": config_sha256(self.spec),
                "config": self.spec.model_dump(mode="json"),
                "stages": self.state,
            },
        )

    def account(self, stage: Stage) -> dict[str, Any]:
        """Everything ``stage`` reads, by hash. Raises KdError where an artifact of an earlier stage is missing."""
        read: dict[str, str] = {}
        for name in stage.reads(self):
            if not self.path(name).exists():
                raise KdError(
                    f"{stage.name} needs it and it is not there",
                    where=str(self.path(name)),
                    todo=f"`kd-embedded run {self._config}".strip() + "` makes it",
                )
            read[name] = hash_path(self.path(name))
        for name in stage.files(self):
            path = artifacts.locate(self.base, name)
            if not path.exists():
                raise KdError("no such file", where=str(path), todo="models are named relative to kd.toml")
            read[name] = hash_path(path)
        sections = {name: _section(self.spec, name) for name in stage.sections}
        found: dict[str, Any] = {
            "sections": sha256_bytes(json.dumps(sections, sort_keys=True).encode()),
            "seed": self.spec.project.seed,
            "read": read,
        }
        if stage.needs_data:
            found["data"] = self.data_fingerprint
        if stage.needs_boards:
            names = self.spec.project.boards
            found["boards"] = [names, _board_hashes(self.boards if stage.needs_boards == "chosen" else load_boards())]
        if stage.needs_interpreters:
            versions = _versions()
            found["interpreters"] = {name: versions.get(name, "") for name in _INTERPRETERS}
        if stage.needs_tool:
            found["tool"] = __version__
        settings = stage.settings(self)
        if settings is not None:
            found["settings"] = settings
        return found

    def key(self, stage: Stage) -> str:
        """Hash of everything ``stage`` reads."""
        return _key(self.account(stage))

    def require(self, stage: Stage) -> None:
        """Raises KdError unless ``stage`` is done and nothing it reads has changed since."""
        if not self.is_done(stage, self.key(stage)):
            raise KdError(
                f"{stage.name} is missing or out of date",
                where=str(self.folder),
                todo=f"`kd-embedded run {self._config}--until {stage.name}` does it",
            )

    def is_done(self, stage: Stage, key: str) -> bool:
        """Whether run.json knows ``stage`` under ``key`` and its files are still what it wrote."""
        known = self.state.get(stage.name)
        if not known or known["key"] != key:
            return False
        written: Mapping[str, str] = known["wrote"]
        return all(self.path(name).exists() and hash_path(self.path(name)) == sha for name, sha in written.items())

    def execute(self, stage: Stage) -> bool:
        """Does ``stage`` unless it is done; whether it had to."""
        account = self.account(stage)
        key = _key(account)
        if self.is_done(stage, key):
            self.progress.detail(f"{stage.name}: up to date")
            self._tell_versions(stage)
            return False
        self.progress.say(f"{stage.name}: working")
        self.notes = {}
        stage.work(self)
        wrote = {name: hash_path(self.path(name)) for name in stage.writes(self)}
        self.state[stage.name] = {
            "key": key,
            **account,
            "wrote": wrote,
            "tool": _TOOL,
            "versions": _versions(),
            **self.notes,
        }
        self.store()
        for checkpoint in self.folder.glob(f".{stage.name}*.checkpoint.npz"):
            checkpoint.unlink()
        return True

    def _tell_versions(self, stage: Stage) -> None:
        """Says, once, that results stand which other versions made: they are kept, as training is dear."""
        entry, now = self.state[stage.name], {_TOOL_NAME: __version__, **_versions()}
        then = {_TOOL_NAME: entry["tool"].partition(" ")[2], **entry["versions"]}
        both = [name for name in _MAKERS if name in now and name in then]
        others = [f"{name} {then[name]} (now {now[name]})" for name in both if now[name] != then[name]]
        if others and not self._told:
            self._told = True
            self.progress.say(f"  {stage.name} was made by {', '.join(others)}, and stands; --fresh makes all anew")


def hash_path(path: Path) -> str:
    """SHA-256 of a file; of a generated project, of the files that are ours; of another folder, of all its files."""
    if path.is_file():
        return sha256_file(path)
    if (path / MARKER).is_file():
        below = [path / name for name in (MARKER, *sorted(read_marker(path)["files"]))]
    else:
        below = sorted(found for found in path.rglob("*") if found.is_file())
    lines = (f"{p.relative_to(path).as_posix()} {sha256_file(p) if p.is_file() else 'absent'}\n" for p in below)
    return sha256_bytes("".join(lines).encode())


def _is_entry(entry: Any) -> bool:
    """Whether a stage's ``entry`` in run.json is whole, and all files that it names are in the run folder."""
    if not (isinstance(entry, dict) and {"key", "wrote"} <= set(entry) and isinstance(entry["wrote"], dict)):
        return False
    return all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in entry["wrote"])


def _key(account: Mapping[str, Any]) -> str:
    return sha256_bytes(json.dumps(account, sort_keys=True).encode())


def _lock(folder: Path) -> int:
    """Keeps others out of ``folder`` until the descriptor is closed, or the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise KdError("another kd-embedded works in it", where=str(folder), todo="wait for it, or stop it") from None
    return descriptor


def _section(spec: RunSpec, name: str) -> Any:
    section = getattr(spec, name)
    if isinstance(section, tuple):
        return [item.model_dump(mode="json") for item in section]
    document = section.model_dump(mode="json")
    if name == "project":
        document.pop("out")  # where a run stands changes nothing in it
    return document


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _board_hashes(boards: Iterable[Board]) -> dict[str, str]:
    folder = resources.boards_dir()
    files = {name for board in boards for name in (f"{board.name}.toml", f"tflm/{board.tflm.library}.toml")}
    return {name: sha256_file(folder / name) for name in sorted(files)}
