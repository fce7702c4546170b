"""Writes small ``.tflite`` models straight through the schema's builder functions, so that tests need no TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from tflite.BuiltinOptions import BuiltinOptions
from tflite.TensorType import TensorType
from tflite.utils import BUILTIN_OPCODE2NAME

CODES = {name: code for code, name in BUILTIN_OPCODE2NAME.items()}


@dataclass
class T:
    """One tensor; ``data`` makes it a constant. ``scale`` of several values is per channel along ``axis``."""

    shape: Sequence[int]
    dtype: str = "int8"
    scale: float | Sequence[float] | None = 0.1
    zero_point: int | Sequence[int] = 0
    axis: int = 0
    data: NDArray[Any] | None = None
    name: str = ""
    signature: Sequence[int] | None = None


@dataclass
class O:  # noqa: E742
    """One op. ``options`` is the schema's table ("Conv2DOptions"), ``attributes`` its fields as spelled there.

    A list among them is a vector of int32.
    """

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    custom_code: str = ""
    version: int = 1


def build(
    tensors: Sequence[T],
    ops: Sequence[O],
    inputs: Sequence[int] = (0,),
    outputs: Sequence[int] | None = None,
    *,
    version: int = 3,
    subgraphs: int = 1,
) -> bytes:
    """The flatbuffer. ``outputs`` defaults to the last op's."""
    b = _Writer()
    outputs = ops[-1].outputs if outputs is None else outputs
    buffers = [b.table("Buffer")]
    tensor_offsets = []
    for i, tensor in enumerate(tensors):
        buffer = 0
        if tensor.data is not None:
            buffers.append(b.table("Buffer", Data=b.data(np.asarray(tensor.data, tensor.dtype).tobytes())))
            buffer = len(buffers) - 1
        tensor_offsets.append(_tensor(b, tensor, tensor.name or f"tensor_{i}", buffer))
    subgraph = b.table(
        "SubGraph",
        Tensors=b.offsets(tensor_offsets),
        Inputs=b.numbers(inputs, np.int32),
        Outputs=b.numbers(outputs, np.int32),
        Operators=b.offsets([_operator(b, i, op) for i, op in enumerate(ops)]),
        Name=b.CreateString("main"),
    )
    model = b.table(
        "Model",
        Version=version,
        OperatorCodes=b.offsets([_operator_code(b, op) for op in ops]),
        Subgraphs=b.offsets([subgraph] * subgraphs),
        Buffers=b.offsets(buffers),
    )
    b.Finish(model, file_identifier=b"TFL3")
    return bytes(b.Output())


def dense(
    rows: int = 4,
    width: int = 8,
    *,
    per_channel: bool = False,
    activation: int = 0,
    seed: int = 0,
    dtype: str = "int8",
    version: int = 4,
) -> bytes:
    """One FULLY_CONNECTED, int8 [1, width] to int8 [1, rows]."""
    rng = np.random.default_rng(seed)
    scales = [0.02 + 0.001 * i for i in range(rows)] if per_channel else [0.02]
    bias_scales = [0.1 * scale for scale in scales]
    return build(
        [
            T([1, width], dtype, 0.1, 3),
            T([rows, width], "int8", scales, [0] * len(scales), data=rng.integers(-127, 128, (rows, width)), name="w"),
            T([rows], "int32", bias_scales, [0] * len(scales), data=rng.integers(-500, 500, rows)),
            T([1, rows], dtype, 0.3, -7),
        ],
        [
            O(
                "FULLY_CONNECTED",
                [0, 1, 2],
                [3],
                "FullyConnectedOptions",
                {"FusedActivationFunction": activation},
                version=version,
            )
        ],
    )


def sequence_dense(lead: Sequence[int] = (1, 3), width: int = 8, rows: int = 4, *, seed: int = 0) -> bytes:
    """One FULLY_CONNECTED with a scale for each channel, int8 [*lead, width] to [*lead, rows]: BUILTIN_REF is wrong."""
    rng = np.random.default_rng(seed)
    scales = [0.02 + 0.001 * i for i in range(rows)]
    biases = [0.1 * scale for scale in scales]
    tensors = [
        T([*lead, width], "int8", 0.1, 3),
        T([rows, width], "int8", scales, [0] * rows, data=rng.integers(-127, 128, (rows, width)), name="w"),
        T([rows], "int32", biases, [0] * rows, data=rng.integers(-500, 500, rows)),
        T([*lead, rows], "int8", 0.3, -7),
    ]
    return build(
        tensors, [O("FULLY_CONNECTED", [0, 1, 2], [3], "FullyConnectedOptions", {"KeepNumDims": True}, version=5)]
    )


def relu6_alone(scale_in: float = 0.1, scale_out: float = 6 / 255, after_dense: bool = False) -> bytes:
    """A RELU6 that is not fused, from ``scale_in`` to ``scale_out``, by itself or behind a dense layer."""
    relu = T([1, 4], "int8", scale_out, -128)
    if not after_dense:
        return build([T([1, 4], "int8", scale_in, 0), relu], [O("RELU6", [0], [1])])
    weights = np.random.default_rng(1).integers(-127, 128, (4, 8))
    return build(
        [
            T([1, 8], "int8", 0.1, 0),
            T([4, 8], "int8", 0.02, 0, data=weights),
            T([4], "int32", 0.002, 0, data=np.zeros(4)),
            T([1, 4], "int8", scale_in, 0),
            relu,
            T([1, 4], "int8", 1 / 256, -128),
        ],
        [
            O("FULLY_CONNECTED", [0, 1, 2], [3], "FullyConnectedOptions", version=4),
            O("RELU6", [3], [4]),
            O("SOFTMAX", [4], [5], "SoftmaxOptions", {"Beta": 1.0}),
        ],
    )


class _Writer(flatbuffers.Builder):
    def table(self, kind: str, **fields: Any) -> int:
        """A table of the schema; fields that are None are left out."""
        module = importlib.import_module(f"tflite.{kind}")
        getattr(module, f"{kind}Start")(self)
        for name, value in fields.items():
            if value is not None:
                getattr(module, f"{kind}Add{name}")(self, value)
        return int(getattr(module, f"{kind}End")(self))

    def data(self, data: bytes) -> int:
        self.StartVector(1, len(data), 16)
        self.head = self.head - len(data)
        self.Bytes[self.head : self.head + len(data)] = data
        return int(self.EndVector())

    def numbers(self, values: Sequence[float], dtype: Any) -> int:
        return int(self.CreateNumpyVector(np.asarray(values, dtype)))

    def offsets(self, offsets: Sequence[int]) -> int:
        self.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.PrependUOffsetTRelative(offset)
        return int(self.EndVector())


def _tensor(b: _Writer, tensor: T, name: str, buffer: int) -> int:
    quantization = None
    if tensor.scale is not None:
        scale, zero_point = np.atleast_1d(tensor.scale), np.atleast_1d(tensor.zero_point)
        quantization = b.table(
            "QuantizationParameters",
            Scale=b.numbers(scale, np.float32),
            ZeroPoint=b.numbers(zero_point, np.int64),
            QuantizedDimension=tensor.axis,
        )
    return b.table(
        "Tensor",
        Shape=b.numbers(tensor.shape, np.int32),
        Type=getattr(TensorType, tensor.dtype.upper()),
        Buffer=buffer,
        Name=b.CreateString(name),
        Quantization=quantization,
        ShapeSignature=None if tensor.signature is None else b.numbers(tensor.signature, np.int32),
    )


def _operator(b: _Writer, index: int, op: O) -> int:
    attributes = {
        name: b.numbers(value, np.int32) if isinstance(value, list | tuple) else value
        for name, value in op.attributes.items()
    }
    options = b.table(op.options, **attributes) if op.options else None
    return b.table(
        "Operator",
        OpcodeIndex=index,
        Inputs=b.numbers(op.inputs, np.int32),
        Outputs=b.numbers(op.outputs, np.int32),
        BuiltinOptionsType=getattr(BuiltinOptions, op.options) if op.options else None,
        BuiltinOptions=options,
    )


def _operator_code(b: _Writer, op: O) -> int:
    code = CODES[op.name]
    return b.table(
        "OperatorCode",
        DeprecatedBuiltinCode=min(code, 127),
        BuiltinCode=code,
        CustomCode=b.CreateString(op.custom_code) if op.custom_code else None,
        Version=op.version,
    )
