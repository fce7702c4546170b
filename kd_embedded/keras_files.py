"""Keras models on disk: loaded safely, saved to the same bytes for the same model, and turned to logits."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kd_embedded.artifacts import json_objects, replacing, zipped
from kd_embedded.errors import ModelError, first_line
from kd_embedded.progress import silenced

_OTHER_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")  # of Keras' dtypes and policies


def start_tensorflow() -> None:
    """Imports TensorFlow quietly, on Keras' TensorFlow backend, with deterministic ops. Call before any other use."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with silenced():  # the banner of oneDNN, and of CUDA where there is none, comes at import and with the first tensor
        import tensorflow as tf

        tf.constant(0)
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()


def load(path: Path, *, allow_lambda: bool = False) -> Any:
    """The model in a ``.keras`` or ``.h5`` file, in Keras' safe mode; computes in float32, whatever it was saved with.

    Raises ModelError where the file is absent, damaged, of another kind, or has a Lambda layer without
    ``allow_lambda``: such a layer runs whatever code the file's author put there.
    """
    where = str(path)
    if not path.is_file():
        raise ModelError("no such file", where=where, todo="name a .keras or .h5 model, relative to kd.toml")
    if path.suffix not in (".keras", ".h5"):
        raise ModelError("is not a .keras or .h5 file", where=where, todo="save the model with model.save(...)")
    architecture = _architecture(path)
    if not allow_lambda and _has_lambda(architecture):
        raise ModelError(
            "has a Lambda layer, which runs code stored in the file",
            where=where,
            todo="use a standard layer; a teacher whose author you trust may have it with allow_lambda = true",
        )
    import keras

    try:
        with tempfile.TemporaryDirectory() as folder:
            if _to_float32(architecture):
                path = _with_architecture(path, architecture, Path(folder) / path.name)
            return keras.saving.load_model(path, compile=False, safe_mode=not allow_lambda)
    except Exception as error:  # Keras raises whatever a layer's constructor raises
        todo = 'save it with Keras 3, of standard layers alone; a teacher may be kind = "python", or a SavedModel'
        raise ModelError(f"cannot be loaded: {_reason(error)}", where=where, todo=todo) from None


def save(model: Any, path: Path) -> None:
    """Writes ``model`` as ``.keras`` without dates and memory addresses: the same model gives the same bytes."""
    with replacing(path) as temporary:
        whole = temporary.with_name("whole.keras")
        model.save(whole)
        with zipfile.ZipFile(whole) as source:
            members = {name: source.read(name) for name in sorted(source.namelist())}
        parts = {name: _without_chance(json.loads(data)) for name, data in members.items() if name.endswith(".json")}
        temporary.write_bytes(zipped(members | parts))


def check_fits(model: Any, input_shape: tuple[int, ...], classes: int, where: str, noun: str = "classes") -> None:
    """Raises ModelError unless ``model`` maps one input [N, *input_shape] to one output [N, classes].

    ``noun`` is what messages call the latter.
    """
    check_input(model, input_shape, where)
    gives = tuple(model.outputs[0].shape[1:])
    if gives != (classes,):
        two = "end it in two logits: 0, and the one it has before its sigmoid"
        raise ModelError(
            f"gives {gives[0] if len(gives) == 1 else gives} {noun}, the data has {classes}",
            where=where,
            todo=two if (gives, classes) == ((1,), 2) else f"use a model of the same {noun}",
        )


def check_input(model: Any, input_shape: tuple[int, ...], where: str) -> None:
    """Raises ModelError unless ``model`` has one input, float32 [N, *input_shape], and one output, for any N."""
    if not getattr(model, "inputs", None):
        raise ModelError(
            "has no fixed input shape", where=where, todo="begin it with keras.Input(shape) and save it again"
        )
    if isinstance(getattr(model, "output", None), dict):
        raise ModelError("gives a dictionary of outputs", where=where, todo="end it in one tensor of logits")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs",
            where=where,
            todo="one of each is supported",
        )
    wants = tuple(model.inputs[0].shape[1:])
    if len(wants) != len(input_shape) or any(w not in (None, g) for w, g in zip(wants, input_shape, strict=True)):
        raise ModelError(f"takes inputs of shape {wants}, the data has {input_shape}", where=where, todo="match them")
    if model.inputs[0].dtype != "float32":
        todo = "begin it with a float32 keras.Input; for a teacher that wants 0 to 255 set input_scale = 255.0"
        raise ModelError(f"takes {model.inputs[0].dtype} inputs, and is given float32", where=where, todo=todo)
    _check_names(model, where)
    try:
        model(np.zeros((2, *input_shape), np.float32), training=False)
    except Exception as error:  # TensorFlow raises whatever a kernel raises
        todo = "save it with a free batch size, and try it on two inputs"
        raise ModelError(f"fails on a batch of two inputs: {_reason(error)}", where=where, todo=todo) from None


def _check_names(model: Any, where: str) -> None:
    """Raises ModelError at a name that TensorFlow refuses as a scope; the other backends of Keras take any."""
    for layer in model._flatten_layers():
        if not re.fullmatch(r"[\w.>/-]+", layer.name, re.ASCII):
            todo = "rename it, to letters, digits and _, and save it again"
            raise ModelError(f"has a layer or model called {layer.name!r}", where=where, todo=todo)


def as_logits(model: Any, outputs: Literal["auto", "logits", "probabilities"]) -> Any:
    """``model`` with logits for outputs: a final softmax is taken off, or undone by a logarithm where it hides."""
    import keras

    if outputs == "logits":
        return model
    last, nodes = _last(model)
    activation = getattr(last, "activation", None)
    if len(nodes) == 1 and (
        isinstance(last, keras.layers.Softmax)
        or (isinstance(last, keras.layers.Activation) and activation is keras.activations.softmax)
    ):
        return keras.Model(model.inputs[0], nodes[0].input_tensors[0], name=model.name)
    if len(nodes) == 1 and activation is keras.activations.softmax:
        last.activation = keras.activations.linear
        return model
    if outputs == "auto":
        return model
    logits = keras.ops.log(keras.ops.clip(model.outputs[0], 1e-7, 1.0))
    return keras.Model(model.inputs[0], logits, name=model.name)


def _last(model: Any) -> tuple[Any, list[Any]]:
    """The layer or operation that gives the output of ``model``, and its calls in it, Keras' nodes."""
    last = model.outputs[0]._keras_history.operation
    graph = getattr(model, "_functional", model)  # of a Sequential
    return last, [node for nodes in graph._nodes_by_depth.values() for node in nodes if node.operation is last]


def check_logits(model: Any, inputs: NDArray[np.float32], where: str, todo: str) -> None:
    """Raises ModelError where ``model`` gives probabilities for ``inputs`` [N, ...]: logits are expected of it."""
    import keras

    last = _last(model)[0]
    while isinstance(last, keras.Model):
        last = _last(last)[0]
    if getattr(last, "activation", None) is keras.activations.sigmoid:
        raise ModelError("ends in a sigmoid, and logits are needed", where=where, todo=todo)
    outputs = np.asarray(model(inputs, training=False))
    if (outputs >= 0).all() and np.allclose(outputs.sum(-1), 1.0, atol=1e-3):
        raise ModelError("gives probabilities, and logits are needed", where=where, todo=todo)


def fresh_weights(model: Any, seed: int) -> Any:
    """The architecture of ``model`` with new weights from ``seed``, all trainable; what layers adapted to stays."""
    import keras

    keras.utils.set_random_seed(seed)
    try:
        fresh = keras.models.clone_model(model)
    except Exception as error:  # a layer that cannot be made from its own configuration, a Lambda above all
        todo = 'use mode = "finetune" or "frozen"'
        raise ModelError(f"cannot be built anew: {first_line(error)[:100]}", where=model.name, todo=todo) from None
    for old, new in zip(model._flatten_layers(), fresh._flatten_layers(), strict=True):
        new.trainable = True
        if isinstance(old, keras.layers.Normalization):
            new.set_weights(old.get_weights())
            new.finalize_state()
    return fresh


def _reason(error: Exception) -> str:
    """A line of ``error``, or of what led to it: Keras names what it cannot find at the end of a page."""
    text = ""
    cause: BaseException | None = error
    while cause is not None:
        text, cause = f"{cause}\n{text}", cause.__cause__ or cause.__context__
    found = re.search(r"(Could not locate|Unrecognized keyword|Unknown layer|Could not deserialize)[^\n]*", text)
    return (found[0] if found else first_line(error)).split(". ")[0][:160]


def _without_chance(document: Any) -> bytes:
    """A JSON part of a .keras file; Keras writes the time, and ``id(object)`` for the objects that layers share."""
    numbers: dict[int, int] = {}
    for node in json_objects(document):
        if "shared_object_id" in node:
            node["shared_object_id"] = numbers.setdefault(node["shared_object_id"], len(numbers))
        if "date_saved" in node:
            node["date_saved"] = ""
    return json.dumps(document).encode()


def _architecture(path: Path) -> Any:
    """The layers' configuration as stored, parsed without Keras. Raises ModelError where it is damaged or has none."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
            return {key: value for key, value in config.items() if key != "compile_config"}  # losses, metrics
        import h5py

        with h5py.File(path, "r") as stored:
            return json.loads(stored.attrs["model_config"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        todo = "save the whole model, with model.save(...)"
        raise ModelError("is damaged, or holds weights alone", where=str(path), todo=todo) from None


def _to_float32(config: Any) -> bool:
    """Makes every floating-point dtype and policy in ``config`` float32; whether any was another."""
    changed = False
    for node in json_objects(config):
        given = node.get("dtype")
        name = given["config"].get("name") if isinstance(given, dict) and "config" in given else given
        if name in _OTHER_FLOATS:
            node["dtype"], changed = "float32", True
    return changed


def _with_architecture(path: Path, config: Any, copy: Path) -> Path:
    """A copy of the model file ``path`` with another configuration of its layers; returns ``copy``."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as source:
            members = {name: source.read(name) for name in source.namelist()}
        copy.write_bytes(zipped(members | {"config.json": json.dumps(config).encode()}))
    else:
        import h5py

        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as stored:
            stored.attrs["model_config"] = json.dumps(config)
    return copy


def _has_lambda(config: Any) -> bool:
    return any(node.get("class_name") in ("Lambda", "__lambda__") for node in json_objects(config))
