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


def read_integer(literal: str) -> int:
    """The value of an integer constant as C has it: one without a suffix is an int, of 32 bits here."""
    if literal == "(-2147483647 - 1)":
        return -(1 << 31)
    value = int(literal.removesuffix("u"), 0)
    assert literal.endswith("u") or -(1 << 31) < value < 1 << 31
    return value


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32])
@given(st.data())
def test_integers_read_back_equal(dtype: type[np.integer], data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    edges = st.sampled_from([int(limits.min), int(limits.max), 0])
    values = data.draw(st.lists(st.one_of(edges, st.integers(int(limits.min), int(limits.max))), max_size=60))
    rows = literals.integer_rows(np.array(values, dtype))
    assert [read_integer(word) for row in rows for word in row.rstrip(",").split(", ")] == values
    assert all(len(row) <= 112 for row in rows)


@given(st.integers(-(1 << 31), (1 << 32) - 1))
def test_an_integer_reads_back_equal(value: int) -> None:
    assert read_integer(literals.integer(value)) == value
