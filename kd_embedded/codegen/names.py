"""The one place where a name of the user's becomes a C++ identifier."""

from __future__ import annotations

import re
import unicodedata

from kd_embedded.errors import ConfigError

# C11, C++20, and the alternative tokens of C++. "float" names no project by intent, and is no name in any source.
_KEYWORDS = """
    alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool break case catch
    char char8_t char16_t char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
    friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public reflexpr register reinterpret_cast requires restrict return short signed sizeof static static_assert
    static_cast struct switch synchronized template this thread_local throw true try typedef typeid typename union
    unsigned using virtual void volatile wchar_t while xor xor_eq
"""
KEYWORDS = frozenset(_KEYWORDS.split())
_LONGEST = 64


def identifier(name: str) -> str:
    """``name`` as a lower-case C++ identifier: accents dropped, every run of other characters one underscore.

    ``My Model-2`` becomes ``my_model_2``, ``8bit`` becomes ``m_8bit``. Raises ConfigError where nothing is left, where
    it is longer than 64 characters, or where it is a keyword of C or C++.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    legal = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not legal:
        raise ConfigError(
            f"{name!r} holds no letter or digit",
            where="the project's name",
            todo="choose another: --name, or project.name",
        )
    if legal in KEYWORDS or name in KEYWORDS:
        raise ConfigError(
            f"{name!r} is a keyword of C or C++",
            where="the project's name",
            todo="choose another: --name, or project.name",
        )
    if legal[0].isdigit():
        legal = f"m_{legal}"
    if len(legal) > _LONGEST:
        raise ConfigError(
            f"{name!r} is longer than {_LONGEST} characters",
            where="the project's name",
            todo="choose a shorter one: --name, or project.name",
        )
    return legal


def model_symbol(name: str) -> str:
    """The name of the model's array. The suffix keeps it apart from macros and functions named like the model."""
    return f"{name}_model_data"


def symbol_prefix(name: str) -> str:
    """``name``, which ``identifier`` made, as what a C model's symbols begin with; ConfigError for the kernels' own."""
    if name == "kd" or name.startswith("kd_"):
        raise ConfigError(
            f"{name!r} begins like the kernels' own symbols",
            where="the project's name",
            todo="choose another: --name, or project.name",
        )
    return name
