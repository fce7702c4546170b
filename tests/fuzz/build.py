"""A model under construction: one int8 input, one int8 output, any ops between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_builder import O, T, build

from fuzz.draw import Draw

_SAMPLES = 3


@dataclass(frozen=True, eq=False)
class Case:
    """A model and inputs for it, int8 [N, ...]; ``made`` are the numbers that make it again."""

    name: str
    model: bytes
    inputs: NDArray[Any]
    made: tuple[int, ...] = ()


class Model:
    """Tensors and ops in the making. Tensors are known by their index."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.tensors: list[T] = []
        self.ops: list[O] = []
        self.input = -1

    def shape(self, index: int) -> list[int]:
        return list(self.tensors[index].shape)

    def quant(self, index: int) -> tuple[float, int]:
        """Scale and zero point of a tensor that has one of each."""
        tensor = self.tensors[index]
        assert isinstance(tensor.scale, float) and isinstance(tensor.zero_point, int)
        return tensor.scale, tensor.zero_point

    def add(self, tensor: T) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def activation(self, shape: Sequence[int], quant: tuple[float, int] | None = None) -> int:
        """An int8 tensor that an op will write, with drawn or given scale and zero point."""
        scale, zero_point = quant or (self.draw.scale(), self.draw.zero_point())
        return self.add(T(list(shape), "int8", scale, zero_point))

    def constant(self, values: Any, dtype: str = "int32", scale: Any = None, zero_point: Any = 0, axis: int = 0) -> int:
        values = np.asarray(values)
        return self.add(T(list(values.shape), dtype, scale, zero_point, axis, data=values))

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        version: int = 1,
        **attributes: Any,
    ) -> list[int]:
        """Adds the op; gives its outputs."""
        self.ops.append(O(name, list(inputs), list(outputs), options, attributes, version=version))
        return list(outputs)

    def sources(self, *wanted: tuple[Sequence[int], tuple[float, int] | None]) -> list[int]:
        """The model's input, cut into tensors of the ``wanted`` shapes, scales and zero points (drawn where None)."""
        if len(wanted) == 1 and len(wanted[0][0]) > 1 and wanted[0][0][0] == 1:
            self.input = self.activation(*wanted[0])
            return [self.input]
        sizes = [math.prod(shape) for shape, _ in wanted]
        whole = self.input = self.activation([1, sum(sizes)], (0.5, 0))
        found, start = [], 0
        for (shape, quant), size in zip(wanted, sizes, strict=True):
            part = self.activation([1, size], (0.5, 0))
            self.op("SLICE", [whole, self.constant([0, start]), self.constant([1, size])], [part], "SliceOptions")
            found.append(self.activation(shape, quant))
            self.reshape(part, found[-1])
            start += size
        return found

    def source(self, shape: Sequence[int], quant: tuple[float, int] | None = None) -> int:
        return self.sources((shape, quant))[0]

    def reshape(self, source: int, output: int) -> None:
        self.op("RESHAPE", [source, self.constant(self.shape(output))], [output], "ReshapeOptions")

    def case(self, name: str, outputs: Sequence[int]) -> Case:
        """The finished model; several outputs are joined, and one of int8 without a batch of 1 is reshaped."""
        shape, indices = self.shape(outputs[0]), self.tensors[outputs[0]].dtype == "int32"
        if not indices and (len(outputs) > 1 or len(shape) < 2 or shape[0] != 1):
            flat = []
            for index in outputs:
                flat.append(self.activation([1, math.prod(self.shape(index))], (0.5, 0)))
                self.reshape(index, flat[-1])
            outputs = flat
        if len(outputs) > 1:
            whole = self.activation([1, sum(self.shape(index)[1] for index in outputs)], (0.5, 0))
            self.op("CONCATENATION", outputs, [whole], "ConcatenationOptions", Axis=1)
            outputs = [whole]
        inputs = self.draw.values([_SAMPLES, *self.shape(self.input)[1:]]).astype(np.int8)
        inputs[1:] = np.random.default_rng(self.draw.below(1 << 16)).integers(-128, 128, inputs[1:].shape)
        return Case(name, build(self.tensors, self.ops, [self.input], list(outputs)), inputs, tuple(self.draw.made))
