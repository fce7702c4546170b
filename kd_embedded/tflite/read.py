"""A ``.tflite`` file to a frozen ``Graph``, with no TensorFlow: the schema's classes come from the ``tflite`` package.

The file is never trusted. Every index is checked against its table, every constant's size against its shape, and no
more elements are decoded than the file has bytes, so that truncated, random or mutated input ends in a ModelError.
"""

from __future__ import annotations

import importlib
import math
import re
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite.ActivationFunctionType import ActivationFunctionType
from tflite.BuiltinOptions import BuiltinOptions
from tflite.FullyConnectedOptionsWeightsFormat import FullyConnectedOptionsWeightsFormat
from tflite.LSTMKernelType import LSTMKernelType
from tflite.MirrorPadMode import MirrorPadMode
from tflite.Model import Model
from tflite.Padding import Padding
from tflite.TensorType import TensorType
from tflite.utils import BUILTIN_OPCODE2NAME

from kd_embedded.artifacts import sha256_bytes
from kd_embedded.errors import ModelError
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_BUILTIN_CODE = 10  # where the vtable of an OperatorCode has it
_MAX_FILE_BYTES = 64 << 20
_MAX_TENSOR_BYTES = 32 << 20
_MAX_OPTION_ELEMENTS = 64  # shapes and axes: no op has more
_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "BOOL": "bool",
    "COMPLEX64": "complex64",
}
# Attributes that the schema stores as a number and names by an enumeration.
_ENUMERATIONS: Mapping[str, Any] = {
    "fused_activation_function": ActivationFunctionType,
    "padding": Padding,
    "mode": MirrorPadMode,
    "weights_format": FullyConnectedOptionsWeightsFormat,
    "kernel_type": LSTMKernelType,
    "in_data_type": TensorType,
    "out_data_type": TensorType,
    "out_type": TensorType,
    "output_type": TensorType,
    "quantized_bias_type": TensorType,
}
# Options that several ops share; others are called like their op.
_SHARED_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY"), "ReducerOptions"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions"),
}
# What the flatbuffer classes, struct, NumPy and str raise when offsets lead astray.
_LOW_LEVEL = (struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)
_WHOLE = "get a whole copy of the file, as tf.lite.TFLiteConverter wrote it"


def read_model(path: Path) -> Graph:
    """The graph in the file at ``path``; ModelError where there is none, or the file is not a whole TFLite model."""
    return parse_model(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a model file; ModelError where it cannot be read or is larger than any microcontroller holds."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ModelError(
                f"has {path.stat().st_size} bytes, and no microcontroller holds more than {_MAX_FILE_BYTES >> 20} MiB",
                where=str(path),
                todo="use a smaller model",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError("no such file", where=str(path), todo="give the path of a .tflite file") from None
    except IsADirectoryError:
        raise ModelError("is a folder", where=str(path), todo="give the path of a .tflite file") from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def parse_model(data: bytes, where: str) -> Graph:
    """The graph of the flatbuffer ``data``. ``where`` names it in errors.

    Raises ModelError on anything that is not a whole model with one subgraph, and on what no later stage can use:
    sparse weights, weights outside the flatbuffer, types without a NumPy equivalent (int4, strings, resources).
    """
    if data[4:8] != _IDENTIFIER:
        raise ModelError("is not a TFLite model (the TFL3 identifier is missing)", where=where, todo=_WHOLE)
    try:
        return _Decoder(data, where).graph()
    except _LOW_LEVEL as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ModelError(f"is damaged or truncated ({reason})", where=where, todo=_WHOLE) from None


class _Decoder:
    """Decodes one flatbuffer; ``_left`` bounds the work by the size of the file, whatever its offsets say."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where, self._left = data, where, len(data)
        self._model = Model.GetRootAs(data, 0)

    def graph(self) -> Graph:
        model = self._model
        if model.Version() != _SCHEMA_VERSION:
            raise self._error(f"has schema version {model.Version()}, and {_SCHEMA_VERSION} is supported", _WHOLE)
        if self._count(model.SubgraphsLength()) != 1:
            raise self._error(
                f"has {model.SubgraphsLength()} subgraphs, and one is supported",
                "convert a model without control flow (tf.cond, tf.while_loop, stateful layers)",
            )
        subgraph = model.Subgraphs(0)
        tensors = tuple(self._tensor(subgraph, i) for i in range(self._count(subgraph.TensorsLength())))
        ops = tuple(self._op(subgraph, i, len(tensors)) for i in range(self._count(subgraph.OperatorsLength())))
        inputs = self._indices(subgraph.InputsLength(), subgraph.InputsAsNumpy, len(tensors), lowest=0)
        outputs = self._indices(subgraph.OutputsLength(), subgraph.OutputsAsNumpy, len(tensors), lowest=0)
        if not (ops and inputs and outputs):
            raise self._error("has no ops, no input or no output", _WHOLE)
        name = self._text(subgraph.Name()) or self._text(model.Description())
        return Graph(name, tensors, ops, inputs, outputs, len(self._data), sha256_bytes(self._data))

    def _error(self, what: str, todo: str) -> ModelError:
        return ModelError(what, where=self._where, todo=todo)

    def _count(self, count: int) -> int:
        """``count`` elements are about to be decoded: each stands for at least one byte of the file."""
        self._left -= count
        if count < 0 or self._left < 0:
            raise ValueError("a table claims more elements than the file has bytes")
        return int(count)

    def _text(self, text: bytes | None) -> str:
        return (text or b"")[: self._count(len(text or b""))].decode("utf-8", errors="replace")

    def _indices(self, count: int, as_numpy: Callable[[], Any], limit: int, lowest: int) -> tuple[int, ...]:
        values = tuple(int(value) for value in as_numpy()[: self._count(count)]) if count else ()
        if any(not lowest <= value < limit for value in values):
            raise ValueError(f"a tensor index is outside {lowest}..{limit - 1}")
        return values

    def _tensor(self, subgraph: Any, index: int) -> Tensor:
        raw = subgraph.Tensors(index)
        name = self._text(raw.Name()) or f"#{index}"
        type_name = _enum_name(TensorType, raw.Type())
        if type_name not in _DTYPES:
            raise self._error(
                f"tensor {index} ({name}) has type {type_name}, which is not supported",
                "convert the model to full int8",
            )
        if raw.Sparsity() is not None:
            raise self._error(f"tensor {index} ({name}) is sparse", "convert without Optimize.EXPERIMENTAL_SPARSITY")
        dtype = _DTYPES[type_name]
        shape = self._ints(raw.ShapeLength(), raw.ShapeAsNumpy)
        signature = self._ints(raw.ShapeSignatureLength(), raw.ShapeSignatureAsNumpy)
        if min(shape, default=0) < 0:
            raise ValueError(f"tensor {index} has shape {list(shape)}")
        if math.prod(shape) * np.dtype(dtype).itemsize > _MAX_TENSOR_BYTES:
            raise self._error(
                f"tensor {index} ({name}) has shape {list(shape)}, more than the {_MAX_TENSOR_BYTES >> 20} MiB that "
                "any microcontroller holds",
                "use a smaller model",
            )
        return Tensor(
            index=index,
            name=name,
            shape=shape,
            dtype=dtype,
            quant=self._quant(raw.Quantization(), shape, dtype, index),
            data=self._constant(raw.Buffer(), shape, dtype, index),
            dynamic_axes=tuple(axis for axis, size in enumerate(signature) if size < 0),
        )

    def _ints(self, count: int, as_numpy: Callable[[], Any]) -> tuple[int, ...]:
        return tuple(int(value) for value in as_numpy()[: self._count(count)]) if count else ()

    def _quant(self, raw: Any, shape: tuple[int, ...], dtype: str, index: int) -> QuantParams | None:
        if raw is None or raw.ScaleLength() == 0:
            return None
        scale = tuple(float(value) for value in raw.ScaleAsNumpy()[: self._count(raw.ScaleLength())])
        zero_point = self._ints(raw.ZeroPointLength(), raw.ZeroPointAsNumpy) or (0,) * len(scale)
        # TOCO wrote the dimension carelessly (3 for a single scale and for biases in person_detect.tflite), and the
        # kernels do not read it there.
        axis = raw.QuantizedDimension() if len(scale) > 1 and len(shape) > 1 else 0
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            raise ValueError(f"tensor {index} has {len(scale)} scales for axis {axis} of {list(shape)}")
        limits = np.iinfo(dtype) if np.issubdtype(np.dtype(dtype), np.integer) else np.iinfo(np.int64)
        fits = all(limits.min <= value <= limits.max for value in zero_point)
        if len(zero_point) != len(scale) or not fits or not all(math.isfinite(value) and value > 0 for value in scale):
            raise ValueError(f"tensor {index} has impossible quantization parameters")
        return QuantParams(scale, zero_point, int(axis))

    def _constant(self, buffer_index: int, shape: tuple[int, ...], dtype: str, index: int) -> NDArray[Any] | None:
        if not 0 <= buffer_index < self._model.BuffersLength():
            raise ValueError(f"tensor {index} names buffer {buffer_index} of {self._model.BuffersLength()}")
        buffer = self._model.Buffers(buffer_index)
        if buffer.Offset() > 1:  # schema.fbs, table Buffer: data of models over 2 GiB stand behind the flatbuffer
            raise self._error(
                f"the weights of tensor {index} stand outside the flatbuffer, as in models over 2 GiB",
                "use a smaller model",
            )
        if buffer.DataLength() == 0:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype=np.dtype(dtype).newbyteorder("<"))
        values = values.astype(dtype, copy=False).reshape(shape)
        values.flags.writeable = False
        return values

    def _op(self, subgraph: Any, index: int, tensors: int) -> Op:
        raw = subgraph.Operators(index)
        if not 0 <= raw.OpcodeIndex() < self._model.OperatorCodesLength():
            raise ValueError(f"op {index} names operator code {raw.OpcodeIndex()}")
        code = self._model.OperatorCodes(raw.OpcodeIndex())
        builtin = _builtin_code(code)
        name = BUILTIN_OPCODE2NAME.get(builtin, f"BUILTIN_{builtin}")
        options = _options(raw, name)
        if name == "CUSTOM":
            options = {"custom_code": self._text(code.CustomCode())}
        return Op(
            index=index,
            name=name,
            version=int(code.Version()),
            inputs=self._indices(raw.InputsLength(), raw.InputsAsNumpy, tensors, lowest=-1),
            outputs=self._indices(raw.OutputsLength(), raw.OutputsAsNumpy, tensors, lowest=0),
            options=MappingProxyType(options),
        )


def _builtin_code(code: Any) -> int:
    """Of the two fields the larger one, as TFLite takes it; ``code.BuiltinCode()`` prefers the old one, even if 0.

    Source: tensorflow/lite/schema/schema_utils.cc, GetBuiltinCode.
    """
    table = code._tab
    field = table.Offset(_BUILTIN_CODE)
    (new,) = struct.unpack_from("<i", table.Bytes, table.Pos + field) if field else (0,)
    return max(int(new), int(code.DeprecatedBuiltinCode()))


def _options(raw: Any, name: str) -> dict[str, Any]:
    """The attributes of one operator ``name``, in snake_case; enumerations by their schema names."""
    table = raw.BuiltinOptions()
    kind = _enum_name(BuiltinOptions, raw.BuiltinOptionsType())
    if table is None or kind == "NONE":
        return {}
    if kind != _kind_of(name, kind):  # TFLite would take what lies in its memory
        raise ValueError(f"an operator {name} has {kind}")
    options = _options_class(kind)()
    options.Init(table.Bytes, table.Pos)
    return {name: _attribute(name, options, getter) for name, getter in _getters(kind)}


def _attribute(name: str, options: Any, getter: str) -> Any:
    if hasattr(options, f"{getter}Length"):
        values = getattr(options, f"{getter}AsNumpy")() if getattr(options, f"{getter}Length")() else ()
        if len(values) > _MAX_OPTION_ELEMENTS:
            raise ValueError(f"attribute {name} has {len(values)} elements")
        return tuple(int(value) for value in values)
    value = getattr(options, getter)()
    if name in _ENUMERATIONS:
        return _enum_name(_ENUMERATIONS[name], value)
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


@cache
def _kind_of(name: str, default: str) -> str:
    """The options that an op has by the schema; ``default`` for one that has none of its name."""
    plain = f"{name.replace('_', '')}options".lower()
    named = (kind for kind in _names(BuiltinOptions).values() if kind.lower() == plain)
    return _SHARED_OPTIONS.get(name) or next(named, default)


def _options_class(kind: str) -> Any:
    return getattr(importlib.import_module(f"tflite.{kind}"), kind)


@cache
def _getters(kind: str) -> tuple[tuple[str, str], ...]:
    """(snake_case name, method) of each field of a generated options class."""
    methods = [name for name in vars(_options_class(kind)) if name[0].isupper() and name != "Init"]
    fields = [
        name
        for name in methods
        if not name.startswith("GetRootAs")
        and not name.endswith(("BufferHasIdentifier", "AsNumpy", "Length", "IsNone"))
    ]
    return tuple((_snake_case(name), name) for name in fields)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def _names(enumeration: Any) -> Mapping[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _enum_name(enumeration: Any, value: int) -> str:
    return _names(enumeration)[value]
