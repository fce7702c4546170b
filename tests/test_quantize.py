"""Keras to full int8: what comes out, and the layer that is named where it cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_reference

from kd_embedded import calibrate, float_graph, interpreters, keras_files, qat, quantize, students
from kd_embedded.config import StudentSpec, parse_config
from kd_embedded.errors import ModelError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import quantize as stage
from kd_embedded.tflite.check import per_channel_dense, tflm_departures

keras_files.start_tensorflow()
_SETTINGS = quantize.Settings(softmax=False, per_tensor_dense=False, representative_samples=20)


def _student(arch: str, shape: tuple[int, ...] = (12, 12, 1)) -> Any:
    return students.build(StudentSpec(arch=arch, width=0.5), shape, 5, 1, Path())


def _x(shape: tuple[int, ...] = (12, 12, 1)) -> Any:
    return np.random.default_rng(0).random((20, *shape), np.float32)


@pytest.mark.parametrize("arch", students.names())
def test_every_student_becomes_full_int8(arch: str) -> None:
    _, graph = quantize.quantize(_student(arch), _x(), _SETTINGS, arch)
    assert graph.input.dtype == graph.output.dtype == "int8"
    assert graph.input.shape == (1, 12, 12, 1)
    assert not tflm_departures(graph)


@needs_reference
@pytest.mark.parametrize("arch", students.names())
def test_tflm_computes_every_student_as_the_reference(arch: str) -> None:
    model, _ = quantize.quantize(_student(arch), _x(), _SETTINGS, arch)
    x = np.random.default_rng(1).integers(-128, 128, (30, 12, 12, 1)).astype(np.int8)
    assert np.array_equal(interpreters.run("builtin_ref", model, x), interpreters.run("tflm", model, x))


def test_the_same_student_gives_the_same_bytes_and_int8_follows_float() -> None:
    student = _student("tiny_cnn")
    first, graph = quantize.quantize(student, _x(), _SETTINGS, "student")
    again, _ = quantize.quantize(student, _x(), _SETTINGS, "student")
    assert first == again
    quant_in, quant_out = graph.input.quant, graph.output.quant
    assert quant_in and quant_out
    x_q = np.clip(np.rint(_x() / quant_in.scale[0]) + quant_in.zero_point[0], -128, 127).astype(np.int8)
    y = (interpreters.run("builtin_ref", first, x_q).astype(float) - quant_out.zero_point[0]) * quant_out.scale[0]
    expected = np.array(student(_x()))
    assert np.abs(y - expected).max() < 0.1 * np.abs(expected).max() + 2 * quant_out.scale[0]


def test_dense_per_tensor_and_softmax_output_as_asked() -> None:
    student = _student("mlp")
    _, per_channel = quantize.quantize(student, _x(), _SETTINGS, "student")
    assert per_channel_dense(per_channel)
    settings = quantize.Settings(softmax=True, per_tensor_dense=True, representative_samples=20)
    _, per_tensor = quantize.quantize(student, _x(), settings, "student")
    assert not per_channel_dense(per_tensor)
    assert per_tensor.ops[-1].name == "SOFTMAX"
    assert per_tensor.output.quant and per_tensor.output.quant.scale == (1 / 256,)


class _Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def _run(folder: Path, recipe: str = "kd", **keys: Any) -> Run:
    """A run whose student was distilled by ``recipe``; its data are 25 inputs without values."""
    np.savez(folder / "data.npz", x_train=np.zeros((25, 12, 12, 1), np.float32), y_train=np.arange(25) % 5)
    document = {
        "project": {"boards": ["esp32"]},
        "data": {"source": "npz:data.npz"},
        "teacher": {"kind": "python", "function": "own:logits"},
        "quantize": keys,
    }
    run = Run(parse_config(document, "kd.toml"), folder, _Told())
    run.state["distill"] = {"recipe": recipe}
    return run


@pytest.mark.parametrize(
    ("calibration", "epochs", "noted", "said"),
    [
        ("converter", 1, {"ptq": "converter", "qat": "minmax"}, ["  fine-tuning takes ranges of minmax"]),
        ("converter", 0, {"ptq": "converter"}, []),
        ("auto", 1, {"ptq": "minmax", "qat": "minmax"}, []),
        ("mse", 1, {"ptq": "mse", "qat": "mse"}, []),
    ],
)
def test_the_calibration_of_each_model_is_kept_and_another_than_was_asked_for_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calibration: str,
    epochs: int,
    noted: dict[str, str],
    said: list[str],
) -> None:
    run = _run(tmp_path, calibration=calibration, qat_epochs=epochs)
    monkeypatch.setattr(stage, "_representative", lambda _: _x())
    monkeypatch.setattr(stage, "_fine_tune", lambda *_: None)
    assert stage.models(run, _student("mlp")).keys() == noted.keys()
    assert run.notes == {"calibration": noted, "calibrated_on": 20}
    assert isinstance(run.progress, _Told)
    assert [line.partition(":")[0] for line in run.progress.lines] == said


@pytest.mark.parametrize(("recipe", "told"), [("kd", False), ("hints", True), ("attention", True)])
def test_fine_tuning_by_another_recipe_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, told: bool
) -> None:
    run = _run(tmp_path, recipe, qat_epochs=1)
    monkeypatch.setattr(stage.distill, "objective", lambda *_, **__: None)
    monkeypatch.setattr(run, "key", lambda _: "")
    monkeypatch.setattr(stage.teach, "fit", lambda *_, **__: None)
    graph = qat.trace(_student("mlp"), _x(), "student")
    stage._fine_tune(run, qat.fake_quantized(graph, calibrate.ranges(graph, _x(), "minmax")))
    assert isinstance(run.progress, _Told)
    wanted = f"  fine-tuning by kd: {recipe} learns by feature maps, which the rounded student lacks"
    assert run.progress.lines == [wanted] * told


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_a_recurrent_layer_that_is_a_loop_is_refused_before_the_converter_dies_of_it(kind: str) -> None:
    import keras

    layer = getattr(keras.layers, kind)(4, name="memory")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Bidirectional(layer), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match=rf"\({kind}\) is a loop: make the layer with unroll=True"):
        quantize.quantize(model, _x((5, 3)), _SETTINGS, "student.keras")


@pytest.mark.parametrize("function", ["erfinv", "floor", "cos"])
def test_a_layer_without_an_int8_form_is_named(function: str) -> None:
    import keras
    import tensorflow as tf

    bad = keras.layers.Lambda(getattr(tf.math, function), name="odd_layer")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), bad, keras.layers.Dense(3)])
    with pytest.raises(ModelError, match="in layer 'odd_layer' has no int8 form") as caught:
        quantize.quantize(model, _x((8,)), _SETTINGS, "student.keras")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("odd", range(3))
def test_layers_with_the_names_of_keras_are_told_apart(odd: int) -> None:
    import keras
    from keras import layers

    keras.utils.clear_session()  # so that the names begin at "activation" again
    x = inputs = keras.Input((8, 8, 2))
    for at in range(3):
        x = layers.Activation("softplus" if at == odd else "relu")(layers.Conv2D(3, 3)(x))
    student = keras.Model(inputs, layers.Flatten()(x))
    paths = [tensor.name for tensor in float_graph.activations(quantize.float_graph(student, "student"))]
    wanted = ["activation", "activation_1", "activation_2"]
    for find in (quantize.layer_in, quantize.last_layer_in):
        found = dict.fromkeys(find(path, student) for path in paths)
        assert [name for name in found if "activation" in name] == wanted
        assert {find(path, student) for path in paths if "Softplus" in path} == {wanted[odd]}


def test_a_layer_called_twice_and_one_within_a_model_are_named() -> None:
    import keras
    from keras import layers

    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, activation="tanh", name="dense_3")], name="inner")
    inputs = keras.Input((6,))
    shared = layers.Dense(6, activation="tanh", name="dense")
    x = layers.Dense(6, activation="tanh", name="dense_1")(shared(shared(inner(inputs))))
    student = keras.Model(inputs, layers.Dense(2, name="dense_3")(x))
    graph = quantize.float_graph(student, "student")
    found = [quantize.layer_in(graph.tensors[op.outputs[0]].name, student) for op in graph.ops if op.name == "TANH"]
    assert found == ["inner", "dense", "dense", "dense_1"]


def test_the_aot_engine_has_ops_of_its_own() -> None:
    """UpSampling2D becomes TILE, which TFLM lacks; attention is in both; UnitNormalization is in TFLM alone."""
    import keras

    grown = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.UpSampling2D(), keras.layers.Flatten()])
    with pytest.raises(ModelError, match=r"TILE\) is not among the ops of TensorFlow Lite Micro"):
        quantize.quantize(grown, _x((4, 4, 2)), _SETTINGS, "grown")
    _, graph = quantize.quantize(grown, _x((4, 4, 2)), _SETTINGS, "grown", "aot")
    assert "TILE" in {op.name for op in graph.ops}
    inputs = keras.Input((4, 6))
    attention = keras.Model(inputs, keras.layers.MultiHeadAttention(1, 3)(inputs, inputs))
    _, graph = quantize.quantize(attention, _x((4, 6)), _SETTINGS, "attention", "aot")
    assert "BATCH_MATMUL" in {op.name for op in graph.ops}
    unit = keras.Model(inputs, keras.layers.UnitNormalization()(inputs))
    with pytest.raises(ModelError, match=r"\(SUM\) is not among the ops of the aot engine: use --engine tflm"):
        quantize.quantize(unit, _x((4, 6)), _SETTINGS, "unit", "aot")
