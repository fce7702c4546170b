"""Where a student and a Keras teacher are compared inside: pairs of layers, and models that give their outputs too.

A stage is what a model gives last at each resolution it passes through. A stage of the student is paired with the one
of the teacher whose resolution is nearest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_embedded.errors import ConfigError, ModelError
from kd_embedded.recipes import get
from kd_embedded.toml_files import nearest

Shape = tuple[int, ...]
Pair = tuple[str, str]

_FAR = math.sqrt(2.0)  # stages whose resolutions differ by more than this factor are not alike


@dataclass(frozen=True, eq=False)
class Connected:
    """Two models that give ``[logits, map, map, ...]``, and the names of the layers that are compared.

    ``student`` has the layers and weights of the student it was made of (training one trains the other) and, of a
    recipe with projectors, these behind its maps; ``teacher`` has those of the teacher.
    """

    student: Any
    teacher: Any
    layers: tuple[Pair, ...]


def connect(
    name: str,
    student: Any,
    teacher: Any,
    *,
    student_layers: Sequence[str] = (),
    teacher_layers: Sequence[str] = (),
    seed: int,
) -> Connected:
    """``student`` and ``teacher``, Keras models to logits, as the recipe ``name`` compares them.

    Without names the recipe chooses among the stages. ``seed`` gives the projectors' first weights. Raises ConfigError
    at a layer that does not exist or that has no counterpart, ModelError where there is nothing to compare.
    """
    import keras

    recipe: Any = get(name)
    ours, theirs = _Unfolded(student), _Unfolded(teacher)
    if student_layers or teacher_layers:
        pairs = _named(ours, theirs, student_layers, teacher_layers, recipe.VECTORS)
    else:
        pairs = recipe.choose(_matched(name, ours, theirs, recipe.VECTORS))
    maps = [ours.tensors[pair[0]] for pair in pairs]
    targets = [theirs.tensors[pair[1]] for pair in pairs]
    if hasattr(recipe, "projectors"):
        keras.utils.set_random_seed(seed)
        layers = recipe.projectors([_shape(tensor) for tensor in maps], [_shape(tensor) for tensor in targets])
        maps = [layer(tensor) for layer, tensor in zip(layers, maps, strict=True)]
    return Connected(
        keras.Model(ours.inputs, [ours.logits, *maps], name=student.name),
        keras.Model(theirs.inputs, [theirs.logits, *targets], name=teacher.name),
        tuple(pairs),
    )


def same_resolution(student: Any, teacher: Any) -> tuple[Any, Any]:
    """Both maps at the smaller height and the smaller width of the two, by averages over windows that cover the map.

    The maps are float32 [N, H, W, D], or [N, D], which pass as they are. The windows are those of PyTorch's
    ``adaptive_avg_pool2d``; a sum of products, so its gradient is the same in every run.
    """
    import tensorflow as tf

    if len(student.shape) != 4:
        return student, teacher
    height, width = (min(student.shape[axis], teacher.shape[axis]) for axis in (1, 2))

    def averaged(maps: Any) -> Any:
        if tuple(maps.shape[1:3]) == (height, width):
            return maps
        rows, columns = windows(maps.shape[1], height), windows(maps.shape[2], width)
        return tf.einsum("oh,pw,nhwd->nopd", tf.constant(rows), tf.constant(columns), maps)

    return averaged(student), averaged(teacher)


def windows(size: int, count: int) -> NDArray[np.float32]:
    """float32 [count, size]: row i averages the pixels [floor(i size / count), ceil((i + 1) size / count))."""
    weights = np.zeros((count, size), np.float32)
    for index in range(count):
        first, last = index * size // count, -(-(index + 1) * size // count)
        weights[index, first:last] = 1.0 / (last - first)
    return weights


class _Unfolded:
    """The graph of a model drawn anew on its own layers: ``inputs``, ``logits``, and the output of each layer by name.

    Models within the model are entered.
    """

    def __init__(self, model: Any) -> None:
        import keras

        self.title = model.name
        self.tensors: dict[str, Any] = {}
        self._activations: set[str] = set()
        self.inputs = keras.Input(model.inputs[0].shape[1:], name="input")
        (self.logits,) = keras.tree.flatten(self._call(model, self.inputs))

    def stages(self) -> list[str]:
        """The last layer of each resolution above 1x1, an activation where there is one, in the order of the model."""
        maps = [
            name for name, tensor in self.tensors.items() if len(tensor.shape) == 4 and None not in tensor.shape[1:3]
        ]
        last: dict[Shape, str] = {}
        for name in maps:
            size = _shape(self.tensors[name])[:2]
            if size != (1, 1) and (name in self._activations or last.get(size) not in self._activations):
                last[size] = name
        return sorted(last.values(), key=maps.index)

    def vector(self) -> str | None:
        """The last layer whose output is a vector, but of another length than the logits."""
        classes = self.logits.shape[-1]
        names = [name for name, tensor in self.tensors.items() if len(tensor.shape) == 2 and tensor.shape[1] != classes]
        return names[-1] if names else None

    def _call(self, layer: Any, *arguments: Any, **keywords: Any) -> Any:
        import keras

        if isinstance(layer, keras.Sequential):
            values = arguments[0]
            for inner in layer.layers:
                values = self._call(inner, values)
            return values
        if isinstance(layer, keras.Model) and hasattr(layer, "operations"):
            return self._enter(layer, *arguments)
        output = layer(*arguments, **keywords)
        if hasattr(output, "shape"):
            self.tensors[layer.name] = output
            if _is_activation(layer):
                self._activations.add(layer.name)
        return output

    def _enter(self, model: Any, *arguments: Any) -> Any:
        import keras

        outside, self.tensors = self.tensors, {}
        copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=self._call)
        inside, self.tensors = self.tensors, outside
        output, tensors = keras.Model(copy.inputs, [copy.output, list(inside.values())], name=model.name)(*arguments)
        self.tensors.update(zip(inside, tensors, strict=True))
        return output


def _is_activation(layer: Any) -> bool:
    from keras import activations, layers

    kinds = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU)
    return isinstance(layer, kinds) or getattr(layer, "activation", activations.linear) is not activations.linear


def _shape(tensor: Any) -> Shape:
    return tuple(tensor.shape[1:])


def _matched(name: str, ours: _Unfolded, theirs: _Unfolded, vectors: bool) -> list[Pair]:
    """The stages of the two that are alike, shallow to deep; else, with ``vectors``, the last before the logits."""
    pairs = []
    for stage in ours.stages():
        distance, nearest_stage = min(
            ((_distance(ours.tensors[stage], theirs.tensors[other]), other) for other in theirs.stages()),
            default=(math.inf, ""),
        )
        if distance <= _FAR:
            pairs.append((stage, nearest_stage))
    last = ours.vector(), theirs.vector()
    if not pairs and vectors and last[0] and last[1]:
        pairs.append((last[0], last[1]))
    if not pairs:
        raise ModelError(
            f"{ours.title} and {theirs.title} have no layers of about the same resolution, which {name} compares",
            where="distill.method",
            todo="name layers of both, or use a recipe on logits, kd_ls for one",
        )
    return pairs


def _distance(a: Any, b: Any) -> float:
    """The factor, 1 or more, by which two maps differ in height or width, the larger of the two."""
    return float(max(max(a.shape[axis], b.shape[axis]) / min(a.shape[axis], b.shape[axis]) for axis in (1, 2)))


def _named(
    ours: _Unfolded, theirs: _Unfolded, student_layers: Sequence[str], teacher_layers: Sequence[str], vectors: bool
) -> list[Pair]:
    if len(student_layers) != len(teacher_layers):
        raise ConfigError(
            f"{len(student_layers)} layers of the student, {len(teacher_layers)} of the teacher",
            where="distill.student_layers",
            todo="name as many in distill.teacher_layers: the first is compared with the first, and so on",
        )
    for where, model, layers in (("student", ours, student_layers), ("teacher", theirs, teacher_layers)):
        for layer in layers:
            _check_layer(model, layer, f"distill.{where}_layers", vectors)
    for pair in zip(student_layers, teacher_layers, strict=True):
        a, b = _shape(ours.tensors[pair[0]]), _shape(theirs.tensors[pair[1]])
        if len(a) != len(b):
            raise ConfigError(
                f"{pair[0]} gives {list(a)}, {pair[1]} gives {list(b)}",
                where="distill.student_layers",
                todo="compare maps with maps, and vectors with vectors",
            )
    return list(zip(student_layers, teacher_layers, strict=True))


def _check_layer(model: _Unfolded, layer: str, where: str, vectors: bool) -> None:
    if layer not in model.tensors:
        hint = nearest(layer, model.tensors) or f": it has {', '.join(model.tensors)}"
        raise ConfigError(f"{model.title} has no layer {layer!r}{hint}", where=where, todo="name one of its layers")
    shape = _shape(model.tensors[layer])
    if None in shape or len(shape) not in ((1, 3) if vectors else (3,)):
        wanted = "[height, width, channels]" + (" or [channels]" if vectors else "")
        raise ConfigError(f"{layer} gives {list(shape)}", where=where, todo=f"name a layer that gives {wanted}")
