"""Values to C++ source text: strings, comments, floats, arrays. All of it valid C++ that reads back equal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.tflite.classes import class_count, index_op
from kd_embedded.tflite.graph import Graph, Tensor

# Printable ASCII but for what ends or bends a literal; `?` because `??/` and its kin are trigraphs in C++11.
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\?')
_ROW = 112  # characters of an array's row, before the template's indent


def string(text: str) -> str:
    """A C string literal of ``text`` in UTF-8. Octal escapes have three digits, so none runs into what follows it."""
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode("utf-8")) + '"'


def comment(text: str) -> str:
    """``text`` on one line of printable ASCII that can neither end a comment, nor continue it, nor hold a trigraph."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line.encode("ascii", "replace").decode("ascii").replace("\\", "/")
    for mark in ("*/", "/*", "??"):
        while mark in line:
            line = line.replace(mark, f"{mark[0]} {mark[1]}")
    return line


def real(value: float) -> str:
    """The shortest float literal that reads back as the same float32, which must be finite."""
    single = np.float32(value)
    if not np.isfinite(single):
        raise ValueError(f"no C literal for {value}")
    return f"{single!s}f"


def shape(tensor: Tensor) -> str:
    """``1x8x8x12``."""
    return "x".join(map(str, tensor.shape)) or "1"


def edge(graph: Graph, tensor: Tensor) -> str:
    """What the values of ``tensor``, the input or the output of ``graph``, mean, for a comment."""
    if tensor.index in graph.outputs and index_op(graph):
        return f"int32 {shape(tensor)}, classes 0 to {class_count(graph) - 1}"
    assert tensor.quant is not None  # checked_graph has seen to it
    formula = f"real = {real(tensor.quant.scale[0])[:-1]} * (q - {tensor.quant.zero_point[0]})".replace("- -", "+ ")
    return f"int8 {shape(tensor)}, {formula}"


def bytes_rows(data: bytes) -> list[str]:
    """Rows of an ``unsigned char`` array's values, in hexadecimal, comma at the end of each."""
    return [", ".join(f"0x{byte:02x}" for byte in data[i : i + 18]) + "," for i in range(0, len(data), 18)]


def integer(value: int) -> str:
    """An integer constant of at most 32 bits; the lowest int32 has no literal of its own."""
    if value == -(1 << 31):
        return "(-2147483647 - 1)"
    return f"{value}u" if value > (1 << 31) - 1 else str(value)


def integer_rows(values: NDArray[Any]) -> list[str]:
    """Rows of an integer array's values, comma at the end of each; flattened in C order. Words (uint32) are in hex."""
    if values.dtype == np.uint32:
        return _wrap(f"0x{int(value):08x}u" for value in values.reshape(-1))
    return _wrap(integer(int(value)) for value in values.reshape(-1))


def _wrap(words: Iterable[str]) -> list[str]:
    rows: list[str] = []
    for word in words:
        if rows and len(rows[-1]) + len(word) + 2 <= _ROW:
            rows[-1] += f" {word},"
        else:
            rows.append(f"{word},")
    return rows
