"""A slim flatbuffer: the same graph in fewer bytes, its constants aligned as the schema says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_nets
from conftest import needs_reference
from numpy.typing import NDArray
from tflite.Model import Model

from kd_embedded import interpreters, keras_files, quantize, students
from kd_embedded.config import StudentSpec
from kd_embedded.tflite.read import parse_model
from kd_embedded.tflite.slim import slim

keras_files.start_tensorflow()
_NETS = {net.__name__: net for net in (small_nets.conv_net, small_nets.depthwise_net, small_nets.residual_net)}


@pytest.fixture(scope="module")
def converted() -> dict[str, tuple[bytes, bytes]]:
    """Students as the converter writes them, and as they are written: weights differ as those of trained ones do."""
    made = {}
    for name, arch in (("mlp", "mlp"), ("ds_cnn", "ds_cnn"), ("untrained", "ds_cnn")):
        student = students.build(StudentSpec(arch=arch, width=0.125), (8, 8, 1), 5, 1, Path())
        random = np.random.default_rng(0)
        for variable in student.variables if name != "untrained" else ():
            variable.assign(random.uniform(0.1, 1.0, variable.shape).astype(np.float32))
        x = random.random((20, 8, 8, 1), np.float32)
        asked = quantize.Settings(softmax=False, per_tensor_dense=False, representative_samples=20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quantize, "slim", lambda model: model)
            whole, _ = quantize.quantize(student, x, asked, arch)
        made[name] = (whole, quantize.quantize(student, x, asked, arch)[0])
    return made


def _contents(model: bytes) -> tuple[Any, ...]:
    """All of a graph but its names and sizes."""
    graph = parse_model(model, "model")
    tensors = [
        (each.shape, each.dtype, each.quant, each.dynamic_axes, None if each.data is None else each.data.tolist())
        for each in graph.tensors
    ]
    ops = [(op.name, op.version, op.inputs, op.outputs, dict(op.options)) for op in graph.ops]
    return tensors, ops, graph.inputs, graph.outputs


def _starts(model: bytes) -> list[int]:
    """Where the constants of a flatbuffer begin."""
    root = Model.GetRootAs(model, 0)
    buffers = [root.Buffers(i) for i in range(root.BuffersLength())]
    return [each._tab.Vector(each._tab.Offset(4)) for each in buffers if each.DataLength()]


@pytest.mark.parametrize("arch", ["mlp", "ds_cnn"])
def test_the_graph_is_the_same_in_fewer_bytes(arch: str, converted: dict[str, tuple[bytes, bytes]]) -> None:
    whole, written = converted[arch]
    assert written == slim(whole) == slim(written)
    assert _contents(written) == _contents(whole)
    assert len(written) < {"mlp": 0.98, "ds_cnn": 0.75}[arch] * len(whole)
    assert len(_starts(written)) == len(_starts(whole)) - 2, "metadata: the least version, and how it was converted"


@pytest.mark.parametrize("net", _NETS)
def test_constants_are_aligned_and_nothing_else_changes(net: str) -> None:
    model = _NETS[net]()
    made = slim(model)
    assert _contents(made) == _contents(model)
    assert [start % 16 for start in _starts(made)] == [0] * len(_starts(model))
    assert len(made) % 16 == 0, "an array of C that is aligned keeps every constant aligned"


def test_values_are_named_after_their_layer_and_constants_by_their_number(
    converted: dict[str, tuple[bytes, bytes]],
) -> None:
    graph = parse_model(converted["ds_cnn"][1], "ds_cnn")
    values = [tensor.name for tensor in graph.tensors if tensor.data is None]
    assert not [name for name in values if ";" in name]
    assert {"conv_relu", "dw1_relu", "pw4_relu", "pool"} <= {_layer(name) for name in values}
    assert all(tensor.name == f"#{tensor.index}" for tensor in graph.tensors if tensor.data is not None)


def _layer(name: str) -> str:
    student = students.build(StudentSpec(arch="ds_cnn", width=0.125), (8, 8, 1), 5, 1, Path())
    return quantize.layer_in(name, student)


def test_equal_constants_are_stored_once(converted: dict[str, tuple[bytes, bytes]]) -> None:
    """The converter writes the biases of an untrained student, which are all zero, as one buffer."""
    whole, written = converted["untrained"]
    assert _contents(written) == _contents(whole)
    constants = [tensor for tensor in parse_model(written, "untrained").tensors if tensor.data is not None]
    assert len(_starts(written)) == len(_starts(whole)) - 2 < len(constants)


@needs_reference
@pytest.mark.parametrize("arch", ["mlp", "ds_cnn"])
def test_interpreters_compute_the_same_bytes(arch: str, converted: dict[str, tuple[bytes, bytes]]) -> None:
    x: NDArray[np.int8] = np.random.default_rng(1).integers(-128, 128, (20, 8, 8, 1)).astype(np.int8)
    outputs = [interpreters.run(kind, model, x) for kind in ("builtin_ref", "tflm") for model in converted[arch]]
    assert all(np.array_equal(output, outputs[0]) for output in outputs)
    assert len(np.unique(outputs[0])) > 2
