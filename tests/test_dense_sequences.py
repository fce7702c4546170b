"""Keras' Dense on sequences and in squeeze-and-excitation blocks: per channel on more axes than BUILTIN_REF gets right.

From Keras to both engines, with TFLM and the integer references as each other's proof.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_reference, require_tool

from kd_embedded import codegen, interpreters, keras_files, quantize, reference
from kd_embedded.boards import load_board
from kd_embedded.cores import load_core
from kd_embedded.emulate import emulate_folder, emulate_model
from kd_embedded.errors import ModelError
from kd_embedded.tflite.check import reference_departures
from kd_embedded.tflite.read import parse_model
from kd_embedded.validate import failures, validate

keras_files.start_tensorflow()
_SETTINGS = quantize.Settings(softmax=False, per_tensor_dense=False, representative_samples=10)
_SHAPES = {"sequence": (9, 5), "squeeze": (7, 6, 3)}


def _student(name: str) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = x = layers.Input(_SHAPES[name])
    if name == "sequence":
        x = layers.Dense(12, activation="relu")(x)
        x = layers.Dense(7)(x)
        x = layers.Flatten()(x)
    else:
        x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Dense(4, activation="relu")(gate)
        gate = layers.Dense(8, activation="sigmoid")(gate)
        x = layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate]))
    return keras.Model(inputs, layers.Dense(4)(x))


@pytest.fixture(scope="module", params=_SHAPES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 student, accepted by both engines."""
    samples = np.random.default_rng(0).normal(size=(10, *_SHAPES[request.param])).astype(np.float32)
    student = _student(request.param)
    data, _ = quantize.quantize(student, samples, _SETTINGS, request.param, "aot")
    assert quantize.quantize(student, samples, _SETTINGS, request.param, "tflm")[0] == data
    path = tmp_path_factory.mktemp("dense") / f"{request.param}.tflite"
    path.write_bytes(data)
    return path


def _inputs(model: Path, count: int) -> Any:
    return np.random.default_rng(1).integers(-128, 128, (count, *_SHAPES[model.stem]), dtype=np.int8)


@needs_reference
def test_two_layers_are_beyond_builtin_ref(model: Path) -> None:
    data, x = model.read_bytes(), _inputs(model, 60)
    departures = reference_departures(parse_model(data, model.name))
    assert [each.op_name for each in departures] == ["FULLY_CONNECTED"] * 2
    tflm = interpreters.run("tflm", data, x)
    assert np.array_equal(reference.run(parse_model(data, model.name), x), tflm)
    assert (interpreters.run("builtin_ref", data, x) != tflm).any()


@needs_reference
@pytest.mark.parametrize("core", ["host", "cortex-m4", "cortex-m55"])
def test_generated_c_is_proven_by_tflm(model: Path, core: str) -> None:
    chosen = load_core(core)
    for tool in (f"{chosen.tools}gcc", *(machine.emulator for machine in chosen.machines)):
        require_tool(tool)
    done = emulate_model(model.read_bytes(), model.name, chosen, _inputs(model, 6), count=False)
    assert done.equal and done.oracle == "tflm" and done.compared.bytes_compared == 6 * 4


@needs_reference
@pytest.mark.parametrize("engine", ["tflm", "aot"])
def test_validation_proves_both_engines(model: Path, engine: str) -> None:
    document = validate(model, _inputs(model, 40), engine=engine)
    assert failures(document) == [] and document["missing_proof"] == []
    assert document["interpreters"]["tflm"]["against"] == "reference"
    assert document["interpreters"]["tflm"]["bytes_different"] == 0
    assert len(document["reference_departures"]) == 2


@needs_reference
def test_projects_of_both_engines(model: Path, tmp_path: Path) -> None:
    require_tool("gcc")
    told = "which BUILTIN_REF does not: op"
    (aot,) = codegen.plan_file(model, [(load_board("pico"), tmp_path / "aot")], name="net", engine="aot")
    assert told in aot.generated["README.md"]
    aot.write()
    assert emulate_folder(tmp_path / "aot", load_core("host")).equal
    (tflm,) = codegen.plan_file(model, [(load_board("esp32"), tmp_path / "tflm")], name="net")
    assert told in tflm.generated["README.md"]
    with pytest.raises(ModelError, match="one weight scale per output channel"):
        codegen.plan_file(model, [(load_board("pico"), tmp_path / "other")], name="net")
