"""``images:FOLDER``: one folder a class, or ``train/``, and perhaps ``val/`` and ``test/``, that hold such folders.

Unlabelled images lie in FOLDER as they please.

Files are decoded and resized by Keras' own loader (JPEG, PNG, BMP, GIF).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded import keras_files
from kd_embedded.artifacts import locate
from kd_embedded.config import DataSpec
from kd_embedded.data import FREE, TEST, VAL, Data
from kd_embedded.errors import DataError, first_line
from kd_embedded.progress import silenced

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif"}
_PARTS = {"train": FREE, "val": VAL, "test": TEST}
_MEANT = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def load(argument: str, spec: DataSpec, base: Path) -> Data:
    """uint8 [N, H, W, 3 or 1]. Raises DataError for a folder without classes or a file that is no image."""
    root, folders = locate(base, argument), _folders(argument, base)
    names = _class_names(folders[0][0])
    x, y, part, files = [], [], [], list[str]()
    for folder, which in folders:
        if _class_names(folder) != names:
            odd = sorted(set(_class_names(folder)) ^ set(names))
            raise DataError(f"class {odd[0]!r} is not in every split", where=str(folder), todo="give all splits it")
        images, labels = _decode(folder, names, spec)
        x.append(images)
        y.append(labels)
        part.append(np.full(len(labels), which, np.int8))
        files += [path.relative_to(root).as_posix() for path in _images(folder)]
    scale = spec.scale or 1 / 255
    return Data(np.concatenate(x), np.concatenate(y), names, np.concatenate(part), scale, spec.offset, names=files)


def fingerprint(argument: str, spec: DataSpec, base: Path) -> str:
    """SHA-256 over the relative names and contents of all images, in order."""
    return _fingerprint([(folder, _images(folder)) for folder, _ in _folders(argument, base)])


def load_unlabelled(argument: str, spec: DataSpec, base: Path) -> NDArray[Any]:
    """uint8 [N, H, W, 3 or 1], in the order of the names. Raises DataError for no image or a file that is none."""
    folder = _flat(argument, base)
    paths = _below(folder)
    if not paths:
        raise DataError("holds no image", where=str(folder), todo="JPEG, PNG, BMP and GIF are read")
    images: NDArray[Any] = np.concatenate(_batches(folder, paths, spec, labels=None))
    return images


def fingerprint_unlabelled(argument: str, spec: DataSpec, base: Path) -> str:
    """SHA-256 over the relative names and contents of all images, in order."""
    folder = _flat(argument, base)
    return _fingerprint([(folder, _below(folder))])


def _fingerprint(images: list[tuple[Path, list[Path]]]) -> str:
    total = hashlib.sha256()
    for folder, paths in images:
        for path in paths:
            total.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _flat(argument: str, base: Path) -> Path:
    folder = locate(base, argument)
    if not argument or not folder.is_dir():
        todo = 'data.unlabelled is "images:FOLDER", relative to kd.toml'
        raise DataError("no such folder", where=str(folder), todo=todo)
    return folder


def _folders(argument: str, base: Path) -> list[tuple[Path, int]]:
    root = locate(base, argument)
    if not argument or not root.is_dir():
        raise DataError("no such folder", where=str(root), todo='data.source is "images:FOLDER", relative to kd.toml')
    split = [(root / name, part) for name, part in _PARTS.items() if (root / name).is_dir()]
    whole = (root / "train").is_dir()
    for name in _class_names(root):
        known = _MEANT.get(name.lower(), name.lower())
        if known in _PARTS and not (whole and name in _PARTS):
            todo = f"call it {known}" if name != known else "put the training images into a folder train"
            raise DataError(f"holds a folder {name}", where=str(root), todo=f"{todo} (a class has another name)")
    found = split if whole else [(root, FREE)]
    for folder, _ in found:
        if not _class_names(folder):
            raise DataError("holds no folder of images", where=str(folder), todo="make one folder for each class")
    return found


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _images(folder: Path) -> list[Path]:
    """All images in the order of Keras' loader: by class, then by name."""
    return [path for name in _class_names(folder) for path in _below(folder / name)]


def _below(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES]
    return sorted(found, key=lambda path: (str(path.parent), path.name))


def _broken(folder: Path, paths: list[Path], channels: int) -> DataError | None:
    """The first image that TensorFlow cannot decode to so many ``channels``, and why; None where it can."""
    import tensorflow as tf

    for path in paths:
        name = path.relative_to(folder)
        if channels == 1 and path.suffix.lower() in (".bmp", ".gif"):
            todo = 'save it as PNG, or set data.color = "rgb"'
            return DataError(f"{name}: BMP and GIF are read in color alone", where=str(folder), todo=todo)
        try:
            tf.io.decode_image(path.read_bytes(), channels=channels, expand_animations=False)
        except Exception as error:  # TensorFlow's own errors; their last part is the decoder's word
            said = str(error).splitlines()[0].rpartition("} ")[2]
            return DataError(f"{name} cannot be decoded: {said}", where=str(folder), todo="remove or repair it")
    return None


def _decode(folder: Path, names: tuple[str, ...], spec: DataSpec) -> tuple[NDArray[Any], NDArray[np.int64]]:
    for name in names:
        if not _below(folder / name):
            raise DataError(f"class {name!r} holds no image", where=str(folder), todo="JPEG, PNG, BMP and GIF are read")
    pairs = _batches(folder, _images(folder), spec, labels="inferred", label_mode="int", class_names=list(names))
    x, y = zip(*pairs, strict=True)
    return np.concatenate(x), np.concatenate(y).astype(np.int64)


def _batches(folder: Path, paths: list[Path], spec: DataSpec, **labels: Any) -> list[Any]:
    """What Keras' loader gives for ``folder``, a batch at a time: images as bytes, or such images and their labels."""
    keras_files.start_tensorflow()
    import keras

    try:
        with silenced():  # TensorFlow tells the end of each data set on stderr
            batches = keras.utils.image_dataset_from_directory(
                str(folder),
                color_mode=spec.color,
                batch_size=256,
                image_size=spec.image_size,
                shuffle=False,
                verbose=False,
                **labels,
            )
            if labels["labels"] is None:
                return [_bytes(images.numpy()) for images in batches]
            return [(_bytes(images.numpy()), found.numpy()) for images, found in batches]
    except Exception as error:  # TensorFlow's own errors, which do not name the file
        with silenced():
            broken = _broken(folder, paths, 1 if spec.color == "grayscale" else 3)
        raise broken or DataError(f"cannot be read: {first_line(error)}", where=str(folder)) from None


def _bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)
