"""Cases of the ops that move values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fuzz.build import Case, Model
from fuzz.draw import Draw


def _shape(draw: Draw, low: int = 1, high: int = 4, most: int = 7) -> list[int]:
    return [draw.integer(1, most) for _ in range(draw.integer(low, high))]


def _move(
    model: Model,
    name: str,
    source: int,
    shape: list[int],
    more: list[int],
    options: str = "",
    version: int = 1,
    **attributes: object,
) -> Case:
    """The op from ``source`` to one output of ``shape`` with the source's scale and zero point."""
    output = model.activation(shape, model.quant(source))
    model.op(name, [source, *more], [output], options, version, **attributes)
    return model.case(name, [output])


def reshape(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source, wanted = model.source(shape), shape[::-1]
    given = list(wanted)
    if draw.chance(2):
        given[draw.below(len(given))] = -1
    if draw.chance(3):
        return _move(model, "RESHAPE", source, wanted, [], "ReshapeOptions", NewShape=given)
    return _move(model, "RESHAPE", source, wanted, [model.constant(given)], "ReshapeOptions")


def squeeze(draw: Draw) -> Case:
    model, shape = Model(draw), [draw.pick([1, draw.integer(1, 5)]) for _ in range(draw.integer(2, 5))]
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    gone = [axis for axis in ones if draw.chance(2)]
    left = [size for axis, size in enumerate(shape) if axis not in (gone or ones)]
    given = [axis - len(shape) if draw.chance(2) else axis for axis in gone]
    return _move(model, "SQUEEZE", model.source(shape), left, [], "SqueezeOptions", SqueezeDims=given)


def expand_dims(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    axis = draw.integer(0, len(shape))
    given = axis - len(shape) - 1 if draw.chance(2) else axis
    wanted = [*shape[:axis], 1, *shape[axis:]]
    operand = model.constant(np.array(given) if draw.chance(2) else [given], draw.pick(["int32", "int64"]))
    return _move(model, "EXPAND_DIMS", model.source(shape), wanted, [operand], "ExpandDimsOptions")


def _pads(draw: Draw, rank: int, most: list[int]) -> list[list[int]]:
    return [[draw.integer(0, most[axis]), draw.integer(0, most[axis])] for axis in range(rank)]


def pad(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source = model.source(shape)
    pads = _pads(draw, len(shape), [3] * len(shape))
    wanted = [size + sum(pad) for size, pad in zip(shape, pads, strict=True)]
    return _move(model, "PAD", source, wanted, [model.constant(pads, draw.pick(["int32", "int64"]))], "PadOptions")


def padv2(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source = model.source(shape)
    pads = _pads(draw, len(shape), [3] * len(shape))
    wanted = [size + sum(pad) for size, pad in zip(shape, pads, strict=True)]
    frame = model.constant([draw.integer(-128, 127)], "int8", *model.quant(source))
    return _move(model, "PADV2", source, wanted, [model.constant(pads), frame], "PadV2Options")


def mirror_pad(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source, mode = model.source(shape), draw.below(2)
    pads = _pads(draw, len(shape), [min(3, size - (mode == 0)) for size in shape])
    wanted = [size + sum(pad) for size, pad in zip(shape, pads, strict=True)]
    return _move(model, "MIRROR_PAD", source, wanted, [model.constant(pads)], "MirrorPadOptions", Mode=mode)


def _joined(draw: Draw, count: int, shapes: list[list[int]]) -> tuple[Model, list[int]]:
    """``count`` tensors of the model's input and constants among them, all with one scale and zero point."""
    model, quant = Model(draw), (draw.scale(), draw.zero_point())
    fixed = [count > 1 and draw.chance(5) for _ in range(count)]
    if all(fixed):
        fixed[0] = False
    sources = iter(model.sources(*((shape, quant) for shape, f in zip(shapes, fixed, strict=True) if not f)))
    found = [
        model.constant(draw.values(shape), "int8", *quant) if f else next(sources)
        for shape, f in zip(shapes, fixed, strict=True)
    ]
    if count > 1 and draw.chance(6) and shapes[0] == shapes[1]:
        found[1] = found[0]
    return model, found


def concatenation(draw: Draw) -> Case:
    shape, count = _shape(draw), draw.integer(1, 4)
    axis = draw.below(len(shape))
    shapes = [[*shape[:axis], draw.integer(1, 5), *shape[axis + 1 :]] for _ in range(count)]
    model, found = _joined(draw, count, shapes)
    wanted = [*shape[:axis], sum(each[axis] for each in shapes), *shape[axis + 1 :]]
    output = model.activation(wanted, model.quant(found[0]))
    given = axis - len(shape) if draw.chance(2) else axis
    model.op("CONCATENATION", found, [output], "ConcatenationOptions", Axis=given)
    return model.case("CONCATENATION", [output])


def pack(draw: Draw) -> Case:
    shape, count = _shape(draw, high=3), draw.integer(1, 4)
    axis = draw.integer(0, len(shape))
    model, found = _joined(draw, count, [shape] * count)
    output = model.activation([*shape[:axis], count, *shape[axis:]], model.quant(found[0]))
    given = axis - len(shape) - 1 if draw.chance(2) else axis
    model.op("PACK", found, [output], "PackOptions", Axis=given, ValuesCount=count)
    return model.case("PACK", [output])


def unpack(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, low=2)
    axis = draw.below(len(shape))
    source = model.source(shape)
    left = [*shape[:axis], *shape[axis + 1 :]]
    outputs = [model.activation(left, model.quant(source)) for _ in range(shape[axis])]
    given = axis - len(shape) if draw.chance(2) else axis
    model.op("UNPACK", [source], outputs, "UnpackOptions", Num=shape[axis], Axis=given)
    return model.case("UNPACK", outputs)


def split(draw: Draw) -> Case:
    model, shape, count = Model(draw), _shape(draw), draw.integer(1, 4)
    axis, size = draw.below(len(shape)), draw.integer(1, 4)
    shape[axis] = count * size
    source = model.source(shape)
    shape[axis] = size
    outputs = [model.activation(shape, model.quant(source)) for _ in range(count)]
    given = axis - len(shape) if draw.chance(2) else axis
    model.op("SPLIT", [model.constant(np.array(given)), source], outputs, "SplitOptions", NumSplits=count)
    return model.case("SPLIT", outputs)


def split_v(draw: Draw) -> Case:
    model, shape, count = Model(draw), _shape(draw), draw.integer(1, 4)
    axis, sizes = draw.below(len(shape)), [draw.integer(1, 4) for _ in range(count)]
    shape[axis] = sum(sizes)
    source = model.source(shape)
    outputs = [model.activation([*shape[:axis], size, *shape[axis + 1 :]], model.quant(source)) for size in sizes]
    given = list(sizes)
    if draw.chance(3):
        given[draw.below(count)] = -1
    more = [model.constant(given, draw.pick(["int32", "int64"])), model.constant(np.array(axis))]
    model.op("SPLIT_V", [source, *more], outputs, "SplitVOptions", NumSplits=count)
    return model.case("SPLIT_V", outputs)


def slice_(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, high=5)
    source = model.source(shape)
    begins = [draw.below(size) for size in shape]
    wanted = [draw.integer(1, size - begin) for size, begin in zip(shape, begins, strict=True)]
    to_end = [begin + size == whole for begin, size, whole in zip(begins, wanted, shape, strict=True)]
    given = [-1 if end and draw.chance(2) else size for end, size in zip(to_end, wanted, strict=True)]
    dtype = draw.pick(["int32", "int64"])
    more = [model.constant(begins, dtype), model.constant(given, dtype)]
    return _move(model, "SLICE", source, wanted, more, "SliceOptions")


def strided_slice(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, high=5)
    source = model.source(shape)
    masks, wanted = {"BeginMask": 0, "EndMask": 0, "ShrinkAxisMask": 0}, []
    begins, ends, strides = [], [], []
    for axis, size in enumerate(shape):
        stride = draw.pick([1, 2, 3, -1, -2])
        low, count = draw.below(size), draw.integer(1, size)
        begin, end = (low, low + count) if stride > 0 else (low, low - count)
        taken = list(range(size))[begin : (None if end < 0 else end) : stride]
        if draw.chance(6) and stride > 0:
            masks["ShrinkAxisMask"] |= 1 << axis
        elif draw.chance(6):
            masks["BeginMask"] |= 1 << axis
            taken = list(range(size))[: (None if end < 0 else end) : stride]
        elif draw.chance(6):
            masks["EndMask"] |= 1 << axis
            taken = list(range(size))[begin::stride]
        if not taken:
            begin, end, stride, taken = 0, size, 1, list(range(size))
        begins.append(begin - size if draw.chance(3) else begin)
        ends.append(end - size if end < 0 or (draw.chance(3) and end < size) else end)
        strides.append(stride)
        if not masks["ShrinkAxisMask"] >> axis & 1:
            wanted.append(len(taken))
    if not wanted:
        masks["ShrinkAxisMask"] = 0
        return strided_slice_whole(model, source)
    more = [model.constant(values) for values in (begins, ends, strides)]
    return _move(model, "STRIDED_SLICE", source, wanted, more, "StridedSliceOptions", **masks)


def strided_slice_whole(model: Model, source: int) -> Case:
    shape = model.shape(source)
    more = [model.constant(values) for values in ([0] * len(shape), shape, [1] * len(shape))]
    return _move(model, "STRIDED_SLICE", source, shape, more, "StridedSliceOptions")


def transpose(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, high=6, most=5)
    source, order = model.source(shape), draw.order(len(shape))
    given = [axis - len(shape) if draw.chance(5) else axis for axis in order]
    wanted = [shape[axis] for axis in order]
    return _move(model, "TRANSPOSE", source, wanted, [model.constant(given)], "TransposeOptions")


def tile(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw, most=5)
    source, repeats = model.source(shape), [draw.integer(1, 3) for _ in shape]
    wanted = [r * size for r, size in zip(repeats, shape, strict=True)]
    return _move(model, "TILE", source, wanted, [model.constant(repeats, draw.pick(["int32", "int64"]))], "TileOptions")


def broadcast_to(draw: Draw) -> Case:
    model, wanted = Model(draw), _shape(draw, high=5, most=5)
    shape = [1 if draw.chance(3) else size for size in wanted][draw.below(len(wanted)) :]
    source = model.source(shape)
    return _move(model, "BROADCAST_TO", source, wanted, [model.constant(wanted)], "BroadcastToOptions", 2)


def reverse_v2(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source, axis = model.source(shape), draw.below(len(shape))
    return _move(model, "REVERSE_V2", source, shape, [model.constant([axis])], "ReverseV2Options")


def space_to_depth(draw: Draw) -> Case:
    model, n = Model(draw), draw.integer(1, 3)
    b, h, w, c = (draw.integer(1, 4) for _ in range(4))
    source = model.source([b, h * n, w * n, c])
    return _move(model, "SPACE_TO_DEPTH", source, [b, h, w, c * n * n], [], "SpaceToDepthOptions", BlockSize=n)


def depth_to_space(draw: Draw) -> Case:
    model, n = Model(draw), draw.integer(1, 3)
    b, h, w, c = (draw.integer(1, 4) for _ in range(4))
    source = model.source([b, h, w, c * n * n])
    return _move(model, "DEPTH_TO_SPACE", source, [b, h * n, w * n, c], [], "DepthToSpaceOptions", BlockSize=n)


def space_to_batch_nd(draw: Draw) -> Case:
    model, axes = Model(draw), draw.pick([2, 1])
    blocks = [draw.integer(1, 3) for _ in range(axes)]
    sizes = [draw.integer(1, 6) for _ in range(axes)]
    pads = [[draw.integer(0, 3), draw.integer(0, 3)] for _ in range(axes)]
    for size, pad, block in zip(sizes, pads, blocks, strict=True):
        pad[1] += -(size + sum(pad)) % block
    batch, depth = draw.integer(1, 3), draw.integer(1, 4)
    source = model.source([batch, *sizes, depth])
    inner = [(size + sum(pad)) // block for size, pad, block in zip(sizes, pads, blocks, strict=True)]
    wanted = [batch * math.prod(blocks), *inner, depth]
    more = [model.constant(blocks), model.constant(pads)]
    return _move(model, "SPACE_TO_BATCH_ND", source, wanted, more, "SpaceToBatchNDOptions")


def batch_to_space_nd(draw: Draw) -> Case:
    model, axes = Model(draw), draw.pick([2, 1])
    blocks = [draw.integer(1, 3) for _ in range(axes)]
    sizes = [draw.integer(1, 5) for _ in range(axes)]
    crops, kept = [], []
    for size, block in zip(sizes, blocks, strict=True):
        whole = size * block
        before = draw.below(min(3, whole))
        after = draw.below(min(3, whole - before))
        crops.append([before, after])
        kept.append(whole - before - after)
    batch, depth = draw.integer(1, 3), draw.integer(1, 4)
    source = model.source([batch * math.prod(blocks), *sizes, depth])
    more = [model.constant(blocks), model.constant(crops)]
    return _move(model, "BATCH_TO_SPACE_ND", source, [batch, *kept, depth], more, "BatchToSpaceNDOptions")


def gather(draw: Draw) -> Case:
    model, shape = Model(draw), _shape(draw)
    source, axis = model.source(shape), draw.below(len(shape))
    rank = draw.integer(0, 2)
    indices = draw.values([draw.integer(1, 4) for _ in range(rank)], 0, shape[axis] - 1)
    wanted = [*shape[:axis], *indices.shape, *shape[axis + 1 :]]
    given = axis - len(shape) if draw.chance(2) else axis
    more = [model.constant(indices, draw.pick(["int32", "int64"]))]
    if not wanted:
        return squeeze(draw)
    return _move(model, "GATHER", source, wanted, more, "GatherOptions", Axis=given)


def _resize(draw: Draw, name: str, options: str) -> Case:
    model = Model(draw)
    b, h, w, c = draw.integer(1, 2), draw.integer(1, 7), draw.integer(1, 7), draw.integer(1, 4)
    wanted = [draw.integer(1, 12), draw.integer(1, 12)]
    kind = draw.below(4)
    corners, half = kind == 1, kind == 2
    if kind == 3 and name == "RESIZE_NEAREST_NEIGHBOR":
        corners = half = True
    source = model.source([b, h, w, c])
    more = [model.constant(wanted)]
    return _move(model, name, source, [b, *wanted, c], more, options, AlignCorners=corners, HalfPixelCenters=half)


def resize_nearest_neighbor(draw: Draw) -> Case:
    return _resize(draw, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")


def resize_bilinear(draw: Draw) -> Case:
    return _resize(draw, "RESIZE_BILINEAR", "ResizeBilinearOptions")


CASES: dict[str, Callable[[Draw], Case]] = {
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "PAD": pad,
    "PADV2": padv2,
    "MIRROR_PAD": mirror_pad,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "TRANSPOSE": transpose,
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "REVERSE_V2": reverse_v2,
    "SPACE_TO_DEPTH": space_to_depth,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_BATCH_ND": space_to_batch_nd,
    "BATCH_TO_SPACE_ND": batch_to_space_nd,
    "GATHER": gather,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest_neighbor,
    "RESIZE_BILINEAR": resize_bilinear,
}
