"""Groups of ops folded into one table: only where nothing else reads what lies between, and to the byte the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kd_embedded import reference
from kd_embedded.aot import compile_model
from kd_embedded.passes.fold_pointwise import fold_pointwise
from kd_embedded.program import Call, Target
from kd_embedded.tflite.read import parse_model
from tests.tflite_builder import O, T, build

_INPUTS = np.arange(-128, 128, dtype=np.int8).reshape(16, 1, 4, 4)
_SHAPE = (1, 1, 4, 4)
_PROBABILITY = T(_SHAPE, "int8", 1 / 256, -128)


def _int8(scale: float, zero_point: int = 0) -> T:
    return T(_SHAPE, "int8", scale, zero_point)


def _folded(tensors: Sequence[T], ops: Sequence[O]) -> list[str]:
    """The names of the ops that are left; the folded graph computes what the model does."""
    graph = parse_model(build(tensors, ops), "model")
    folded = fold_pointwise(graph)
    assert np.array_equal(reference.run(folded, _INPUTS), reference.run(graph, _INPUTS))
    assert [op.outputs for op in folded.ops] == [
        op.outputs for op in graph.ops if op.index in {left.index for left in folded.ops}
    ]
    return [op.name for op in folded.ops]


def test_silu_is_one_table() -> None:
    tensors = [_int8(0.05, 3), _PROBABILITY, _int8(0.04, -100)]
    assert _folded(tensors, [O("LOGISTIC", [0], [1]), O("MUL", [0, 1], [2], "MulOptions")]) == ["LOOKUP"]


def test_constants_of_one_value_take_part() -> None:
    """A hard sigmoid, as the converter writes it."""
    tensors = [
        _int8(0.05, 3),
        T([1], "int8", 0.03, 0, data=np.array([100])),
        _int8(0.08, -20),
        _int8(0.0235, -128),
        T(_SHAPE, "int8", 0.002, -128, data=np.full(_SHAPE, -45)),
        _int8(0.004, -128),
    ]
    chain = [O("ADD", [0, 1], [2], "AddOptions"), O("RELU6", [2], [3]), O("MUL", [3, 4], [5], "MulOptions")]
    assert _folded(tensors, chain) == ["LOOKUP"]


def test_constants_of_several_values_do_not() -> None:
    tensors = [_int8(0.05, 3), T([4], "int8", 0.03, 0, data=np.array([1, 2, 3, 4])), _int8(0.08), _int8(0.07)]
    assert _folded(tensors, [O("ADD", [0, 1], [2], "AddOptions"), O("TANH", [2], [3])]) == ["ADD", "TANH"]


def test_what_another_op_reads_stays() -> None:
    """The pool reads what RELU makes, so the group begins behind it."""
    relu, chain = O("RELU", [0], [1]), [O("LOGISTIC", [1], [2]), O("MUL", [1, 2], [3], "MulOptions")]
    pool = {"StrideH": 1, "StrideW": 1, "FilterHeight": 3, "FilterWidth": 3, "Padding": 0}
    more = [O("MAX_POOL_2D", [1], [4], "Pool2DOptions", pool), O("ADD", [3, 4], [5], "AddOptions")]
    tensors = [_int8(0.05, 3), _int8(0.04), _PROBABILITY, _int8(0.03), _int8(0.04), _int8(0.06)]
    assert _folded(tensors, [relu, *chain, *more]) == ["RELU", "LOOKUP", "MAX_POOL_2D", "ADD"]


def test_what_the_model_gives_stays() -> None:
    """TANH of the output is computed and not used; the output itself must still be."""
    model = build([_int8(0.05), _int8(0.04), _int8(0.01)], [O("RELU", [0], [1]), O("TANH", [1], [2])], outputs=[1])
    assert [op.name for op in fold_pointwise(parse_model(model, "model")).ops] == ["RELU", "TANH"]


def test_a_program_has_one_call() -> None:
    tensors = [_int8(0.05, 3), _PROBABILITY, _int8(0.04, -100)]
    model = build(tensors, [O("LOGISTIC", [0], [1]), O("MUL", [0, 1], [2], "MulOptions")])
    program = compile_model(model, "model", Target())
    assert [step.kernel for step in program.steps if isinstance(step, Call)] == ["lookup"]
    assert program.arena_bytes == 16
