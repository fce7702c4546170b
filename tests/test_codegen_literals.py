"""Literals read back equal, and no text breaks out of a string or a comment."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd_embedded.codegen import literals


def read_string(literal: str) -> bytes:
    """A C string literal's bytes, by the rules of C for what ``literals.string`` writes."""
    assert literal[0] == literal[-1] == '"'
    body = literal[1:-1]
    assert re.fullmatch(r'(?:[^"\\?\x00-\x1f\x7f-\U0010ffff]|\\[0-7]{3})*', body)
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), body.encode())


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_read_back_equal(text: str) -> None:
    assert read_string(literals.string(text)) == text.encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_comments_stay_comments(text: str) -> None:
    line = literals.comment(text)
    assert all(" " <= c <= "~" for c in line)
    assert not any(mark in line for mark in ("*/", "/*", "??", "\\"))


def test_comments_keep_plain_words() -> None:
    assert literals.comment("ResNet-8, 97.1 % (test)") == "ResNet-8, 97.1 % (test)"
    assert literals.comment("a\nb */ c /**/ \\ ???/") == "a b * / c / ** / / ? ? ?/"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_read_back_equal(value: float) -> None:
    literal = literals.real(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", literal) and ("." in literal or "e" in literal)
    assert np.float32(literal[:-1]) == np.float32(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_floats_without_a_literal(value: float) -> None:
    with pytest.raises(ValueError, match="no C literal"), np.errstate(over="ignore"):
        literals.real(value)


@given(st.binary(max_size=400))
def test_arrays_read_back_equal(data: bytes) -> None:
    rows = literals.bytes_rows(data)
    assert bytes(int(word, 16) for row in rows for word in row.rstrip(",").split(", ")) == data
    values = np.frombuffer(data, np.int8)
    rows = literals.int8_rows(values)
    assert [int(word) for row in rows for word in row.rstrip(",").split(", ")] == values.tolist()
    assert all(len(row) <= 112 for row in rows)
