"""Names of the user's as C++ identifiers."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kd_embedded.codegen import names
from kd_embedded.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("digits", "digits"),
        ("My Model-2", "my_model_2"),
        ("kws_ref_model", "kws_ref_model"),
        ("pretrainedResnet_quant", "pretrainedresnet_quant"),
        ("8bit", "m_8bit"),
        ("__init__", "init"),
        ("Café №1", "cafe_no1"),
        ("../../etc/passwd", "etc_passwd"),
    ],
)
def test_identifiers(name: str, legal: str) -> None:
    assert names.identifier(name) == legal


@pytest.mark.parametrize("name", ["int", "class", "Float", "co_await", "restrict", " while ", "xor", "not-eq"])
def test_keywords_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="keyword of C or C"):
        names.identifier(name)


@pytest.mark.parametrize(
    ("name", "why"), [("", "no letter"), ("日本", "no letter"), ("-_-", "no letter"), ("a" * 65, "longer")]
)
def test_other_bad_names(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        names.identifier(name)


@given(st.text(max_size=38))
def test_whatever_comes_out_is_legal_and_stable(name: str) -> None:
    try:
        legal = names.identifier(name)
    except ConfigError:
        assume(False)
        return
    assert legal.isidentifier() and legal.isascii() and legal == legal.lower()
    assert "__" not in legal and not legal.startswith("_") and legal not in names.KEYWORDS
    assert names.identifier(legal) == legal
