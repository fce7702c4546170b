"""What an engine is, and what it makes of a model for a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kd_embedded.boards import Board, Platformio
from kd_embedded.codegen.arena import Arena
from kd_embedded.fit import Fit
from kd_embedded.program import Optimize
from kd_embedded.tflite.graph import Graph


@dataclass(frozen=True)
class Size:
    """A row of the README's table: ``how`` tells how the figure is known."""

    what: str
    bytes: int
    how: str


@dataclass(frozen=True)
class Made:
    """``files`` are sources beside those of the engine's templates, which are rendered with ``context``.

    ``platformio`` are the settings of the project; ``arena_probed`` is False where the arena is an estimate.
    """

    fit: Fit
    context: Mapping[str, object]
    files: Mapping[str, str]
    sizes: Sequence[Size]
    platformio: Platformio
    arena_probed: bool


class Engine(Protocol):
    """A module that makes firmware; its templates stand in ``firmware_templates/<TEMPLATES>``."""

    TEMPLATES: str

    def checked_graph(self, data: bytes, where: str) -> Graph:
        """The graph with the firmware's input and output; ModelError where the engine cannot run it rightly."""

    def check(self, graph: Graph, board: Board, where: str) -> None:
        """Raises a ModelError where ``board`` would compute something else."""

    def arena(self, data: bytes, graph: Graph) -> Arena | None:
        """What ``fit`` and ``make`` need to know of the arena, whatever the board; None where that is nothing."""

    def fit(
        self,
        data: bytes,
        graph: Graph,
        board: Board,
        *,
        golden_vectors: int,
        arena: Arena | None,
        optimize: Optimize,
    ) -> Fit:
        """What the firmware takes of ``board``."""

    def make(
        self,
        data: bytes,
        graph: Graph,
        board: Board,
        *,
        name: str,
        golden_vectors: int,
        arena: Arena | None,
        optimize: Optimize,
    ) -> Made:
        """The firmware, whether it fits or not."""
