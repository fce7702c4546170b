"""Golden vectors: inputs and what the reference interpreter computes from them. The firmware compares every byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import interpreters
from kd_embedded.compare import difference, differing_first, first_difference
from kd_embedded.errors import DataError, ModelError
from kd_embedded.tflite.check import reference_departures
from kd_embedded.tflite.classes import class_count
from kd_embedded.tflite.graph import Graph, QuantParams
from kd_embedded.tflite.read import parse_model

FEWEST = 8
MOST = 32  # of a file of the user's; each vector costs its size in flash
RANDOM = "seeded random inputs"

_WHERE = "the golden vectors"

# What the README and golden_vectors.h tell of the outputs.
_BUILTIN_REF = "the BUILTIN_REF kernels of TensorFlow Lite"
_COMPARED = f"{_BUILTIN_REF}; the TensorFlow Lite Micro interpreter gave the same bytes for these inputs"
_NOT_COMPARED = f"{_BUILTIN_REF}, NOT compared with TensorFlow Lite Micro, whose interpreter was not at hand"
_TFLM = "the TensorFlow Lite Micro interpreter itself"
_OWN = "kd-embedded's integer reference of each op"
_ALONE = f"{_OWN}, NOT confirmed: no interpreter of others here runs this model"
_NAMES = {"builtin_ref": _BUILTIN_REF, "tflm": _TFLM, "reference": _OWN}
_SHORT = {"builtin_ref": "BUILTIN_REF", "tflm": "TFLM", "reference": _OWN}
_NO_ORACLE = "the BUILTIN_REF kernels of LiteRT, NO exact reference: the device can differ from them by a few units"


@dataclass(frozen=True, eq=False)
class Golden:
    """``x_q`` int8 [K, *input_shape[1:]], ``y_q`` int8 [K, *output_shape[1:]], ``labels`` int [K] or None.

    ``y_q`` is int32 where the model gives indices (tflite/classes.py).
    ``labels`` are the true classes, ``source`` tells where the inputs come from ("test split", "seeded random inputs",
    a file's name), ``reference`` what computed the outputs and what they were compared with.
    """

    x_q: NDArray[np.int8]
    y_q: NDArray[Any]
    labels: NDArray[np.int64] | None
    source: str
    reference: str

    def __len__(self) -> int:
        return len(self.x_q)


def quantize(x: NDArray[Any], quant: QuantParams) -> NDArray[np.int8]:
    """Real values to int8 of the same shape, as ``quantization.h`` does: float32, halves away from zero, clamped."""
    steps = np.asarray(x, np.float32) / np.float32(quant.scale[0])
    steps = np.clip(steps, np.float32(-512), np.float32(512)).astype(np.float64)
    rounded = np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    q: NDArray[np.int8] = np.clip(rounded + quant.zero_point[0], -128, 127).astype(np.int8)
    return q


def dequantize(q: NDArray[Any], quant: QuantParams) -> NDArray[np.float64]:
    """int8 values to the real ones they stand for, of the same shape."""
    steps: NDArray[np.float64] = q.astype(np.float64) - quant.zero_point[0]
    return steps * quant.scale[0]


def from_inputs(
    model: bytes,
    x_q: NDArray[np.int8],
    *,
    source: str,
    labels: NDArray[np.int64] | None = None,
    on_tflm: bool = True,
) -> Golden:
    """The golden vectors of ``x_q`` int8 [K, *input_shape[1:]]: the outputs are the reference interpreter's.

    Where the firmware runs ``on_tflm``, BUILTIN_REF is the reference and TFLM's interpreter is here too, both run.
    Where BUILTIN_REF is known to be wrong, TFLM and our own reference do, whatever the firmware runs on.
    Raises ModelError, naming the first op that differs, where they do not give the same bytes; ModelRefusedError where
    no reference can run the model. Where it does not run on TFLM, our own reference steps in for one that refuses it.
    """
    try:
        oracle = interpreters.run_oracle(model, x_q)
    except interpreters.ModelRefusedError:
        if not on_tflm:  # the aot engine has ops that both others lack
            outputs, reference = interpreters.run("reference", model, x_q), _ALONE
        elif interpreters.oracle() != "reference" or interpreters.available()["builtin_ref"]:
            raise
        else:
            outputs, reference = interpreters.run("builtin_ref", model, x_q), _NO_ORACLE
    else:
        outputs, reference = oracle.outputs, _compared(model, x_q, oracle, on_tflm)
    return Golden(x_q, outputs, labels, source, reference)


def _compared(model: bytes, x_q: NDArray[np.int8], oracle: interpreters.Oracle, on_tflm: bool) -> str:
    """What to tell of the oracle's outputs; ModelError where an interpreter that must give the same gives others."""
    departures = reference_departures(parse_model(model, _WHERE))
    if departures and oracle.name == "tflm":
        wrong = f"which BUILTIN_REF does not: op {departures[0].op_index} ({departures[0].op_name}) is wrong there"
        try:
            _require_equal(model, x_q, oracle, "reference", on_tflm)
        except interpreters.ModelRefusedError as error:
            return f"{_TFLM}, NOT confirmed: {error.what}"
        return f"{_TFLM}; {_OWN} gave the same bytes for these inputs, {wrong}"
    if oracle.name != "builtin_ref" or not on_tflm:
        return _NAMES[oracle.name]
    if interpreters.available()["tflm"]:
        return _NOT_COMPARED
    _require_equal(model, x_q, oracle, "tflm", on_tflm)
    return _COMPARED


def _require_equal(model: bytes, x_q: NDArray[np.int8], oracle: interpreters.Oracle, other: str, on_tflm: bool) -> None:
    """Raises a ModelError where the interpreter ``other`` does not give the oracle's outputs."""
    outputs = interpreters.run_int8(other, model, x_q)
    found = difference(oracle.outputs, outputs)
    if not found.bytes_different:
        return
    telling = differing_first(x_q, oracle.outputs, outputs)
    first = first_difference(model, parse_model(model, _WHERE), telling, oracle.name, other)
    op = f"op {first.op_index} ({first.op_name}, tensor {first.tensor})" if first else "no single op"
    device = "TFLM" if on_tflm else "what the reference computes"
    raise ModelError(
        f"{_SHORT[oracle.name]} and {_SHORT[other]} differ in {found.bytes_different} of {found.bytes_compared} output "
        f"bytes, by up to {found.max_difference}; {op} is the first to differ",
        where=_WHERE,
        todo=f"replace that layer: {device} is what runs on the board",
    )


def from_random(model: bytes, graph: Graph, k: int = FEWEST, seed: int = 0, *, on_tflm: bool = True) -> Golden:
    """``k`` vectors of ``random_inputs``."""
    return from_inputs(model, random_inputs(graph.input.shape[1:], k, seed), source=RANDOM, on_tflm=on_tflm)


def random_inputs(shape: Sequence[int], count: int, seed: int) -> NDArray[np.int8]:
    """int8 [count, *shape] drawn evenly from the whole range: nothing a sensor gives, and all a comparison needs."""
    return np.random.default_rng(seed).integers(-128, 128, (count, *shape), dtype=np.int8)


def from_npz(path: Path, model: bytes, graph: Graph, *, on_tflm: bool = True) -> Golden:
    """Vectors of a user's file: ``x``, int8 as it is or float quantized with the model's scale; ``y``, optional.

    ``x`` is [K, *input_shape[1:]] with at least 8 rows, of which the first 32 are used; ``y`` is int [K], true classes.
    Raises DataError where an array is missing, has another shape, or holds NaN or a class the model does not have.
    """
    x_q, y = load_samples(path, graph, fewest=FEWEST)
    source = path.name if len(x_q) <= MOST else f"the first {MOST} of {len(x_q)} in {path.name}"
    labels = None if y is None else y[:MOST]
    return from_inputs(model, x_q[:MOST], source=source, labels=labels, on_tflm=on_tflm)


def load_samples(path: Path, graph: Graph, *, fewest: int = 1) -> tuple[NDArray[np.int8], NDArray[np.int64] | None]:
    """All of a user's file: inputs int8 [K, *input_shape[1:]], quantized where it holds floats, and classes int [K].

    Raises DataError as ``from_npz`` does, and where there are fewer than ``fewest`` rows.
    """
    arrays = load_arrays(path, "x", "y")
    x, y = _inputs(path, arrays, graph, fewest), _labels(path, arrays, graph)
    if graph.input.quant is None:
        raise ModelError("the input has no quantization parameters", where=graph.name, todo="convert to full int8")
    return x if x.dtype == np.int8 else quantize(x, graph.input.quant), y


def load_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Those of the arrays ``names`` that the .npz at ``path`` holds. Raises DataError where it is none."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("one bare array")
        with archive:
            return {name: archive[name] for name in archive.files if name in names}
    except FileNotFoundError:
        raise DataError("no such file", where=str(path)) from None
    except Exception as error:  # NumPy raises whatever zipfile, zlib and its own parser raise
        raise DataError(f"cannot be read as .npz: {error}", where=str(path), todo="write it with numpy.savez") from None


def _inputs(path: Path, arrays: dict[str, NDArray[Any]], graph: Graph, fewest: int) -> NDArray[Any]:
    if "x" not in arrays:
        raise DataError("has no array x", where=str(path), todo="numpy.savez(FILE, x=inputs, y=classes)")
    x, shape = arrays["x"], graph.input.shape[1:]
    if x.dtype != np.int8 and not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"x is {x.dtype}", where=str(path), todo="give the model's int8, or float32 real values")
    if x.shape[1:] != shape:
        wanted = ", ".join(map(str, shape))
        raise DataError(f"x has the shape {list(x.shape)}", where=str(path), todo=f"the model takes [K, {wanted}]")
    if len(x) < fewest:
        raise DataError(f"x holds {len(x)} vectors", where=str(path), todo=f"at least {fewest} are needed")
    if not np.isfinite(x.astype(np.float32)).all():
        raise DataError("x holds NaN or infinity", where=str(path), todo="leave such inputs out")
    return x


def _labels(path: Path, arrays: dict[str, NDArray[Any]], graph: Graph) -> NDArray[np.int64] | None:
    if "y" not in arrays:
        return None
    y, classes = arrays["y"], class_count(graph)
    if not np.issubdtype(y.dtype, np.integer) or y.shape != arrays["x"].shape[:1]:
        todo = "give one integer class for each row of x"
        raise DataError(f"y is {y.dtype} of the shape {list(y.shape)}", where=str(path), todo=todo)
    if y.min() < 0 or y.max() >= classes:
        todo = f"the model has classes 0 to {classes - 1}"
        raise DataError(f"y goes from {y.min()} to {y.max()}", where=str(path), todo=todo)
    return y.astype(np.int64)
