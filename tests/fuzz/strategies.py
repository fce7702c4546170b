"""The same cases for hypothesis, which then shrinks them itself."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from fuzz.build import Case
from fuzz.draw import Draw


def cases(make: Callable[[Draw], Case]) -> st.SearchStrategy[Case]:
    """Cases of one op, such as ``moves.pad``, or ``graphs.graph``."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Case:
        return make(Draw(more=lambda n: draw(st.integers(0, n - 1))))

    return drawn()
