"""The compiler of the aot engine: a ``.tflite`` file to kernel calls, constants, and a plan of the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from kd_embedded import ops, streaming
from kd_embedded.ops.spec import refuse
from kd_embedded.passes.dead_channels import Saving, remove_dead_channels
from kd_embedded.passes.float_islands import fold_float_islands
from kd_embedded.passes.fold_pointwise import fold_pointwise
from kd_embedded.passes.fold_shapes import fold_shapes
from kd_embedded.passes.strip_edges import strip_edges
from kd_embedded.planner import Plan, plan
from kd_embedded.program import Array, Call, Step, Stream, Target
from kd_embedded.tflite.check import check_aot, check_int8_edges
from kd_embedded.tflite.graph import Graph, Op, Tensor
from kd_embedded.tflite.read import parse_model

_WORD = 4
_ABREAST = 4  # channels that the kernels take at once: person_detect with 7 of 8 is slower, by 7 % with Helium


@dataclass(frozen=True)
class Flash:
    """Bytes of constants: the model's own values, and what goes with them (tables, multipliers, arguments)."""

    weights: int
    constants: int


@dataclass(frozen=True, eq=False)
class Program:
    """A model compiled for ``target``.

    ``graph`` is what was compiled: the model's, less what the passes took away. ``steps`` are in the order of
    execution, ``plan`` says where each tensor and each call's scratch lies in the arena of ``arena_bytes``, whose start
    is aligned to 4. ``macs`` holds the multiply-accumulates of each op of the model by its index, ``savings`` how many
    of them went with dead channels.
    """

    graph: Graph
    target: Target
    steps: tuple[Step, ...]
    plan: Plan
    macs: Mapping[int, int]
    savings: tuple[Saving, ...]

    @property
    def arena_bytes(self) -> int:
        return self.plan.arena_bytes

    @property
    def input(self) -> Tensor:
        return self.graph.input

    @property
    def output(self) -> Tensor:
        return self.graph.output

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels that are called, sorted."""
        return tuple(sorted({call.kernel for call in self.calls}))

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls in order; those of a stream once for each place where they stand in the source."""
        return tuple(call for step in self.steps for call in _calls(step))

    @property
    def flash(self) -> Flash:
        """What the constants take; what holds the same values is one, and arguments count a word for each field."""
        arrays: dict[object, Array] = {}
        arguments: dict[object, int] = {}
        for call in self.calls:
            for array in (value for value in (*call.args.values(), *call.inputs) if isinstance(value, Array)):
                arrays.setdefault(_values(array), array)
            arguments[call.kernel, *map(_values, call.args.values())] = _WORD * len(call.args)
        sizes = {
            kind: sum(a.data.nbytes for a in arrays.values() if a.kind == kind) for kind in ("weights", "constants")
        }
        return Flash(sizes["weights"], sizes["constants"] + sum(arguments.values()))


def compile_model(data: bytes, where: str, target: Target) -> Program:
    """The program of the model ``data``, which ``where`` names in errors.

    Raises ModelError, naming op and tensor, where the engine cannot compute the model to the byte.
    """
    return compile_graph(replace(parse_model(data, where), name=where), target)


def compile_graph(graph: Graph, target: Target) -> Program:
    """The program of ``graph``; see ``compile_model``."""
    graph = accepted(graph)
    macs = {op.index: ops.spec(op.name).macs(graph, op) for op in graph.ops}
    pruned = remove_dead_channels(graph, 1 if target.optimize == "size" else _ABREAST)
    graph = fold_pointwise(pruned.graph)
    steps = _steps(graph, target)
    return Program(graph, target, steps, _plan(graph, steps), MappingProxyType(macs), pruned.savings)


def accepted(graph: Graph) -> Graph:
    """``graph`` without float edges and arithmetic on shapes; ModelError where the engine does not take it."""
    graph = fold_float_islands(strip_edges(fold_shapes(graph)).graph)
    for op in graph.ops:
        if ops.spec(op.name).lower is None:
            raise refuse(graph, op, "is not among the ops of the aot engine")
    check_aot(graph, graph.name)
    check_int8_edges(graph, graph.name)
    for op in graph.ops:
        accepts = ops.spec(op.name).accepts
        assert accepts is not None  # an op that is lowered says what it takes
        accepts(graph, op)
    return graph


def _steps(graph: Graph, target: Target) -> tuple[Step, ...]:
    """Every op's calls; with ``optimize = "ram"`` those ops row by row that make the arena smallest."""
    lowered = [(op, _lower(graph, op, target)) for op in graph.ops]
    if target.optimize == "ram":
        return streaming.smallest(graph, lowered, target, lambda steps: _plan(graph, steps).arena_bytes)
    return tuple(step for _, steps in lowered for step in steps)


def _lower(graph: Graph, op: Op, target: Target) -> tuple[Step, ...]:
    lower = ops.spec(op.name).lower
    assert lower is not None  # accepted has seen to it
    return lower(graph, op, target)


def _plan(graph: Graph, steps: Sequence[Step]) -> Plan:
    sizes = {tensor.index: tensor.bytes for tensor in graph.tensors if tensor.data is None}
    return plan(steps, sizes, graph.inputs, graph.outputs)


def _calls(step: Step) -> tuple[Call, ...]:
    if isinstance(step, Stream):
        return tuple(row.call for repeat in step.repeats for row in repeat.body)
    return (step,) if isinstance(step, Call) else ()


def _values(value: int | Array) -> object:
    """What two constants must have in common to be one."""
    return (str(value.data.dtype), value.data.tobytes()) if isinstance(value, Array) else value
