"""Ops that move values: what the kernel's arguments mean, in place too; what is refused; what needs no code.

That the references are TFLite's, and the C the references', tests/test_fuzz.py shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fuzz.draw import Draw
from fuzz.moves import CASES
from tflite_builder import O, T, build

from kd_embedded import ops
from kd_embedded.errors import ModelError
from kd_embedded.passes.fold_shapes import fold_shapes
from kd_embedded.program import Alias, Array, Call, Target
from kd_embedded.tflite.graph import Graph, Op
from kd_embedded.tflite.read import parse_model

_LOOPS = range(5)


def parse(tensors: list[T], op: O, **more: Any) -> Graph:
    return parse_model(build(tensors, [op], **more), "m")


def constant(values: Any, dtype: str = "int32") -> T:
    return T(list(np.shape(values)), dtype, None, data=np.asarray(values))


def copy(call: Call, memory: np.ndarray, source: int, target: int) -> None:
    """What firmware_templates/aot/kernels/copy.c does, in ``memory`` with input and output at these places."""
    args = {name: value for name, value in call.args.items() if isinstance(value, int)}
    for index in np.ndindex(*(args[f"count{i}"] for i in _LOOPS)):
        read = source + args["input_start"] + sum(args[f"input_step{i}"] * index[i] for i in _LOOPS)
        write = target + args["output_start"] + sum(args[f"output_step{i}"] * index[i] for i in _LOOPS)
        memory[write : write + args["run"]] = memory[read : read + args["run"]].copy()


def moved_by(graph: Graph, op: Op, call: Call, gap: int | None) -> np.ndarray:
    """The output of a call alone; ``gap``: with the input so far behind the output's address, None: apart."""
    data, output = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    size, made = int(np.prod(data.shape)), int(np.prod(output.shape))
    target = 0 if gap is not None else size + made
    source = gap if gap is not None else 0
    memory = np.full(2 * (size + made) + (gap or 0), -1, np.int64)
    memory[source : source + size] = np.arange(size)
    copy(call, memory, source, target)
    return memory[target : target + made]


@pytest.mark.parametrize("name", ["SLICE", "STRIDED_SLICE", "TRANSPOSE", "TILE", "BROADCAST_TO", "REVERSE_V2"])
def test_calls_move_as_the_reference_does_and_in_place_behind_their_gap(name: str) -> None:
    shared = 0
    for seed in range(60):
        graph = parse_model(CASES[name](Draw.seeded(5, seed)).model, "m")
        op = [op for op in graph.ops if op.name == name][-1]
        if graph.tensors[op.inputs[0]].data is not None:
            continue
        step, *others = ops.spec(name).lower(graph, op, Target())
        if isinstance(step, Alias) or others:
            continue
        reference = ops.spec(name).reference
        assert reference is not None
        shape = graph.tensors[op.inputs[0]].shape
        constants = [data[np.newaxis] for i in op.inputs[1:] if (data := graph.tensors[i].data) is not None]
        x = np.arange(np.prod(shape)).reshape(1, *shape) % 128
        (wanted,) = reference(graph, op, [x.astype(np.int8), *constants])
        assert ((moved_by(graph, op, step, None) % 128) == wanted.reshape(-1)).all()
        for overlap in step.overlaps:
            assert overlap.kind == "forward"
            for gap in (overlap.gap, overlap.gap + 1, overlap.gap + 9):
                assert ((moved_by(graph, op, step, gap) % 128) == wanted.reshape(-1)).all()
            shared += overlap.gap < np.prod(shape)
    assert shared > 5 or name not in ("SLICE", "STRIDED_SLICE")  # there the gap is worth something


def lower(tensors: list[T], op: O, **more: Any) -> tuple[Any, ...]:
    graph = parse(tensors, op, **more)
    spec = ops.spec(op.name)
    assert spec.accepts is not None and spec.lower is not None
    spec.accepts(graph, graph.ops[0])
    return spec.lower(graph, graph.ops[0], Target())


def test_what_moves_nothing_is_no_code() -> None:
    image = [T([1, 4, 1, 3]), constant([0, 2, 1, 3]), T([1, 1, 4, 3])]
    assert lower(image, O("TRANSPOSE", [0, 1], [2])) == (Alias(0, 0, 2),)
    whole = [T([1, 4]), constant([0, 0]), constant([1, 4]), T([1, 4])]
    assert lower(whole, O("SLICE", [0, 1, 2], [3])) == (Alias(0, 0, 3),)
    assert lower([T([1, 4]), constant([[0, 0], [0, 0]]), T([1, 4])], O("PAD", [0, 1], [2])) != (Alias(0, 0, 2),)


def test_rows_move_as_runs() -> None:
    """A slice of whole rows is one run; a join along the channels is a run for each pixel."""
    rows = [T([1, 4, 4, 3]), constant([0, 1, 0, 0]), constant([1, 2, 4, 3]), T([1, 2, 4, 3])]
    (call,) = lower(rows, O("SLICE", [0, 1, 2], [3]))
    assert (call.args["run"], call.args["count4"], call.args["input_start"]) == (24, 1, 12)
    assert call.overlaps[0].gap == 0
    joined = [T([1, 2, 2, 3]), T([1, 2, 2, 5], data=np.ones([1, 2, 2, 5])), T([1, 2, 2, 8])]
    options = {"Axis": 3}
    first, second = lower(joined, O("CONCATENATION", [0, 1], [2], "ConcatenationOptions", options))
    assert [(c.args["run"], c.args["count4"], c.args["output_step4"]) for c in (first, second)] == [
        (3, 4, 8),
        (5, 4, 8),
    ]
    assert isinstance(second.inputs[0], Array) and second.args["output_start"] == 3


def test_more_loops_than_the_kernel_has_become_calls() -> None:
    shape = [2, 3, 2, 3, 2, 3]
    tensors = [T(shape), constant([5, 4, 3, 2, 1, 0]), T(shape[::-1])]
    calls = lower(tensors, O("TRANSPOSE", [0, 1], [2]))
    assert len(calls) == 3 and [call.args["input_start"] for call in calls] == [0, 1, 2]
    assert not any(call.overlaps for call in calls)


# Tensors, op, and what the message says.
_TWO = [T([1, 4]), T([1, 4])]
REFUSED = [
    (_TWO, O("RESHAPE", [0], [1], "ReshapeOptions", {"NewShape": [2, 2]}), r"makes a tensor of shape \[2, 2\], and"),
    ([T([1, 4]), constant([1, 5]), T([1, 5])], O("RESHAPE", [0, 1], [2]), r"makes \[1, 5\] of \[1, 4\]"),
    (_TWO, O("SQUEEZE", [0], [1], "SqueezeOptions", {"SqueezeDims": [1]}), "not all of size 1"),
    ([T([1, 4]), constant([9]), T([1, 4, 1])], O("EXPAND_DIMS", [0, 1], [2]), "axis 9 of a tensor with 3 axes"),
    ([T([1, 4]), constant([[0, 0], [-1, 0]]), T([1, 3])], O("PAD", [0, 1], [2]), "one of them negative"),
    ([T([1, 4]), constant([[0, 0]]), T([1, 4])], O("PAD", [0, 1], [2]), "2 values in .*, where 4 are needed"),
    ([T([1, 4]), T([2, 2], "int32", None), T([1, 4])], O("PAD", [0, 1], [2]), "from the run, not from the file"),
    (
        [T([1, 4]), constant([[0, 0], [1, 0]]), T([1], scale=0.3, data=np.ones(1)), T([1, 5])],
        O("PADV2", [0, 1, 2], [3]),
        "would have to requantize",
    ),
    ([T([1, 4]), constant([[0, 0], [4, 0]]), T([1, 8])], O("MIRROR_PAD", [0, 1], [2], "MirrorPadOptions"), "more than"),
    (
        [T([1, 4]), T([1, 8], scale=0.7)],
        O("CONCATENATION", [0, 0], [1], "ConcatenationOptions", {"Axis": 1}),
        "would have to requantize",
    ),
    (
        [T([1, 4]), T([1, 8])],
        O("CONCATENATION", [0, 0], [1], "ConcatenationOptions", {"Axis": 1, "FusedActivationFunction": 1}),
        "has a fused RELU",
    ),
    ([T([1, 4]), constant([0, 2]), constant([1, 3]), T([1, 3])], O("SLICE", [0, 1, 2], [3]), "takes 3 values from 2"),
    (
        [T([1, 4]), constant([0, 0]), constant([1, 4]), constant([1, 0]), T([1, 4])],
        O("STRIDED_SLICE", [0, 1, 2, 3], [4], "StridedSliceOptions"),
        "stride 0 along axis 1",
    ),
    (
        [T([1, 4]), constant([0, 0]), constant([1, 4]), constant([1, 1]), T([1, 4])],
        O("STRIDED_SLICE", [0, 1, 2, 3], [4], "StridedSliceOptions", {"EllipsisMask": 1}),
        "has ellipsis_mask 1",
    ),
    ([T([1, 4]), constant([0, 0]), T([1, 4])], O("TRANSPOSE", [0, 1], [2]), r"order \[0, 0\], no permutation"),
    ([T([1, 4]), constant([1, 0]), T([1, 4])], O("TILE", [0, 1], [2]), r"repeats \[1, 0\] times"),
    ([T([1, 4]), constant([0, 1]), T([1, 4])], O("REVERSE_V2", [0, 1], [2]), "several axes"),
    (
        [T([1, 4]), constant([4]), T([1, 1])],
        O("GATHER", [0, 1], [2], "GatherOptions", {"Axis": 1}),
        r"picks \[4\] of 4",
    ),
    (
        [T([1, 3, 3, 1]), T([1, 1, 1, 4])],
        O("SPACE_TO_DEPTH", [0], [1], "SpaceToDepthOptions", {"BlockSize": 2}),
        "blocks of 2 in an image of 3 x 3",
    ),
    (
        [T([1, 3, 1, 1]), constant([2000, 1]), T([1, 2000, 1, 1])],
        O("RESIZE_BILINEAR", [0, 1], [2], "ResizeBilinearOptions"),
        "leaves the image",
    ),
    ([T([1, 4], "int16"), T([1, 4], "int16")], O("SQUEEZE", [0], [1], "SqueezeOptions"), "moves int16|makes a tensor"),
]


@pytest.mark.parametrize(
    ("tensors", "op", "words"), REFUSED, ids=[f"{op.name}-{i}" for i, (_, op, _) in enumerate(REFUSED)]
)
def test_what_is_refused(tensors: list[T], op: O, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        lower(tensors, op)
    assert f"op 0 ({op.name})" in str(caught.value) and "--engine tflm" in str(caught.value)


def test_arithmetic_on_shapes_vanishes() -> None:
    """What Keras writes before a RESHAPE when the batch is open: SHAPE, STRIDED_SLICE, PACK."""
    tensors = [
        T([1, 4, 6]),
        T([3], "int32", None),
        *(constant([value]) for value in (0, 1, 1)),
        T([], "int32", None),
        constant(-1),
        T([2], "int32", None),
        T([1, 24]),
    ]
    options = {"ShrinkAxisMask": 1}
    chain = [
        O("SHAPE", [0], [1], "ShapeOptions"),
        O("STRIDED_SLICE", [1, 2, 3, 4], [5], "StridedSliceOptions", options),
        O("PACK", [5, 6], [7], "PackOptions", {"ValuesCount": 2}),
        O("RESHAPE", [0, 7], [8], "ReshapeOptions"),
    ]
    graph = fold_shapes(parse_model(build(tensors, chain), "m"))
    assert [(op.index, op.name) for op in graph.ops] == [(3, "RESHAPE")]
    data = graph.tensors[7].data
    assert data is not None and data.tolist() == [1, -1] and data.dtype == np.int32 and not data.flags.writeable


@pytest.mark.parametrize(
    ("name", "more", "values", "wanted"),
    [
        ("MUL", "MulOptions", ([2, 3], [4, 5]), [8, 15]),
        ("ADD", "AddOptions", ([2, 3], [4, 5]), [6, 8]),
        ("REDUCE_PROD", "ReducerOptions", ([2, 3, 7], [0]), 42),
        ("CONCATENATION", "ConcatenationOptions", ([2], [3, 4]), [2, 3, 4]),
        ("GATHER", "GatherOptions", ([2, 3, 4], [2, 0]), [4, 2]),
    ],
)
def test_arithmetic_of_constants_vanishes(name: str, more: str, values: Any, wanted: Any) -> None:
    operands = [constant(each) for each in values]
    tensors = [T([1, 4]), *operands, T(list(np.shape(wanted)), "int32", None), T([1, 4])]
    graph = parse_model(build(tensors, [O(name, [1, 2], [3], more), O("RESHAPE", [0, 3], [4])]), "m")
    data = fold_shapes(graph).tensors[3].data
    assert data is not None and data.tolist() == wanted


def test_what_the_run_decides_stays() -> None:
    tensors = [T([1, 4]), T([1], "int32", None), constant([1]), T([1], "int32", None), T([1, 4])]
    model = build(tensors, [O("ARG_MAX", [0, 2], [1]), O("ADD", [1, 2], [3], "AddOptions"), O("RESHAPE", [0, 3], [4])])
    assert len(fold_shapes(parse_model(model, "m")).ops) == 3
