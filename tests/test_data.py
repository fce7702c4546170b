"""Data sources: what they read, how they split, and what they refuse."""

import base64
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import npz_data
import numpy as np
import pytest

from kd_embedded import data
from kd_embedded.config import DataSpec
from kd_embedded.errors import ConfigError, KdError


def _arrays(count: int = 60) -> npz_data.Arrays:
    generator = np.random.default_rng(0)
    return {"x_train": generator.random((count, 6, 5, 1), np.float32), "y_train": np.arange(count) % 3}


def test_digits_are_real_and_scaled_to_one() -> None:
    found = data.load(DataSpec(), Path())
    assert found.x.shape == (1797, 8, 8, 1)
    assert found.classes == 10
    assert found.inputs(np.arange(1797)).max() == 1.0


def test_splits_are_stratified_disjoint_whole_and_follow_the_seed() -> None:
    spec = DataSpec()
    found = data.load(spec, Path())
    first, again, other = data.split(found, spec, 1), data.split(found, spec, 1), data.split(found, spec, 2)
    parts = (first.train, first.val, first.test)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1797))
    assert all(np.array_equal(a, b) for a, b in zip(parts, (again.train, again.val, again.test), strict=True))
    assert not np.array_equal(first.test, other.test)
    for part, share in zip(parts, (0.68, 0.12, 0.2), strict=True):
        counts = np.bincount(found.y[part]) / np.bincount(found.y)
        assert np.allclose(counts, share, atol=0.01)


def test_a_source_keeps_its_own_test_split(tmp_path: Path) -> None:
    arrays = _arrays() | {"x_test": np.ones((9, 6, 5, 1), np.float32), "y_test": np.arange(9) % 3}
    found, splits = npz_data.load(tmp_path, arrays)
    assert (found.x[splits.test] == 1).all()
    assert len(splits.test) == 9
    assert len(splits.val) == 9  # 15 % of 60


def test_string_labels_channel_axis_byte_scale_and_limit(tmp_path: Path) -> None:
    arrays = {"x_train": np.full((40, 4, 4), 255, np.uint8), "y_train": np.array(["no", "yes"] * 20)}
    found, splits = npz_data.load(tmp_path, arrays, max_per_class=5)
    assert found.class_names == ("no", "yes")
    assert found.input_shape == (4, 4, 1)
    assert found.inputs(splits.train).max() == pytest.approx(1.0)
    assert np.bincount(found.y[splits.train]).tolist() == [5, 5]
    assert not np.array_equal(splits.train, np.arange(10))  # drawn, not the first ones


def _without(name: str) -> Callable[[npz_data.Arrays], npz_data.Arrays]:
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without("y_train"), "has no array y_train; it holds x_train"),
        (_without("x_train"), "has no array x_train"),
        (lambda a: a | {"y_train": a["y_train"][:-1]}, "x_train has shape (60, 6, 5, 1) and y_train (59,)"),
        (lambda a: a | {"y_train": np.eye(60)}, "they should be [N, ...] and [N]"),
        (lambda a: a | {"x_train": np.where(a["x_train"] > 0.9, np.nan, a["x_train"])}, "NaN or infinity in sample"),
        (lambda a: a | {"y_train": a["y_train"] - 1}, "labels run from -1 to 1, out of range"),
        (lambda a: a | {"y_train": a["y_train"] * 10**6}, "labels run from 0 to 2000000, out of range"),
        (lambda a: a | {"class_names": np.array(["a", "b"])}, "out of range for 2 classes"),
        (lambda a: a | {"y_train": a["y_train"] * 0}, "only one class"),
        (lambda a: a | {"y_train": a["y_train"] * 0.5}, "labels have dtype float64"),
        (lambda a: a | {"x_train": a["x_train"].astype(str)}, "x_train has dtype <U32"),
        (lambda a: a | {"x_test": a["x_train"]}, "has x_test but no y_test"),
        (lambda a: a | {"x_test": a["x_train"][:, :3], "y_test": a["y_train"]}, "give all splits one shape"),
        (lambda a: a | {"x_test": a["x_train"][:0], "y_test": a["y_train"][:0]}, "x_test is empty"),
        (lambda a: a | {"y_train": np.where(a["y_train"] == 1, 0, a["y_train"])}, "class '1' has no training sample"),
        (lambda a: {"x_train": a["x_train"][:3], "y_train": a["y_train"][:3]}, "the validation split is empty"),
        (lambda a: a | {"y_train": np.array([{}] * 60, object)}, "is not a readable .npz"),
        (lambda a: a | {"class_names": np.array(["a", "b", "a"])}, "two classes are named 'a'"),
        (lambda a: a | {"class_names": np.array(["a", "b", " "])}, "the class name ' ' is empty"),
        (lambda a: a | {"class_names": np.array(["a", "b", "c\0d"])}, "holds a NUL"),
        (lambda a: a | {"class_names": np.array(["a", "b", "\ud800"])}, "is not valid Unicode"),
        (lambda a: a | {"x_train": a["x_train"].astype(np.float64) * 1e300}, "NaN or infinity in sample"),
        (lambda a: a | {"w_train": np.ones(59)}, "w_train has shape (59,) and dtype float64: give 60 real numbers"),
        (lambda a: a | {"w_train": np.where(np.arange(60) == 7, -1.0, 1.0)}, "w_train[7] is -1.0: weights are numbers"),
        (lambda a: a | {"w_train": np.where(np.arange(60) == 8, np.nan, 1.0)}, "w_train[8] is nan"),
        (lambda a: a | {"w_train": np.zeros(60)}, "w_train is zero throughout"),
        (lambda a: a | {"X_test": a["x_train"]}, "holds X_test, which is not read: call it x_test, or leave it out"),
        (lambda a: a | {"x_valid": a["x_train"]}, "holds x_valid, which is not read: call it x_val"),
        (lambda a: a | {"y_test": a["y_train"]}, "has y_test but no x_test: save both, or neither"),
        (
            lambda a: a | {"x_test": a["x_train"].astype(np.uint8), "y_test": a["y_train"]},
            "x_test has dtype uint8, x_train float32: give all splits one",
        ),
    ],
)
def test_a_bad_npz_is_one_line(tmp_path: Path, change: Callable[[npz_data.Arrays], npz_data.Arrays], says: str) -> None:
    with pytest.raises(KdError) as caught:
        npz_data.load(tmp_path, change(_arrays()))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def _zip_of(member: bytes) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("x_train.npy", member)
    return whole.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00v\x00", _zip_of(b"text"), _zip_of(b"\x93NUMPY")],
)
def test_a_file_that_is_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(KdError, match="is not a readable .npz"):
        data.load(DataSpec(source="npz:data.npz"), tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("npz:nothing.npz", "no such file"),
        ("npz:", "no such file"),
        ("npz:~nobody_of_that_name/x.npz", "is no path"),
        ("images:a\0b", "is no path"),
        ("images:nothing", "no such folder"),
        ("sklearn:iris", "sklearn:digits"),
        ("nzp:data.npz", "did you mean npz?"),
        ("tfds:mnist", "known: images, npz, sklearn"),
    ],
)
def test_a_wrong_source_is_one_line(tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(KdError) as caught:
        data.load(DataSpec(source=source), tmp_path)
    assert says in str(caught.value)
    if not source.startswith(("nzp", "tfds", "sklearn")):
        with pytest.raises(KdError):
            data.fingerprint(DataSpec(source=source), tmp_path)
    else:
        with pytest.raises(ConfigError):
            data.fingerprint(DataSpec(source=source), tmp_path)


def _images(folder: Path, classes: tuple[str, ...], each: int) -> None:
    import keras

    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            pixels = np.full((8, 8, 3), 40 * number + index, np.uint8)
            keras.utils.save_img(folder / name / f"{index:02}.png", pixels, scale=False)


def test_images_in_one_folder_a_class(tmp_path: Path) -> None:
    _images(tmp_path / "pictures", ("cat", "dog"), 10)
    spec = DataSpec(source="images:pictures", image_size=(8, 8), color="grayscale")
    found = data.load(spec, tmp_path)
    assert found.x.shape == (20, 8, 8, 1)
    assert found.x.dtype == np.uint8
    assert found.class_names == ("cat", "dog")
    assert found.x[:, 0, 0, 0].tolist() == [*range(10), *range(40, 50)]
    assert [found.name(index) for index in (0, 9, 10)] == ["cat/00.png", "cat/09.png", "dog/00.png"]
    splits = data.split(found, spec, 1)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (14, 2, 4)


def test_images_with_their_own_splits_and_a_fingerprint_of_their_contents(tmp_path: Path) -> None:
    _images(tmp_path / "train", ("cat", "dog"), 8)
    _images(tmp_path / "test", ("cat", "dog"), 3)
    spec = DataSpec(source="images:.", image_size=(8, 8))
    splits = data.split(data.load(spec, tmp_path), spec, 1)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (14, 2, 6)
    before = data.fingerprint(spec, tmp_path)
    (tmp_path / "test" / "cat" / "00.png").write_bytes((tmp_path / "test" / "cat" / "01.png").read_bytes())
    assert data.fingerprint(spec, tmp_path) != before


def test_images_are_known_by_their_files_wherever_they_lie(tmp_path: Path) -> None:
    _images(tmp_path / "train", ("cat", "dog"), 4)
    _images(tmp_path / "test", ("cat", "dog"), 2)
    (tmp_path / "train" / "cat" / "01").mkdir()
    (tmp_path / "train" / "cat" / "01.png").rename(tmp_path / "train" / "cat" / "01" / "z.png")
    found = data.load(DataSpec(source="images:.", image_size=(8, 8), color="grayscale"), tmp_path)
    values = {found.name(index): int(found.x[index, 0, 0, 0]) for index in range(12)}
    assert values["train/cat/01/z.png"] == 1 and values["train/cat/03.png"] == 3
    assert values["train/dog/02.png"] == 42 and values["test/dog/01.png"] == 41 and len(values) == 12


def test_images_without_a_test_split_get_one_from_train(tmp_path: Path) -> None:
    _images(tmp_path / "train", ("cat", "dog"), 10)
    _images(tmp_path / "val", ("cat", "dog"), 3)
    spec = DataSpec(source="images:.", image_size=(8, 8))
    found = data.load(spec, tmp_path)
    splits = data.split(found, spec, 1)
    assert found.class_names == ("cat", "dog")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (16, 6, 4)


def test_bad_image_folders(tmp_path: Path) -> None:
    spec = DataSpec(source="images:.", image_size=(8, 8))
    with pytest.raises(KdError, match="holds no folder of images"):
        data.load(spec, tmp_path)
    _images(tmp_path, ("cat", "dog"), 2)
    (tmp_path / "dog" / "00.png").write_bytes(b"no image")
    with pytest.raises(KdError, match="dog/00.png cannot be decoded: .*remove or repair it"):
        data.load(spec, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KdError, match="class 'empty' holds no image"):
        data.load(spec, tmp_path)
    _images(tmp_path / "train", ("cat", "dog"), 1)
    _images(tmp_path / "test", ("cat", "cow"), 1)
    with pytest.raises(KdError, match="class 'cow' is not in every split"):
        data.load(spec, tmp_path)


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (("train", "valid"), "holds a folder valid: call it val (a class has another name)"),
        (("training", "test"), "holds a folder test: put the training images into a folder train"),
        (("val", "cat"), "holds a folder val: put the training images"),
        (("train", "Test"), "holds a folder Test: call it test"),
    ],
)
def test_splits_of_images_under_other_names_are_not_taken_for_classes(
    tmp_path: Path, folders: tuple[str, ...], says: str
) -> None:
    for name in folders:
        _images(tmp_path / name, ("cat", "dog"), 3)
    with pytest.raises(KdError) as caught:
        data.load(DataSpec(source="images:."), tmp_path)
    assert says in str(caught.value)


def test_a_gif_in_grayscale_is_named(tmp_path: Path) -> None:
    _images(tmp_path, ("cat", "dog"), 3)
    (tmp_path / "dog" / "01.png").rename(tmp_path / "dog" / "01.gif")
    spec = DataSpec(source="images:.", color="grayscale", image_size=(8, 8))
    pixel = "R0lGODlhAQABAIAAAAAAAP///yH5BAAAAAAALAAAAAABAAEAAAIBRAA7"
    (tmp_path / "dog" / "01.gif").write_bytes(base64.b64decode(pixel))
    with pytest.raises(KdError, match=r"dog/01.gif: BMP and GIF are read in color alone: save it as PNG"):
        data.load(spec, tmp_path)
    assert len(data.load(spec.model_copy(update={"color": "rgb"}), tmp_path).x) == 6


def test_byte_strings_and_integers_of_several_widths_are_labels(tmp_path: Path) -> None:
    arrays = _arrays()
    names = np.array(["ant", "bee", "cow"])
    text, _ = npz_data.load(tmp_path, arrays | {"y_train": names[arrays["y_train"]].astype("S")})
    assert text.class_names == ("ant", "bee", "cow") and np.array_equal(text.y, arrays["y_train"])
    own = {"x_test": np.ones((9, 6, 5, 1), np.float32), "y_test": (np.arange(9) % 3).astype(np.uint64)}
    mixed, _ = npz_data.load(tmp_path, arrays | own | {"class_names": names.astype("S")})
    assert mixed.class_names == ("ant", "bee", "cow") and mixed.y[-9:].tolist() == [0, 1, 2] * 3


def test_weights_of_the_training_samples(tmp_path: Path) -> None:
    own = {"x_test": np.ones((9, 6, 5, 1), np.float32), "y_test": np.arange(9) % 3}
    assert npz_data.load(tmp_path, _arrays() | own)[0].weights is None
    found, splits = npz_data.load(tmp_path, _arrays() | own | {"w_train": np.arange(60)})
    assert found.weights is not None and found.weights.dtype == np.float32
    assert found.weights.tolist() == [*range(60), *[1.0] * 9]
    assert np.array_equal(found.weights[splits.train], splits.train)


def test_unlabelled_inputs_come_last_in_the_data_and_in_the_training_split(tmp_path: Path) -> None:
    extra = np.random.default_rng(1).random((7, 6, 5), np.float32)
    np.savez(tmp_path / "more.npz", x=extra)
    labelled, _ = npz_data.load(tmp_path, _arrays() | {"w_train": np.full(60, 2.0)})
    found, splits = npz_data.load(tmp_path, _arrays() | {"w_train": np.full(60, 2.0)}, unlabelled="npz:more.npz")
    assert found.unlabelled.tolist() == [*range(60, 67)]
    assert np.array_equal(found.x[60:, ..., 0], extra)
    assert np.array_equal(found.x[:60], labelled.x)
    assert (found.y[60:] == -1).all() and found.weights is not None and found.weights[60:].tolist() == [1.0] * 7
    assert np.array_equal(np.sort(np.concatenate([splits.train, splits.val, splits.test])), np.arange(67))
    assert splits.train[-7:].tolist() == found.unlabelled.tolist()
    _, few = npz_data.load(tmp_path, _arrays(), unlabelled="npz:more.npz", max_per_class=2)
    assert (len(few.train), len(few.val), len(few.test)) == (6 + 7, 6, 6)
    spec = DataSpec(source="npz:data.npz", unlabelled="npz:more.npz")
    before = data.fingerprint(spec, tmp_path)
    assert before != data.fingerprint(DataSpec(source="npz:data.npz"), tmp_path)
    np.savez(tmp_path / "more.npz", x=extra + 1)
    assert data.fingerprint(spec, tmp_path) != before


def test_unlabelled_images_lie_as_they_please(tmp_path: Path) -> None:
    _images(tmp_path / "pictures", ("cat", "dog"), 10)
    _images(tmp_path / "more", ("a", "b"), 3)
    (tmp_path / "more" / "a" / "02.png").rename(tmp_path / "more" / "last.png")
    spec = DataSpec(source="images:pictures", unlabelled="images:more", image_size=(8, 8), color="grayscale")
    found = data.load(spec, tmp_path)
    assert found.unlabelled.tolist() == [*range(20, 26)] and found.name(25) == "unlabelled sample 5"
    assert sorted(found.x[20:, 0, 0, 0].tolist()) == [0, 1, 2, 40, 41, 42]
    assert np.array_equal(found.x, data.load(spec, tmp_path).x)
    before = data.fingerprint(spec, tmp_path)
    (tmp_path / "more" / "last.png").unlink()
    assert data.fingerprint(spec, tmp_path) != before


@pytest.mark.parametrize(
    ("unlabelled", "says"),
    [
        ("npz:none.npz", "no such file"),
        ("npz:labelled.npz", "has no array x; it holds x_train, y_train: save x"),
        ("npz:flat.npz", "x has shape (7,)"),
        ("npz:small.npz", "inputs of shape (5, 5, 1) and float32, the labelled ones have (6, 5, 1) and float32"),
        ("npz:bytes.npz", "inputs of shape (6, 5, 1) and uint8"),
        ("npz:nan.npz", "NaN or infinity in sample 61"),
        ("images:none", "no such folder"),
        ("images:.", "holds no image"),
        ("sklearn:digits", "gives no unlabelled inputs"),
        ("tfds:mnist", "data.unlabelled: unknown data source"),
    ],
)
def test_bad_unlabelled_inputs_are_one_line(tmp_path: Path, unlabelled: str, says: str) -> None:
    x = np.zeros((7, 6, 5), np.float32)
    np.savez(tmp_path / "labelled.npz", **_arrays())
    np.savez(tmp_path / "flat.npz", x=x[:, 0, 0])
    np.savez(tmp_path / "small.npz", x=x[:, :5])
    np.savez(tmp_path / "bytes.npz", x=x.astype(np.uint8))
    np.savez(tmp_path / "nan.npz", x=np.where(np.arange(7)[:, None, None] == 1, np.float32(np.nan), x))
    with pytest.raises(KdError) as caught:
        npz_data.load(tmp_path, _arrays(), unlabelled=unlabelled)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_evenly_takes_from_each_class_in_turn() -> None:
    labels = np.array([0] * 900 + [1] * 50 + [2] * 50)
    chosen = data.evenly(labels, 30, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 10]
    assert len(set(chosen.tolist())) == 30
    assert len(data.evenly(labels, 5000, seed=1)) == 1000
    assert np.array_equal(chosen, data.evenly(labels, 30, seed=1))
