"""The run folder: which stage is still good, which must be redone, and run.json, the account of both.

A stage reads sections of kd.toml and artifacts, and writes artifacts. Its key is a hash of all it reads; run.json keeps
the key and the hashes of what was written. A stage whose key and files still match is not redone. Everything is written
whole or not at all, run.json last, so a run that was killed carries on from the last whole artifact.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from kd_embedded import __version__, artifacts, resources
from kd_embedded import data as data_sets
from kd_embedded.artifacts import sha256_bytes, sha256_file
from kd_embedded.boards import Board, load_board
from kd_embedded.config import RunSpec, config_sha256
from kd_embedded.errors import KdError
from kd_embedded.progress import Progress

_SCHEMA = 1
_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "numpy",
    "tflite-runtime",
    "ai-edge-litert",
    "tflite-micro",
    "scikit-learn",
)


@dataclass(frozen=True)
class Stage:
    """One step. ``sections`` of the config, ``reads`` and ``writes`` of the run folder; ``work`` does it.

    ``needs_data``, ``needs_boards`` and ``needs_tool`` add the data set, the board files and this tool's version to
    what the stage depends on. ``files`` names the user's own models that it reads.
    """

    name: str
    sections: tuple[str, ...]
    writes: Callable[[Run], tuple[str, ...]]
    work: Callable[[Run], None]
    reads: Callable[[Run], tuple[str, ...]] = lambda run: ()
    files: Callable[[Run], tuple[str, ...]] = lambda run: ()
    needs_data: bool = False
    needs_boards: bool = False
    needs_tool: bool = False


class Run:
    """One kd.toml and its run folder. ``base`` is the folder of kd.toml, where its relative paths start."""

    def __init__(self, spec: RunSpec, base: Path, progress: Progress) -> None:
        self.spec, self.base, self.progress = spec, base, progress
        self.folder = base / Path(spec.project.out).expanduser()
        self.notes: dict[str, Any] = {}  # a stage's own entry in run.json

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
        return dict(artifacts.read_json(path).get("stages", {})) if path.exists() else {}

    def open_folder(self, *, fresh: bool) -> None:
        """Makes the run folder, or checks that it is one. Raises KdError where it holds something else."""
        marker = self.path(artifacts.RUN)
        if self.folder.exists() and not marker.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise KdError(
                "exists and is no run folder of kd-embedded",
                where=str(self.folder),
                todo="set project.out to another folder",
            )
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        for leftover in (*self.folder.glob(".kd-*"), *self.path(artifacts.FIRMWARE).glob(".kd-*")):
            shutil.rmtree(leftover, ignore_errors=True)
        if not marker.exists():
            self.store()

    def store(self) -> None:
        """Writes run.json."""
        artifacts.write_json(
            self.path(artifacts.RUN),
            {
                "schema": _SCHEMA,
                "tool": f"kd-embedded {__version__}",
                "versions": _versions(),
                "seed": self.spec.project.seed,
                "config_sha256": config_sha256(self.spec),
                "config": self.spec.model_dump(mode="json"),
                "stages": self.state,
            },
        )

    def key(self, stage: Stage) -> str:
        """Hash of everything ``stage`` reads. Raises KdError where an artifact of an earlier stage is missing."""
        sections = {name: _section(self.spec, name) for name in stage.sections}
        read: dict[str, str] = {}
        for name in stage.reads(self):
            if not self.path(name).exists():
                raise KdError(
                    f"{stage.name} needs it and it is not there",
                    where=str(self.path(name)),
                    todo="run the stages before it, or `kd-embedded run`",
                )
            read[name] = hash_path(self.path(name))
        for name in stage.files(self):
            path = self.base / name
            if not path.is_file():
                raise KdError("no such file", where=str(path), todo="models are named relative to kd.toml")
            read[name] = sha256_file(path)
        whole = {
            "sections": sections,
            "seed": self.spec.project.seed,
            "read": read,
            "data": self.data_fingerprint if stage.needs_data else "",
            "boards": (self.spec.project.boards, _board_hashes()) if stage.needs_boards else "",
            "tool": __version__ if stage.needs_tool else "",
        }
        return sha256_bytes(json.dumps(whole, sort_keys=True).encode())

    def is_done(self, stage: Stage, key: str) -> bool:
        """Whether run.json knows ``stage`` under ``key`` and its files are still what it wrote."""
        known = self.state.get(stage.name)
        if not known or known["key"] != key:
            return False
        written: Mapping[str, str] = known["wrote"]
        return all(self.path(name).exists() and hash_path(self.path(name)) == sha for name, sha in written.items())

    def execute(self, stage: Stage) -> bool:
        """Does ``stage`` unless it is done; whether it had to. The sections it reads are then on record."""
        key = self.key(stage)
        if self.is_done(stage, key):
            self.progress.detail(f"{stage.name}: up to date")
            return False
        self.progress.say(f"{stage.name}: working")
        self.notes = {}
        stage.work(self)
        wrote = {name: hash_path(self.path(name)) for name in stage.writes(self)}
        self.state[stage.name] = {"key": key, "wrote": wrote, **self.notes}
        self.store()
        for number in range(len(self.spec.teacher)):
            self.checkpoint(stage, number).unlink(missing_ok=True)
        return True


def hash_path(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files below a folder but hidden ones."""
    if path.is_file():
        return sha256_file(path)
    below = sorted(p for p in path.rglob("*") if p.is_file() and not p.relative_to(path).parts[0].startswith(".pio"))
    lines = (f"{p.relative_to(path).as_posix()} {sha256_file(p)}\n" for p in below)
    return sha256_bytes("".join(lines).encode())


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


def _board_hashes() -> dict[str, str]:
    folder = resources.boards_dir()
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*.toml"))}
