"""Kernels for the DSP extension: random layers, many in one image, on emulated cores against the integer reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from kernel_images import DIFFERS, arguments, constant, run
from numpy.typing import NDArray

from kd_embedded.fixedpoint import multiply_by_quantized_multiplier
from kd_embedded.kernels import _dsp, conv_dsp, depthwise_dsp, fully_connected_dsp
from kd_embedded.kernels.layers import Layer
from kd_embedded.ops._layers import evaluate, window
from kd_embedded.program import Array, Call, Overlap, Target

_LOWER = {"conv": conv_dsp.lower, "depthwise": depthwise_dsp.lower, "dense": fully_connected_dsp.lower}
_GUARD = 16  # bytes behind scratch and around the tensors that nothing may write
_MAIN = """
static int8_t memory[1 << 17];

static int written(const int8_t *guard) {
  int bytes = 0;
  for (int i = 0; i < 16; i++) {
    bytes += guard[i] != 0x55;
  }
  return bytes;
}

int main(void) {
"""


class Case(NamedTuple):
    layer: Layer
    call: Call
    x: NDArray[Any]


def _layer(rng: np.random.Generator, kind: Any, **known: Any) -> Layer:
    """A random layer of ``kind`` that the DSP kernels take; ``known`` fixes some of its fields."""

    def some(*values: int) -> int:
        return int(rng.choice(values))

    height, width, channels = (int(v) for v in rng.integers(1, (14, 14, 24)))
    fields: dict[str, Any] = {
        "n": some(1, 1, 1, 2) if kind == "conv" else 1,
        "input_shape": known.get("input_shape", (height, width, some(channels, 1, 4, 8, 16))),
        "kernel": (some(1, 1, 2, 3, 3, 5), some(1, 1, 2, 3, 3, 6)),
        "stride": (some(1, 1, 2, 3), some(1, 1, 2, 3)),
        "dilation": (some(1, 1, 1, 2) if kind == "conv" else 1, 1),
        "outputs": int(rng.integers(1, 24)),
    } | known
    (height, width, channels), kernel = fields["input_shape"], fields["kernel"]
    if kind == "depthwise":
        kernel = (3, 3) if rng.random() < 0.5 and "kernel" not in known else kernel
        fields["outputs"] = channels
    padding = "SAME" if rng.random() < 0.7 else "VALID"
    if kind == "dense":
        fields |= {"kernel": (height, width), "stride": (1, 1)}
        kernel, padding = (height, width), "VALID"
    axes = [
        window(size, kernel[i], fields["stride"][i], fields["dilation"][i], padding)
        for i, size in enumerate((height, width))
    ]
    if min(axis.output for axis in axes) < 1:
        return _layer(rng, kind, **known)
    outputs = fields.pop("outputs")
    weights = rng.integers(-127, 128, (*kernel, outputs) if kind == "depthwise" else (outputs, *kernel, channels))
    weights *= (
        rng.choice([0, 1, 1, 1, 1, 1], outputs) if kind == "depthwise" else rng.choice([0, 1, 1, 1], (outputs, 1, 1, 1))
    )
    if rng.random() < 0.2:
        weights = np.sign(weights) * 127
    reach = int(rng.integers(1, 22 if kind != "depthwise" else 28))
    same = rng.random() < 0.3
    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    values: dict[str, Any] = {
        "weights": weights.astype(np.int8),
        "bias": rng.integers(-(1 << reach), 1 << reach, outputs).astype(np.int32),
        "multiplier": rng.integers(1 << 30, 1 << 31, 1 if same else outputs)
        .repeat(outputs if same else 1)
        .astype(np.int32),
        "shift": -rng.integers(*((1, 24) if rng.random() < 0.2 else (5, 12)), 1 if same else outputs)
        .repeat(outputs if same else 1)
        .astype(np.int32),
        "input_zero_point": some(-128, 127, 0, int(rng.integers(-128, 128))),
        "output_zero_point": some(-128, -128, 127, int(rng.integers(-128, 128))),
    }
    return Layer(
        kind="conv" if kind == "dense" else kind,
        input=0,
        output=1,
        output_shape=(axes[0].output, axes[1].output, outputs),
        padding=(axes[0].before, axes[1].before),
        groups=channels if kind == "depthwise" else 1,
        weights_zero_point=0,
        **({"low": -128, "high": 127} if rng.random() < 0.8 else {"low": low, "high": high}),
        **fields | {"kernel": kernel},
        **{key: value for key, value in values.items() if key not in known},
    )


def _cases(kind: str, count: int, seed: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        layer = _layer(rng, kind)
        calls = _LOWER[kind](layer, 0, Target("dsp"))
        if calls is None:
            continue
        assert len(calls) == 1 + layer.clamps
        size = (layer.n, *layer.input_shape)
        x = rng.choice([-128, 127], size) if rng.random() < 0.2 else rng.integers(-128, 128, size)
        cases.append(Case(layer, calls[0], x.astype(np.int8)))
    return cases


def _places(call: Call, inputs: int, outputs: int) -> tuple[int, int]:
    """Where input and output begin: one over the other as far as the call says, by whole words."""
    between = -(-inputs // 4) * 4  # from the input's start to the output's
    for overlap in call.overlaps:
        if overlap.kind == "forward":
            between = (-overlap.gap) // 4 * 4
        elif overlap.kind == "backward":
            between = -(-(overlap.gap - outputs + inputs) // 4) * 4
        else:
            between = 0
    return max(-between, 0), max(between, 0)


def _source(kernels: list[str], cases: list[Case]) -> str:
    """A program that runs each layer and prints the first byte that differs and how many guards were written."""
    text = "#include <stdio.h>\n#include <string.h>\n" + "".join(f'#include "{kernel}.h"\n' for kernel in kernels)
    body = ""
    for i, (layer, call, x) in enumerate(cases):
        whole = replace(layer, low=-128, high=127)  # the range is held by a call of its own
        expected = evaluate(whole, x)
        text += constant(f"x{i}", x) + constant(f"y{i}", expected) + arguments(call, i)
        source, target = (place + _GUARD for place in _places(call, x.size, expected.size))
        end = -(-max(source + x.size, target + expected.size) // 4) * 4
        scratch = end + _GUARD
        last = scratch + (call.scratch or 0)
        body += (
            f"  memset(memory, 0x55, {last + _GUARD});\n"
            f"  memcpy(memory + {source}, x{i}, {x.size});\n"
            f"  kd_{call.kernel}(&a{i}, memory + {source}, memory + {target}"
            f"{'' if call.scratch is None else f', memory + {scratch}'});\n"
            f'  printf("{i} %d %d\\n", differs(memory + {target}, y{i}, {expected.size}), '
            f"written(memory) + written(memory + {end}) + written(memory + {last}));\n"
        )
        assert last + _GUARD < 1 << 17
    return text + DIFFERS + _MAIN + body + "  return 0;\n}\n"


@pytest.mark.parametrize(
    ("core", "flags"),
    [
        ("cortex-m4", ["-O2"]),
        ("cortex-m4", ["-Os"]),
        ("cortex-m4", ["-O0", "-fno-omit-frame-pointer"]),
        ("cortex-m33", ["-Os"]),
    ],
)
def test_random_layers(tmp_path: Path, core: str, flags: list[str]) -> None:
    """Each random layer gives the reference's bytes, its output as near its input as the call says, within bounds."""
    seed = len(core) + sum(map(len, flags))
    cases = [case for kind in _LOWER for case in _cases(kind, 40, seed)]
    assert {overlap.kind for case in cases for overlap in case.call.overlaps} == {"forward", "backward", "same"}
    kernels = sorted({case.call.kernel for case in cases})
    assert kernels == ["conv_dsp", "depthwise_dsp", "fully_connected_dsp"]
    assert run(tmp_path, _source(kernels, cases), kernels, core, flags) == [f"{i} -1 0" for i in range(len(cases))]


@pytest.mark.parametrize("bits", [2, _dsp.PACKED_BITS])
def test_requantization(bits: int) -> None:
    """Two multiplications do what the reference does: every shift, ties of both signs, totals to the limit."""
    rng = np.random.default_rng(bits)
    limit = 1 << (31 - bits)
    for right in range(1, 32):
        ties = (rng.integers(-9, 10, 400) * 2 + 1) << min(right, 30 - bits)
        totals = np.concatenate(
            (ties.clip(-limit, limit - 1), rng.integers(-limit, limit, 400), [-limit, limit - 1, -1, 0, 1])
        )
        for multiplier in (1 << 30, (1 << 31) - 1, int(rng.integers(1 << 30, 1 << 31))):
            for zero_point in (-128, 5, 127):
                layer = _scalar(multiplier, -right, zero_point, depth=limit >> 14)
                constants = _dsp.requantize(layer, bits)
                assert constants is not None
                if not constants.weights.any():  # the same output for every input
                    assert right >= 31 - bits
                    continue
                expected = multiply_by_quantized_multiplier(totals, multiplier, -right) + zero_point
                high = ((totals << bits) * int(constants.multiplier[0]) >> 32) + (1 << (bits - 2))
                high -= np.where(high < 0, constants.ties, 0)
                got = (high * int(constants.scale[0]) + (1 << 31) >> 32) + zero_point
                np.testing.assert_array_equal(got.clip(-128, 127), expected.clip(-128, 127))


def _scalar(multiplier: int, shift: int, zero_point: int, depth: int = 4) -> Layer:
    """A layer of one output, whose totals reach just below ``depth << 14`` on both sides."""
    layer = _layer(np.random.default_rng(0), "conv", input_shape=(1, 1, depth), kernel=(1, 1), outputs=1)
    return replace(
        layer,
        n=1,
        weights=np.full((1, 1, 1, depth), 127, np.int8),
        bias=np.array([0], np.int32),
        multiplier=np.array([multiplier], np.int32),
        shift=np.array([shift], np.int32),
        input_zero_point=0,
        output_zero_point=zero_point,
    )


def test_constant_channels_need_no_weights() -> None:
    """Saturated for every input, by a bias that no DSP sum could hold: the same bytes, and zeros for weights."""
    layer = _scalar(1 << 30, -8, -128)
    layer = replace(layer, bias=np.array([1 << 29], np.int32))
    constants = _dsp.requantize(layer, _dsp.PACKED_BITS)
    assert constants is not None and not constants.weights.any()
    assert conv_dsp.lower(layer, 0, Target("dsp"))
    assert conv_dsp.lower(replace(layer, shift=np.array([-31], np.int32)), 0, Target("dsp"))


def test_left_to_the_portable_kernels() -> None:
    """Groups, weights around another value, shifts to the left, totals beyond the sums' range, dilated columns."""
    rng, target = np.random.default_rng(2), Target("dsp")
    layer = _layer(rng, "conv", input_shape=(4, 5, 8), kernel=(3, 3), dilation=(1, 1), outputs=8)
    assert conv_dsp.lower(layer, 0, target)
    assert conv_dsp.lower(replace(layer, groups=2, weights=layer.weights[..., :4]), 0, target) is None
    assert conv_dsp.lower(replace(layer, weights_zero_point=1), 0, target) is None
    assert conv_dsp.lower(replace(layer, shift=np.full(8, 1, np.int32)), 0, target) is None
    wide = replace(layer, bias=np.full(8, 1 << 23, np.int32), shift=np.full(8, -17, np.int32), output_zero_point=-128)
    assert conv_dsp.lower(wide, 0, target) is None
    assert conv_dsp.lower(replace(layer, dilation=(1, 2)), 0, target) is None
    borrowed = np.full_like(layer.weights, -128)
    assert conv_dsp.lower(replace(layer, weights=borrowed), 0, target) is None
    plane = _layer(rng, "depthwise", input_shape=(6, 6, 3))
    assert depthwise_dsp.lower(plane, 0, target)
    assert depthwise_dsp.lower(replace(plane, dilation=(2, 1)), 0, target) is None


def test_padding_adds_little() -> None:
    """A channel of depth 1 would grow to 4: not packed; 27 grow to 28, and 9 to 12 where it is little in bytes."""
    rng, target = np.random.default_rng(3), Target("dsp")

    def added(depth: int, outputs: int) -> int | None:
        layer = _layer(rng, "conv", input_shape=(3, 3, depth), kernel=(1, 1), stride=(1, 1), outputs=outputs)
        calls = conv_dsp.lower(replace(layer, bias=layer.bias * 0), 0, target)
        if calls is None:
            return None
        weights = calls[0].args["weights"]
        assert isinstance(weights, Array)
        return weights.data.nbytes - layer.weights.size

    assert added(1, 64) is None
    assert added(27, 16) == 16
    assert added(9, 8) == 24
    assert added(9, 64) is None


def test_pointwise_in_place() -> None:
    """As many channels or fewer: the output may begin where the input does; more: they may end together."""
    rng, target = np.random.default_rng(4), Target("dsp")

    def overlap(channels: int, outputs: int) -> Overlap:
        layer = _layer(rng, "conv", n=1, input_shape=(5, 5, channels), kernel=(1, 1), stride=(1, 1), outputs=outputs)
        calls = conv_dsp.lower(replace(layer, bias=layer.bias * 0), 0, target)
        assert calls is not None
        return calls[0].overlaps[0]

    assert overlap(8, 8) == Overlap(0, "forward", 0)
    assert overlap(16, 8).gap <= 0
    wider = overlap(8, 16)
    assert wider.gap <= (25 * 16 if wider.kind == "backward" else 24 * 8)
