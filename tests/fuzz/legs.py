"""Runs cases through BUILTIN_REF, or TFLM where that is wrong, and through what must equal it; tells which differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzz.build import Case
from kd_embedded import interpreters, reference
from kd_embedded.errors import KdError, ModelError
from kd_embedded.tflite.read import parse_model

Outcome = NDArray[Any] | KdError


@dataclass(frozen=True, eq=False)
class Failure:
    """A case that one leg does not compute as the oracle does."""

    case: Case
    leg: str
    what: str


def expected(cases: Sequence[Case]) -> list[Outcome]:
    """What the oracle computes, or why it refuses: BUILTIN_REF, or TFLM for what that is known to compute wrongly."""
    names = [interpreters.oracle(parse_model(case.model, case.name)) for case in cases]
    found: list[Outcome] = [ModelError("no interpreter is known to be right", where=case.name) for case in cases]
    for oracle in ("builtin_ref", "tflm"):
        chosen = [i for i, name in enumerate(names) if name == oracle]
        outcomes = interpreters.run_batch(oracle, [cases[i].model for i in chosen], [cases[i].inputs for i in chosen])
        for i, outcome in zip(chosen, outcomes, strict=True):
            found[i] = outcome
    return found


def numpy_leg(case: Case) -> Outcome:
    """What our reference computes, or why it refuses."""
    try:
        return reference.run(parse_model(case.model, case.name), case.inputs)
    except KdError as error:
        return error


def difference(wanted: Outcome, found: Outcome) -> str:
    """ "" where both are equal or both refuse; else what is wrong. A refusal of what the oracle computes is wrong."""
    if isinstance(wanted, KdError):
        return ""  # what the oracle refuses we may refuse or define
    if isinstance(found, KdError):
        return f"refused: {found}"
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return f"{found.dtype} {list(found.shape)}, expected {wanted.dtype} {list(wanted.shape)}"
    apart = np.flatnonzero(wanted != found)
    if not len(apart):
        return ""
    first = apart[0]
    got, right = found.reshape(-1)[first], wanted.reshape(-1)[first]
    return f"{len(apart)} of {wanted.size} bytes differ, the first at {first}: {got}, expected {right}"
