"""A model, or generated C, proven and measured on a core: every output byte compared, flash, RAM and instructions.

What is emulated is an image of the generated C and a small harness (``firmware_templates/aot/emulate``), in a temporary
folder. The oracle is an interpreter that shares no code with the engine (``interpreters.run_oracle``); for a generated
project, the golden vectors in it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import interpreters, qemu, reference
from kd_embedded.aot import Program, compile_model
from kd_embedded.codegen.c_source import single_file
from kd_embedded.compare import Difference, difference
from kd_embedded.cores import Core
from kd_embedded.cycles import estimate, load_table
from kd_embedded.errors import ConfigError, DataError
from kd_embedded.golden import load_arrays, load_samples, random_inputs
from kd_embedded.image import OPTIMIZE_FLAGS, Engine, Flash, Image, build, find_engine
from kd_embedded.program import Alias, Optimize, Target
from kd_embedded.trace import Trace, trace

RANDOM_INPUTS = 8
_NAME = "model"
_OP_LINE = re.compile(r"^\s*(?:/\*| \*) op (\d+) (\w+): .*?(?:, (\d+) MACs)?(?: \*/)?$", re.M)
_GOLDEN = re.compile(r"golden_(inputs|outputs)\[[^=]*=\s*\{(.*?)\n\};", re.S)
_COMMENT = re.compile(r"//.*")


@dataclass(frozen=True, eq=False)
class Vectors:
    """Inputs int8 [N, ...], what the model must compute from them [N, ...], int8 or int32, and who says so."""

    inputs: NDArray[Any]
    outputs: NDArray[Any]
    oracle: str


@dataclass(frozen=True)
class First:
    """The first op whose output is wrong: at ``index`` of its values it should be ``expected`` and is ``got``."""

    op_index: int
    op_name: str
    tensor: str
    index: int
    expected: int
    got: int


@dataclass(frozen=True)
class OpCount:
    """One op of one inference. ``cycles`` is None where the core has no table."""

    index: int
    name: str
    macs: int
    instructions: int
    cycles: int | None


@dataclass(frozen=True)
class Emulation:
    """One core. ``None`` stands for what was not or cannot be measured there.

    ``instructions`` are those retired by one inference, ``cycles`` an estimate from them with zero wait states.
    ``stack`` is what the inference takes below its caller's, ``static`` RAM beside the arena.
    """

    core: str
    machine: str
    oracle: str
    compared: Difference
    first: First | None
    flash: Flash | None
    arena: int
    static: int | None
    stack: int | None
    macs: int
    instructions: int | None
    cycles: int | None
    ops: tuple[OpCount, ...] = field(default=())

    @property
    def equal(self) -> bool:
        return not self.compared.bytes_different


def emulate_model(
    data: bytes,
    where: str,
    core: Core,
    inputs: NDArray[Any] | Path | int = RANDOM_INPUTS,
    *,
    seed: int = 0,
    optimize: Optimize = "speed",
    flags: Sequence[str] = OPTIMIZE_FLAGS,
    profile: bool = False,
    count: bool = True,
) -> Emulation:
    """The ``.tflite`` file ``data`` compiled for ``core`` and run on ``inputs``.

    Those are int8 [N, ...], or a file of them (``golden.load_samples``), or how many are drawn at random from ``seed``.
    ``flags`` are the compiler's for the engine. ``count``: instructions too; ``profile``: those of each op.
    Raises KdError where the model cannot be compiled, a program is missing, or nothing could be compared.
    """
    program = compile_model(data, where, Target(core.family, optimize))
    if isinstance(inputs, Path):
        inputs, _ = load_samples(inputs, program.graph)
    elif isinstance(inputs, int):
        inputs = random_inputs(program.input.shape[1:], inputs, seed)
    oracle = interpreters.run_oracle(data, inputs)
    vectors = Vectors(inputs, oracle.outputs, oracle.name)
    with tempfile.TemporaryDirectory(prefix="kd-emulate-") as folder:
        engine = write_engine(program, Path(folder) / "c")
        job = _Job(engine, core, Path(folder), flags, program)
        return _emulate(job, vectors, sum(program.macs.values()), profile=profile, count=count)


def emulate_folder(
    folder: Path,
    core: Core,
    vectors: Vectors | None = None,
    *,
    flags: Sequence[str] = OPTIMIZE_FLAGS,
    profile: bool = False,
    count: bool = True,
) -> Emulation:
    """The generated C in ``folder`` on ``core``; without ``vectors`` those that the generated project holds."""
    engine = find_engine(folder)
    if vectors is None:
        vectors = golden_vectors(folder, engine)
    with tempfile.TemporaryDirectory(prefix="kd-emulate-") as work:
        macs = sum(op_macs for _, op_macs in _ops(engine).values())
        return _emulate(_Job(engine, core, Path(work), flags, None), vectors, macs, profile=profile, count=count)


def write_engine(program: Program, folder: Path) -> Engine:
    """``program`` as plain C in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in single_file(program, _NAME).items():
        (folder / name).write_text(text, encoding="utf-8")
    return find_engine(folder)


def golden_vectors(folder: Path, engine: Engine) -> Vectors:
    """The vectors of the generated project in ``folder``; ConfigError where it has none."""
    path = next(iter(sorted(folder.rglob("golden_vectors.cpp"))), None)
    if path is None:
        raise ConfigError(
            "holds plain C and no vectors to compare with",
            where=str(folder),
            todo="give the MODEL.tflite it was made from, or --vectors FILE.npz with inputs x and outputs y_q",
        )
    found = dict(_GOLDEN.findall(path.read_text("utf-8")))
    if set(found) != {"inputs", "outputs"}:
        raise ConfigError("holds no golden vectors", where=str(path), todo="generate the project again")
    inputs, outputs = _integers(found["inputs"]).astype(np.int8), _integers(found["outputs"])
    return _checked(inputs, outputs.astype(engine.output_dtype), engine, str(path), "golden vectors")


def load_vectors(path: Path, engine: Engine) -> Vectors:
    """Vectors for generated C whose model is not at hand: ``x`` and ``y_q`` of an .npz, inputs and outputs.

    int8; where the model gives indices, ``y_q`` is int32.
    """
    arrays = load_arrays(path, "x", "y_q")
    if len(arrays) < 2:
        raise DataError("lacks x or y_q", where=str(path), todo="numpy.savez(FILE, x=inputs, y_q=outputs)")
    return _checked(arrays["x"], arrays["y_q"], engine, str(path), path.name)


def _integers(text: str) -> NDArray[np.int64]:
    return np.array(re.findall(r"-?\d+", _COMMENT.sub("", text)), np.int64)


def _checked(inputs: NDArray[Any], outputs: NDArray[Any], engine: Engine, where: str, oracle: str) -> Vectors:
    count, kind = inputs.size // engine.input_bytes, engine.output_dtype
    right = inputs.dtype == np.int8 and outputs.dtype == kind and count > 0
    if not right or inputs.size != count * engine.input_bytes or outputs.nbytes != count * engine.output_bytes:
        raise DataError(
            f"{inputs.dtype} {list(inputs.shape)}, {outputs.dtype} {list(outputs.shape)} are no vectors of this model",
            where=where,
            todo=f"it takes {engine.input_bytes} int8 values and gives {engine.output_bytes // kind.itemsize}"
            + ("" if kind == np.int8 else f" {kind}"),
        )
    return Vectors(inputs.reshape(count, -1), outputs.reshape(count, -1), oracle)


@dataclass(frozen=True)
class _Job:
    """What is built, where. ``program`` is None where only the generated C is at hand."""

    engine: Engine
    core: Core
    folder: Path
    flags: Sequence[str]
    program: Program | None

    def image(self, name: str, *, profile: bool = False, defines: Sequence[str] = ()) -> Image:
        return build(self.engine, self.core, self.folder / name, flags=self.flags, defines=defines, profile=profile)


def _emulate(job: _Job, vectors: Vectors, macs: int, *, profile: bool, count: bool) -> Emulation:
    image = job.image("image")
    ran = qemu.run(image, vectors.inputs)
    wanted = vectors.outputs.reshape(len(vectors.inputs), -1)
    compared = difference(wanted, ran.outputs)
    emulated = image.machine is not None
    counted = trace(image, vectors.inputs[:1]) if emulated and count else None
    return Emulation(
        core=job.core.name,
        machine=" ".join(image.machine.options) if image.machine else "",
        oracle=vectors.oracle,
        compared=compared,
        first=_first(job, vectors.inputs, wanted, ran.outputs) if compared.bytes_different else None,
        flash=image.flash if emulated else None,
        arena=job.engine.arena_bytes,
        static=image.static if emulated else None,
        stack=ran.stack,
        macs=macs,
        instructions=counted.instructions if counted else None,
        cycles=_cycles(job.core, counted) if counted else None,
        ops=_profile(job, vectors.inputs[:1]) if emulated and profile else (),
    )


def _cycles(core: Core, counted: Trace) -> int | None:
    return sum(estimate(load_table(core), counted).values()) if core.cycles else None


def _profile(job: _Job, one_input: NDArray[Any]) -> tuple[OpCount, ...]:
    counted = trace(job.image("profile", profile=True), one_input)
    cycles = estimate(load_table(job.core), counted) if job.core.cycles else {}
    names = _ops(job.engine)
    return tuple(
        OpCount(index, *names[index], instructions, cycles.get(index))
        for index, instructions in counted.instructions_by_op().items()
        if index >= 0
    )


def _ops(engine: Engine) -> dict[int, tuple[str, int]]:
    """Name and MACs of each op, as the comments of the generated source tell them."""
    text = engine.sources[0].read_text("utf-8")
    return {int(m[1]): (m[2], int(m[3] or 0)) for m in _OP_LINE.finditer(text)}


def _first(job: _Job, inputs: NDArray[Any], wanted: NDArray[Any], got: NDArray[Any]) -> First:
    """Where the first input with a wrong output goes wrong: the op, where the graph is at hand, else the output."""
    sample, index = (int(axis[0]) for axis in np.nonzero(wanted != got))
    at_output = First(-1, "output", "output", index, int(wanted[sample, index]), int(got[sample, index]))
    if job.program is None:
        return at_output
    image = job.image("dump", profile=True, defines=["-DKD_EMULATE_DUMP"])
    qemu.run(image, inputs[sample : sample + 1])
    ops, arenas = qemu.read_profile(image)
    return _first_op(job.program, inputs[sample : sample + 1], ops, arenas) or at_output


def _first_op(
    program: Program, one_input: NDArray[Any], ops: NDArray[np.int32], arenas: NDArray[np.int8]
) -> First | None:
    """The first op whose output in the arena, right after its last call, is not what the reference computes.

    ``ops`` are the indices told before each call, ``arenas`` what the arena held then.
    """
    graph = program.graph
    written = _written(program)
    right = reference.run_keeping(graph, one_input, [tensor for tensors in written.values() for tensor in tensors])
    last_call = {int(op): number for number, op in enumerate(ops)}
    for op in graph.ops:
        for tensor in written.get(op.index, ()):
            offset, expected = program.plan.offsets[tensor], right[tensor].reshape(-1)
            value = arenas[last_call[op.index] + 1, offset : offset + expected.nbytes].view(expected.dtype)
            wrong = np.flatnonzero(value != expected)
            if len(wrong):
                at = int(wrong[0])
                return First(op.index, op.name, graph.tensors[tensor].name, at, int(expected[at]), int(value[at]))
    return None


def _written(program: Program) -> dict[int, list[int]]:
    """The tensors that stand whole in the arena when an op is done, by its index."""
    made_by = {tensor: op.index for op in program.graph.ops for tensor in op.outputs}
    written: dict[int, list[int]] = {}
    for step in program.steps:
        if not isinstance(step, Alias):
            for tensor in step.outputs:
                written.setdefault(made_by.get(tensor, step.op), []).append(tensor)
    return written
