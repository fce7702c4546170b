"""What all ops that only move values share: one description by views, of which the reference and the C calls are made.

An op says which part of which input goes to which part of which output, as a pair of equally shaped parts. They are cut
from arrays that hold their own flat positions, so they tell both what moves where (the reference) and in which steps
(the kernel ``copy``). Values are moved as they are: TFLite's kernels do not requantize here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.ops.spec import OpSpec, Values, elements, input_tensor, output_tensor, refuse
from kd_embedded.program import Alias, Array, Call, Overlap, Step, Target
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor

Positions = NDArray[Any]  # int64, the flat position of each element of a tensor, or a view of that
_LOOPS = 5  # of the kernel, around its contiguous run


@dataclass(frozen=True, eq=False)
class Piece:
    """``outputs[output]``'s part ``to`` takes the values of ``inputs[input]``'s part ``of``; equal shapes."""

    input: int  # position among the op's inputs
    of: Positions
    to: Positions
    output: int = 0


Pieces = Callable[[Graph, Op], list[Piece]]


def positions(tensor: Tensor) -> Positions:
    """The flat position of each element, in the tensor's shape."""
    return np.arange(elements(tensor), dtype=np.int64).reshape(tensor.shape)


def movement(
    name: str,
    pieces: Pieces,
    *,
    check: Callable[[Graph, Op], None] | None = None,
    background: Callable[[Graph, Op], int] | None = None,
) -> OpSpec:
    """The OpSpec of an op that moves values. ``pieces`` raises (``refuse``) what the op does not do.

    ``background`` gives the value of the outputs' elements that no piece writes; ``check`` refuses more.
    """

    def accepts(graph: Graph, op: Op) -> None:
        if check is not None:
            check(graph, op)
        found = pieces(graph, op)
        for piece in found:
            _fits(graph, op, piece)
        written = sum(piece.to.size for piece in found)
        if background is None and written != sum(elements(graph.tensors[i]) for i in op.outputs):
            raise refuse(graph, op, "makes fewer values than its outputs hold")

    def reference(graph: Graph, op: Op, values: Values) -> list[NDArray[Any]]:
        fill = 0 if background is None else background(graph, op)
        return move(graph, op, pieces(graph, op), values, fill)

    def lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
        found = pieces(graph, op)
        if len(found) == 1 and background is None and _is_identity(graph, op, found[0]):
            return (Alias(op.index, op.inputs[found[0].input], op.outputs[0]),)
        first: tuple[Step, ...] = () if background is None else (_fill(graph, op, background(graph, op)),)
        return first + tuple(call for piece in found for call in copies(graph, op, piece, alone=len(found) == 1))

    return OpSpec(name, accepts=accepts, reference=reference, lower=lower)


def alias(name: str, shape: Callable[[Graph, Op], tuple[int, ...]]) -> OpSpec:
    """The OpSpec of an op that keeps its first input's bytes under another shape, which ``shape`` computes."""

    def pieces(graph: Graph, op: Op) -> list[Piece]:
        data, output = input_tensor(graph, op, 0), output_tensor(graph, op)
        require_shape(graph, op, output, shape(graph, op))
        if elements(data) != elements(output):
            raise refuse(graph, op, f"makes {list(output.shape)} of {list(data.shape)}, which holds another number")
        return [Piece(0, positions(data).reshape(-1), positions(output).reshape(-1))]

    return movement(name, pieces)


def move(graph: Graph, op: Op, pieces: Sequence[Piece], values: Values, fill: int) -> list[NDArray[Any]]:
    """The outputs [N, *shape] of the ``pieces``, of the type that the outputs have; ``fill`` elsewhere."""
    samples = max(len(value) for value in values if value is not None)
    outputs = []
    for index in op.outputs:
        tensor = graph.tensors[index]
        outputs.append(np.full((samples, elements(tensor)), fill, tensor.dtype))
    for piece in pieces:
        value = values[piece.input]
        assert value is not None  # _fits
        taken = value.reshape(len(value), -1)[:, piece.of.reshape(-1)]
        outputs[piece.output][:, piece.to.reshape(-1)] = taken
    shapes = (graph.tensors[index].shape for index in op.outputs)
    return [output.reshape(samples, *shape) for output, shape in zip(outputs, shapes, strict=True)]


def constant(graph: Graph, op: Op, position: int) -> NDArray[Any]:
    """The value of a constant operand as int64, such as an axis or a shape; refused where it is computed."""
    tensor = input_tensor(graph, op, position)
    if tensor.data is None or not np.issubdtype(tensor.data.dtype, np.integer):
        raise refuse(graph, op, f"takes its operand {tensor.name} from the run, not from the file")
    return tensor.data.astype(np.int64)


def vector(graph: Graph, op: Op, position: int, length: int) -> list[int]:
    """A constant operand of ``length`` integers."""
    values = constant(graph, op, position).reshape(-1)
    if len(values) != length:
        name = input_tensor(graph, op, position).name
        raise refuse(graph, op, f"has {len(values)} values in {name}, where {length} are needed")
    return [int(value) for value in values]


def axis_of(graph: Graph, op: Op, axis: int, rank: int) -> int:
    """``axis`` counted from the front; negative ones count from the back, as in TFLite."""
    if not -rank <= axis < rank:
        raise refuse(graph, op, f"has axis {axis} of a tensor with {rank} axes")
    return axis % rank


def require_shape(graph: Graph, op: Op, tensor: Tensor, shape: Sequence[int]) -> None:
    """Refuses an op that makes another shape than the file says of its output: TFLite would resize it."""
    if tensor.shape != tuple(shape):
        raise refuse(graph, op, f"makes a tensor of shape {list(shape)}, and {tensor.name} has {list(tensor.shape)}")


def require_quant(graph: Graph, op: Op, tensor: Tensor, output: Tensor) -> None:
    """Refuses an op whose operand has another scale or zero point than its output, where TFLite refuses it."""
    if _pair(tensor.quant) != _pair(output.quant):
        raise refuse(graph, op, f"would have to requantize {tensor.name}, and TFLite's int8 kernel does not")


def require_rank(graph: Graph, op: Op, tensor: Tensor, *ranks: int) -> None:
    """Refuses a tensor whose number of axes TFLite's kernel does not take."""
    if len(tensor.shape) not in ranks:
        raise refuse(graph, op, f"has {tensor.name} with {len(tensor.shape)} axes, and takes {ranks[0]} to {ranks[-1]}")


def copies(graph: Graph, op: Op, piece: Piece, *, alone: bool) -> tuple[Call, ...]:
    """Calls of the kernel ``copy`` for one piece; ``alone``: no other call writes the output."""
    counts, reads, writes = _loops(piece)
    run = counts.pop() if counts and reads[-1] == writes[-1] == 1 else 1
    reads, writes = reads[: len(counts)], writes[: len(counts)]
    outer = max(0, len(counts) - _LOOPS)
    starts = np.array(np.unravel_index(np.arange(math.prod(counts[:outer])), counts[:outer] or (1,)))
    starts = starts[:outer] if outer else np.zeros((0, 1), np.int64)
    tensor = graph.tensors[op.inputs[piece.input]]
    calls = []
    for start in starts.T:
        read = int(piece.of.reshape(-1)[0] + start @ np.array(reads[:outer], np.int64))
        write = int(piece.to.reshape(-1)[0] + start @ np.array(writes[:outer], np.int64))
        fields = _fields(run, read, write, counts[outer:], reads[outer:], writes[outer:])
        overlaps = (_overlap(piece, run),) if alone and len(starts.T) == 1 and tensor.data is None else ()
        source = op.inputs[piece.input] if tensor.data is None else Array("constant", tensor.data.reshape(-1))
        calls.append(Call("copy", op.index, (source,), (op.outputs[piece.output],), fields, overlaps=overlaps))
    return tuple(calls)


def _fields(
    run: int, read: int, write: int, counts: list[int], reads: list[int], writes: list[int]
) -> dict[str, int | Array]:
    """The kernel's arguments: the loops it does not need stand first and run once."""
    unused = _LOOPS - len(counts)
    return {
        "run": run,
        "input_start": read,
        "output_start": write,
        **{f"count{i}": count for i, count in enumerate([1] * unused + counts)},
        **{f"input_step{i}": step for i, step in enumerate([0] * unused + reads)},
        **{f"output_step{i}": step for i, step in enumerate([0] * unused + writes)},
    }


def _loops(piece: Piece) -> tuple[list[int], list[int], list[int]]:
    """Counts, input steps and output steps, in elements, of as few nested loops as do; the outermost first.

    Loops that run once vanish; two that are contiguous in both tensors become one.
    """
    counts: list[int] = []
    reads: list[int] = []
    writes: list[int] = []
    for count, read, write in zip(piece.of.shape, _steps(piece.of), _steps(piece.to), strict=True):
        if count == 1:
            continue
        if counts and reads[-1] == count * read and writes[-1] == count * write:
            counts[-1] *= count
            reads[-1], writes[-1] = read, write
        else:
            counts.append(count)
            reads.append(read)
            writes.append(write)
    return counts, reads, writes


def _steps(part: Positions) -> list[int]:
    """How far apart, in its tensor, neighbours along each axis of a part are."""
    first = part.reshape(-1)[0]
    return [int(part.take(1, axis).reshape(-1)[0] - first) if part.shape[axis] > 1 else 0 for axis in range(part.ndim)]


def _overlap(piece: Piece, run: int) -> Overlap:
    """How far ahead of the output the input must lie, so that ascending runs never write what a later one reads."""
    reads, writes = piece.of.reshape(-1)[::run], piece.to.reshape(-1)[::run]
    # Relative to input and output: after run k is written up to its end, the lowest address still to be read.
    later = np.minimum.accumulate(reads[::-1])[::-1][1:]
    ends = np.maximum.accumulate(writes + run)[:-1]
    gap = int(max((ends - later).max(initial=-(1 << 31)), 0))
    return Overlap(0, "forward", gap)


def _fill(graph: Graph, op: Op, value: int) -> Call:
    return Call("fill", op.index, (), (op.outputs[0],), {"value": value, "count": elements(output_tensor(graph, op))})


def _is_identity(graph: Graph, op: Op, piece: Piece) -> bool:
    data, output = graph.tensors[op.inputs[piece.input]], graph.tensors[op.outputs[0]]
    whole = piece.of.size == elements(data) == elements(output)
    return whole and data.data is None and bool((piece.of.reshape(-1) == piece.to.reshape(-1)).all())


def _fits(graph: Graph, op: Op, piece: Piece) -> None:
    data, output = input_tensor(graph, op, piece.input), output_tensor(graph, op, piece.output)
    if data.dtype != output.dtype or data.dtype != "int8":
        raise refuse(graph, op, f"moves {data.dtype} to {output.dtype} (tensor {output.name}), and int8 is supported")
    if piece.of.shape != piece.to.shape or not piece.to.size:
        what = f"makes a tensor of shape {list(piece.of.shape)} where {output.name} has {list(piece.to.shape)}"
        raise refuse(graph, op, what)


def _pair(quant: QuantParams | None) -> tuple[float, int] | None:
    return None if quant is None else (quant.scale[0], quant.zero_point[0])
