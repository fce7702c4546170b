"""Cases as generated C: many models in one program, on the host under sanitizers or on an emulated core."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from fuzz.build import Case
from fuzz.legs import Outcome
from kd_embedded import aot, cores, resources
from kd_embedded.codegen.c_source import kernel_files, model_files
from kd_embedded.errors import KdError, ModelError
from kd_embedded.program import Family, Optimize, Target
from kd_embedded.tflite.read import parse_model
from kd_embedded.toolchain import find_tool

_SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_STATIC = re.compile(r"\b([wc]_(?:op\d+|info)\w*)")
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Leg:
    """A core, the kernels' family and the mode of optimization. Written ``host``, ``cortex-m4/c``, ``host//ram``."""

    core: cores.Core
    family: Family
    optimize: Optimize

    @classmethod
    def parse(cls, text: str) -> Leg:
        name, family, optimize = (*text.split("/"), "", "")[:3]
        core = cores.load_core(name)
        return cls(core, family or core.family, optimize or "speed")

    @property
    def name(self) -> str:
        return f"{self.core.name}/{self.family}/{self.optimize}"


@dataclass(frozen=True, eq=False)
class _Model:
    """A case as C, whose symbols begin with ``name``."""

    name: str
    case: Case
    program: aot.Program
    source: str
    header: str


@lru_cache(maxsize=1000)
def _compiled(number: int, case: Case, target: Target) -> _Model | KdError:
    """Case ``number`` of a batch, for all legs with one target; or why there is none."""
    name = f"m{number}"
    try:
        program = aot.compile_graph(replace(parse_model(case.model, case.name), name=case.name), target)
        files = model_files(program, name)
    except KdError as error:
        return error
    except Exception as error:  # a mistake of ours, told like any other
        return ModelError(f"the compiler raised {error!r}", where=case.name)
    source = f"#define {name.upper()}_NO_STATIC_ARENA\n" + _STATIC.sub(rf"{name}_\1", files[f"{name}.c"])
    return _Model(name, case, program, source, files[f"{name}.h"])


class Runner:
    """Compiles and runs batches of one leg in ``folder``; each kernel is compiled once."""

    def __init__(self, leg: Leg, folder: Path) -> None:
        self._leg, self._folder = leg, folder
        self._objects: dict[str, str] = {}
        (folder / "kernels").mkdir(parents=True, exist_ok=True)

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """For each case its outputs, or why there are none."""
        target = Target(self._leg.family, self._leg.optimize)
        found = [_compiled(number, case, target) for number, case in enumerate(cases)]
        models = [each for each in found if isinstance(each, _Model)]
        ran = iter(self._run(models) if models else ())
        return [next(ran) if isinstance(each, _Model) else each for each in found]

    def _run(self, models: Sequence[_Model]) -> list[Outcome]:
        """Runs the program; where it dies, the model it was at is told, and it goes on behind that."""
        program = self._build(models)
        found: list[Outcome] = []
        while len(found) < len(models):
            rest = models[len(found) :]
            inputs = np.int32(len(found)).tobytes() + b"".join(model.case.inputs.tobytes() for model in rest)
            (self._folder / "inputs").write_bytes(inputs)
            (self._folder / "outputs").unlink(missing_ok=True)
            died = self._start(program)
            outputs = np.fromfile(self._folder / "outputs", np.int8)
            for model in rest:
                output = model.program.output
                size = len(model.case.inputs) * output.bytes
                if len(outputs) < size:
                    found.append(ModelError(f"died: {died}", where=self._leg.name))
                    break
                found.append(outputs[:size].view(output.dtype).reshape(-1, *output.shape[1:]))
                outputs = outputs[size:]
        return found

    def _start(self, program: Path) -> str:
        """Runs the program; what it said on stderr, "" where it ended well."""
        command = [str(program)]
        if self._leg.core.machines:
            machine = self._leg.core.machines[-1]
            emulator = find_tool(machine.emulator, self._leg.core.packages.emulator)
            quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
            hosting = ["-semihosting-config", "enable=on,target=native"]
            command = [emulator, *machine.options, *quiet, *hosting, "-kernel", str(program)]
        try:
            done = subprocess.run(
                command, cwd=self._folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no end after {_TIMEOUT_S} s"
        return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[:2000]}"

    def _build(self, models: Sequence[_Model]) -> Path:
        """One source of all models, whose static names are made unique, and the table of them."""
        kernels = sorted({kernel for model in models for kernel in model.program.kernels})
        objects = [self._kernel(path) for path in self._write_kernels(kernels)]
        rows = []
        for model in models:
            (self._folder / f"{model.name}.h").write_text(model.header, "utf-8")
            plan, edges = model.program.plan, (model.program.input, model.program.output)
            places = [value for edge in edges for value in (plan.offsets[edge.index], edge.bytes)]
            values = [f"{model.name}_invoke_in", model.program.arena_bytes, *places, len(model.case.inputs)]
            rows.append(f"  {{{', '.join(map(str, values))}}},\n")
        table = f"#define MODELS {len(models)}\nstatic const kd_batch_model models[MODELS] = {{\n{''.join(rows)}}};\n"
        (self._folder / "models.c").write_text("\n".join(model.source for model in models), "utf-8")
        includes = "".join(f'#include "{model.name}.h"\n' for model in models)
        (self._folder / "batch.h").write_text(includes + table, "utf-8")
        templates = resources.templates_dir() / "aot" / "emulate"
        io = templates / ("io_semihosting.c" if self._leg.core.machines else "io_stdio.c")
        here, emulated = Path(__file__).parent, ["-DKD_EMULATED"] if self._leg.core.machines else []
        for source in (self._folder / "models.c", here / "batch.c", io):
            objects.append(self._compile(source, f"-I{templates}", f"-I{self._folder}", "-std=gnu99", *emulated))
        return self._link(objects)

    def _write_kernels(self, kernels: Sequence[str]) -> list[Path]:
        written = []
        for name, text in kernel_files(kernels).items():
            path = self._folder / name
            if not path.exists():
                path.write_text(text, "utf-8")
            if path.suffix == ".c":
                written.append(path)
        return written

    def _kernel(self, source: Path) -> str:
        if source.name not in self._objects:
            self._objects[source.name] = self._compile(source, "-std=c99")
        return self._objects[source.name]

    def _flags(self) -> list[str]:
        if not self._leg.core.machines:
            return list(_SANITIZED)
        level = "-Os" if self._leg.optimize == "size" else "-O2"
        return [*self._leg.core.flags, "--specs=picolibc.specs", level, "-ffunction-sections", "-fdata-sections"]

    def _compiler(self) -> str:
        return find_tool(f"{self._leg.core.tools}gcc", self._leg.core.packages.compiler)

    def _compile(self, source: Path, *flags: str) -> str:
        made = self._folder / f"{source.stem}.o"
        self._call(self._compiler(), *self._flags(), *flags, "-c", str(source), "-o", str(made))
        return str(made)

    def _link(self, objects: Sequence[str]) -> Path:
        flags: list[str] = []
        if self._leg.core.machines:
            machine = self._leg.core.machines[-1]
            places = {
                "__flash": machine.flash_base,
                "__flash_size": machine.flash_bytes,
                "__ram": machine.ram_base,
                "__ram_size": machine.ram_bytes,
            }
            flags = ["--crt0=semihost", "--oslib=semihost", *(f"-Wl,--defsym={k}={v:#x}" for k, v in places.items())]
        program = self._folder / "batch.elf"
        self._call(self._compiler(), *self._flags(), *objects, *flags, "-o", str(program))
        return program

    def _call(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"
