"""A flatbuffer without what no interpreter reads: it lies in the flash of the microcontroller whole.

TensorFlow names a tensor after all the nodes that it fused into it, separated by semicolons: in a DS-CNN of a few
thousand bytes, a third of them.
"""

from __future__ import annotations

from typing import Any

import flatbuffers

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of constants: force_align of Buffer.data in TensorFlow's schema.fbs


def slim(model: bytes) -> bytes:
    """``model``, as the converter wrote it, with the same tensors, ops and constants, and shorter names.

    A value is named after the first of its nodes, which tells its layer; a constant has no name. Values share the empty
    buffer 0. Metadata goes: TensorFlow's version, which run.json has too.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    made = schema.ModelT.InitFromPackedBuf(model, 0)
    buffers, places = [schema.BufferT()], {}
    for subgraph in made.subgraphs:
        for tensor in subgraph.tensors:
            buffer = made.buffers[tensor.buffer]
            if buffer.data is None:
                tensor.name, tensor.buffer = tensor.name.split(b";")[0], 0
                continue
            if tensor.buffer not in places:
                places[tensor.buffer] = len(buffers)
                buffers.append(buffer)
            tensor.name, tensor.buffer = None, places[tensor.buffer]
    made.buffers, made.metadata = buffers, None
    writer = _Writer(len(model))
    writer.Finish(made.Pack(writer), _IDENTIFIER)
    return bytes(writer.Output())


class _Writer(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """Aligns bytes as the schema says; the classes that flatc makes for Python do not."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803  # overridden
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)
