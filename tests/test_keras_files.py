"""Models on disk: safe loading, the same bytes for the same model, logits whatever the file gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_embedded import keras_files, students
from kd_embedded.config import StudentSpec, TeacherSpec
from kd_embedded.errors import ModelError
from kd_embedded.teachers import keras as keras_teacher
from kd_embedded.teachers import zoo

keras_files.start_tensorflow()
_X = np.random.default_rng(0).random((9, 8), np.float32)


def _model(*last: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="a"), *last])


def test_saving_twice_gives_the_same_bytes_and_the_same_model(tmp_path: Path) -> None:
    import keras

    model = _model(keras.layers.Dropout(0.5), keras.layers.Dense(3))
    keras_files.save(model, tmp_path / "a.keras")
    keras_files.save(keras_files.load(tmp_path / "a.keras"), tmp_path / "b.keras")
    keras_files.save(model, tmp_path / "c.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "c.keras").read_bytes()
    assert np.array_equal(keras_files.load(tmp_path / "b.keras")(_X), model(_X))
    assert not list(tmp_path.glob(".kd-*"))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_with_the_flag_that_allows_it(tmp_path: Path, suffix: str) -> None:
    import keras

    path = tmp_path / f"evil{suffix}"
    _model(keras.layers.Lambda(lambda x: x * 2)).save(path)
    with pytest.raises(ModelError, match="Lambda layer.*allow_lambda = true"):
        keras_files.load(path)
    assert keras_files.load(path, allow_lambda=True)(_X).shape == (9, 4)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.keras", None, "no such file"),
        ("model.pt", b"x", "is not a .keras or .h5 file"),
        ("cut.keras", b"PK\x03\x04", "is damaged, or holds weights alone"),
        ("cut.h5", b"\x89HDF", "is damaged, or holds weights alone"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=says):
        keras_files.load(tmp_path / name)


def test_a_model_whose_layer_keras_does_not_know_is_one_line(tmp_path: Path) -> None:
    import zipfile

    keras_files.save(_model(), tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"Dense"', b'"Danse"'))
    with pytest.raises(ModelError, match="cannot be loaded"):
        keras_files.load(tmp_path / "b.keras")


def test_every_final_softmax_becomes_logits() -> None:
    import keras

    kinds = (
        keras.layers.Dense(3, activation="softmax", name="b"),
        (keras.layers.Dense(3, name="b"), keras.layers.Softmax()),
        (keras.layers.Dense(3, name="b"), keras.layers.Activation("softmax")),
    )
    for last in kinds:
        model = _model(*(last if isinstance(last, tuple) else (last,)))
        probabilities = np.array(model(_X))
        logits = np.array(keras_files.as_logits(model, "auto")(_X))
        exponentials = np.exp(logits)
        assert np.allclose(exponentials / exponentials.sum(1, keepdims=True), probabilities, atol=1e-6)
        assert not np.allclose(logits, probabilities)
    plain = _model(keras.layers.Dense(3))
    assert keras_files.as_logits(plain, "auto") is plain
    assert keras_files.as_logits(plain, "logits") is plain
    hidden = _model(keras.layers.Dense(3, activation="softmax"), keras.layers.Reshape((3,)))
    logits = np.array(keras_files.as_logits(hidden, "probabilities")(_X))
    assert np.allclose(np.exp(logits), hidden(_X), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "classes", "says"),
    [((8,), 3, "gives 4 classes, the data has 3"), ((7,), 4, "takes inputs of shape"), ((8, 1), 4, "takes inputs")],
)
def test_a_model_that_does_not_suit_the_data_is_one_line(shape: tuple[int, ...], classes: int, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        keras_files.check_fits(_model(), shape, classes, "teacher.keras")


def test_teachers_from_files_are_frozen_finetuned_or_trained_anew_and_scaled_as_said(tmp_path: Path) -> None:
    import keras

    model = _model(keras.layers.Dense(3, activation="softmax"))
    keras_files.save(model, tmp_path / "own.keras")
    expected = np.log(np.array(model(_X * 2 - 1)))

    def build(**keys: Any) -> Any:
        spec = TeacherSpec(file="own.keras", **keys)
        return np.array(keras_teacher.build(spec, (8,), 3, 1, tmp_path)(_X))

    frozen = build(mode="frozen", input_scale=2.0, input_offset=-1.0)
    assert np.allclose(frozen - frozen.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=1e-4)
    assert not np.allclose(build(mode="frozen"), build(mode="train"))
    assert np.array_equal(build(mode="train"), build(mode="train"))


def test_models_without_a_shape_or_with_named_outputs_are_one_line() -> None:
    import keras

    with pytest.raises(ModelError, match="has no fixed input shape: begin it with keras.Input"):
        keras_files.check_fits(keras.Sequential([keras.layers.Dense(3)]), (8,), 3, "own.keras")
    inputs = keras.Input((8,))
    named = keras.Model(inputs, {"class": keras.layers.Dense(3)(inputs)})
    with pytest.raises(ModelError, match="gives a dictionary of outputs"):
        keras_files.check_fits(named, (8,), 3, "own.keras")


def test_a_lambda_that_is_allowed_cannot_be_trained_anew(tmp_path: Path) -> None:
    import keras

    _model(keras.layers.Lambda(lambda x: x[:, :3])).save(tmp_path / "own.keras")
    with pytest.raises(ModelError, match='cannot be built anew: .*use mode = "finetune" or "frozen"'):
        keras_teacher.build(TeacherSpec(file="own.keras", mode="train", allow_lambda=True), (8,), 3, 1, tmp_path)


def test_a_softmax_that_hides_in_a_nested_model_is_told_not_taken_for_logits() -> None:
    import keras

    hidden = keras.Sequential([keras.Input((8,)), _model(keras.layers.Dense(3, activation="softmax"))])
    with pytest.raises(ModelError, match='own.keras: gives probabilities, and logits are needed: set outputs = "prob'):
        keras_files.check_logits(
            keras_files.as_logits(hidden, "auto"), _X, "own.keras", 'set outputs = "probabilities"'
        )
    keras_files.check_logits(keras_files.as_logits(hidden, "probabilities"), _X, "own.keras", "")


@pytest.mark.parametrize("arch", students.names())
def test_every_student_builds_scales_and_has_the_same_weights_for_the_same_seed(arch: str) -> None:
    small, large, again = (
        students.build(StudentSpec(arch=arch, width=width), (20, 24, 3), 7, 1, Path()) for width in (0.5, 2.0, 0.5)
    )
    assert small.output_shape == (None, 7)
    assert small.count_params() < large.count_params()
    assert all(np.array_equal(a, b) for a, b in zip(small.get_weights(), again.get_weights(), strict=True))


@pytest.mark.parametrize("arch", zoo.names())
def test_every_teacher_builds(arch: str) -> None:
    model = keras_teacher.build(TeacherSpec(arch=arch, width=0.5), (8, 8, 1), 4, 1, Path())
    assert model.output_shape == (None, 4)


def test_an_image_student_on_features_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"needs inputs of \[height, width, channels\], the data has \[8\]"):
        students.build(StudentSpec(), (8,), 3, 1, Path())


def test_mlperf_tiny_sizes() -> None:
    """The zoo is what it says: MLPerf Tiny's ResNet-8 has 78 666 weights trained by its reference code."""
    assert 77_000 < students.build(StudentSpec(arch="resnet8"), (32, 32, 3), 10, 1, Path()).count_params() < 80_000
    assert (
        210_000 < students.build(StudentSpec(arch="mobilenet_v1"), (96, 96, 3), 2, 1, Path()).count_params() < 225_000
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_a_model_saved_with_another_precision_computes_in_float32(tmp_path: Path, suffix: str, policy: str) -> None:
    """As trained on a GPU: a layer of layers, a model in a model, and outputs in half precision."""
    import keras

    keras.utils.set_random_seed(0)
    with_policy = {"dtype": policy}
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="float16", **with_policy)])
    inputs = keras.Input((4, 6))
    x = keras.layers.MultiHeadAttention(2, 4, **with_policy)(inputs, inputs)
    model = keras.Model(inputs, inner(keras.layers.GlobalAveragePooling1D(**with_policy)(x)))
    model.save(tmp_path / f"model{suffix}")
    loaded = keras_files.load(tmp_path / f"model{suffix}")
    x = np.random.default_rng(0).random((5, 4, 6), np.float32)
    assert loaded.outputs[0].dtype == loaded(x).dtype == "float32"
    assert {layer.dtype_policy.name for layer in loaded._flatten_layers(include_self=False)} == {"float32"}
    for found, wrote in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(found, wrote.astype(np.float32))
    np.testing.assert_allclose(loaded(x), np.asarray(model(x), np.float32), atol=0.02)


def test_a_file_of_keras_2_with_mixed_precision_computes_in_float32(tmp_path: Path) -> None:
    """There a policy is an object that Keras 3 has no class for."""
    import h5py

    path = tmp_path / "own.h5"
    model = _model()
    model.save(path)
    with h5py.File(path, "r+") as stored:
        config = json.loads(stored.attrs["model_config"])
        for layer in config["config"]["layers"][1:]:
            layer["config"]["dtype"] = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
        stored.attrs["model_config"] = json.dumps(config)
    assert np.array_equal(keras_files.load(path)(_X), model(_X))


def _unsuitable(name: str) -> Any:
    import keras
    from keras import layers, ops

    inputs = keras.Input((8,))
    one = keras.Input(batch_shape=(1, 8))
    return {
        "bytes": lambda: keras.Sequential([keras.Input((8,), dtype="uint8"), layers.Dense(3)]),
        "a name": lambda: keras.Model(inputs, layers.Dense(3, name="my dense (1)")(inputs)),
        "one at a time": lambda: keras.Model(one, layers.Dense(3)(ops.reshape(one, (1, 8)))),
    }[name]()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bytes", "takes uint8 inputs, and is given float32: .* set input_scale = 255.0"),
        ("a name", r"has a layer or model called 'my dense \(1\)': rename it"),
        ("one at a time", "fails on a batch of two inputs: .*: save it with a free batch size"),
    ],
)
def test_a_model_that_cannot_be_asked_as_others_are_is_one_line(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        keras_files.check_fits(_unsuitable(name), (8,), 3, "own.keras")
    assert "\n" not in str(caught.value)


def test_one_output_for_two_classes_is_told_how_to_be_two() -> None:
    import keras

    with pytest.raises(ModelError, match="gives 1 classes, the data has 2: end it in two logits"):
        keras_files.check_fits(_model(keras.layers.Dense(1, activation="sigmoid")), (8,), 2, "own.keras")


def test_a_sigmoid_is_told_not_taken_for_logits() -> None:
    import keras

    with pytest.raises(ModelError, match="ends in a sigmoid, and logits are needed: mend it"):
        keras_files.check_logits(_model(keras.layers.Dense(3, activation="sigmoid")), _X, "own.keras", "mend it")
    inner = _model(keras.layers.Dense(3, activation="sigmoid"))
    outer = keras.Sequential([keras.Input(inner.input_shape[1:]), inner])
    with pytest.raises(ModelError, match="ends in a sigmoid"):
        keras_files.check_logits(outer, _X, "own.keras", "mend it")


def test_only_the_softmax_that_gives_the_output_is_stripped() -> None:
    """Operations behind it stay, and so does a layer that is called elsewhere too."""
    import keras
    from keras import layers, ops

    inputs = keras.Input((8,))
    shared = layers.Dense(8, activation="softmax")
    logarithm = keras.Model(inputs, ops.log(layers.Softmax()(layers.Dense(3)(inputs)) + 1e-7))
    twice = keras.Model(inputs, shared(shared(inputs)))
    for model in (logarithm, twice):
        assert keras_files.as_logits(model, "auto") is model
        expected = np.log(np.clip(np.array(model(_X)), 1e-7, 1.0))
        assert np.allclose(keras_files.as_logits(model, "probabilities")(_X), expected, atol=1e-5)


def test_a_lambda_in_the_loss_is_no_lambda_layer(tmp_path: Path) -> None:
    model = _model()
    model.compile(loss=lambda y, p: p)
    model.save(tmp_path / "own.keras")
    assert np.array_equal(keras_files.load(tmp_path / "own.keras")(_X), model(_X))


def test_new_weights_are_all_trainable_and_keep_what_was_adapted() -> None:
    import keras

    normalization = keras.layers.Normalization()
    normalization.adapt(100 * _X)
    model = keras.Sequential([keras.Input((8,)), normalization, keras.layers.Dense(3, trainable=False)])
    fresh = keras_files.fresh_weights(model, 1)
    assert len(fresh.trainable_weights) == 2
    assert np.array_equal(fresh.layers[0](100 * _X), model.layers[0](100 * _X))
    assert not np.array_equal(fresh.layers[1].kernel, model.layers[1].kernel)


def test_what_keras_cannot_find_is_named(tmp_path: Path) -> None:
    import keras

    class Square(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def call(self, x: Any) -> Any:
            return x * x

    _model(Square()).save(tmp_path / "own.keras")
    with pytest.raises(ModelError, match=r"cannot be loaded: Could not locate class 'Square': save it .* of standard"):
        keras_files.load(tmp_path / "own.keras")
