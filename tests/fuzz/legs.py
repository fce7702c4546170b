"""Runs cases through BUILTIN_REF and through what must equal it; tells which differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzz.build import Case
from kd_embedded import interpreters, reference
from kd_embedded.errors import KdError
from kd_embedded.tflite.read import parse_model

Outcome = NDArray[Any] | KdError


@dataclass(frozen=True, eq=False)
class Failure:
    """A case that one leg does not compute as BUILTIN_REF does."""

    case: Case
    leg: str
    what: str


def expected(cases: Sequence[Case]) -> list[Outcome]:
    """What BUILTIN_REF computes, or why it refuses."""
    return list(interpreters.run_batch("builtin_ref", [case.model for case in cases], [case.inputs for case in cases]))


def numpy_leg(case: Case) -> Outcome:
    """What our reference computes, or why it refuses."""
    try:
        return reference.run(parse_model(case.model, case.name), case.inputs)
    except KdError as error:
        return error


def difference(wanted: Outcome, found: Outcome) -> str:
    """ "" where both are equal or both refuse; else what is wrong. A refusal of what BUILTIN_REF computes is wrong."""
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
