"""Kernels for Helium: random layers, many in one image, on the emulated Cortex-M55 against the integer reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_images import DIFFERS, arguments, constant, run
from numpy.typing import NDArray

from kd_embedded.fixedpoint import INT32_MAX, INT32_MIN, multiply_by_quantized_multiplier
from kd_embedded.kernels import conv_helium, depthwise_helium, fully_connected_helium
from kd_embedded.kernels.layers import Layer
from kd_embedded.ops._layers import evaluate
from kd_embedded.program import Call, Target

_TARGET = Target("helium")
_MAIN = """
static int8_t memory[65536];
static int32_t scratch[8192];

int main(void) {
"""


def _layer(rng: np.random.Generator, kind: Any, **known: Any) -> Layer:
    """A random layer of ``kind``; ``known`` fixes some of its fields."""
    width = int(rng.choice([2, 4, 8, 16])) if rng.random() < 0.3 else int(rng.integers(1, 40))
    fields: dict[str, Any] = {
        "n": int(rng.choice([1, 1, 2])),
        "input_shape": (*(int(v) for v in rng.integers(1, 9, 2)), width),
        "kernel": tuple(int(v) for v in rng.integers(1, 5, 2)),
        "stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
        "dilation": tuple(int(v) for v in rng.choice([1, 1, 1, 2], 2)),
        "padding": tuple(int(v) for v in rng.integers(0, 4, 2)),
        "input_zero_point": int(rng.integers(-128, 128)),
        "output_zero_point": int(rng.integers(-128, 128)),
        "outputs": width if kind == "depthwise" else int(rng.integers(1, 40)),
    } | known
    if kind == "dense" or ("kernel" not in known and rng.random() < 0.2):  # pointwise
        fields |= {"kernel": (1, 1), "padding": (0, 0)}
    if kind == "dense":
        fields |= {"stride": (1, 1), "dilation": (1, 1)}
        fields["input_shape"] = (1, 1, fields["input_shape"][2])
    outputs = fields.pop("outputs")
    height, columns, channels = fields["input_shape"]
    taps = (*fields["kernel"], outputs) if kind == "depthwise" else (outputs, *fields["kernel"], channels)
    weights = rng.integers(-127, 128, taps)
    shift = rng.integers(-31, 1, outputs) if rng.random() < 0.2 else rng.integers(-12, -4, outputs)
    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    return Layer(
        kind=kind,
        input=0,
        output=1,
        output_shape=(1, 1, outputs)
        if kind == "dense"
        else (max(1, -(-height // fields["stride"][0])), max(1, -(-columns // fields["stride"][1])), outputs),
        groups=channels if kind == "depthwise" else 1,
        weights=weights.astype(np.int8),
        bias=rng.integers(-(2 ** int(rng.integers(1, 31))), 2 ** int(rng.integers(1, 31)), outputs),
        multiplier=rng.integers(1 << 30, 1 << 31, outputs) * rng.integers(0, 8, outputs).clip(0, 1),
        shift=shift,
        weights_zero_point=0,
        **({"low": -128, "high": 127} if rng.random() < 0.5 else {"low": low, "high": high}),
        **fields,
    )


def _batch(lower: Any, kind: Any, count: int, seed: int) -> Iterator[tuple[Layer, Call, NDArray[Any], int]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        layer = _layer(rng, kind)
        calls = lower(layer, 0, _TARGET)
        assert calls is not None and len(calls) == 1
        extreme = rng.random() < 0.2
        size = (1, layer.n, *layer.input_shape)
        x = rng.choice([-128, 127], size) if extreme else rng.integers(-128, 128, size)
        yield layer, calls[0], x.astype(np.int8), calls[0].overlaps[0].gap


def _source(kernel: str, cases: list[tuple[Layer, Call, NDArray[Any], int]]) -> str:
    """A program that runs each layer, its output over its input as far as the call allows, and prints differences."""
    text = f'#include <stdio.h>\n#include <string.h>\n#include "{kernel}.h"\n'
    body = ""
    for i, (layer, call, x, gap) in enumerate(cases):
        expected = evaluate(layer, x)
        text += constant(f"x{i}", x) + constant(f"y{i}", expected) + arguments(call, i)
        source, target = max(gap, 0), max(-gap, 0)
        scratch = "" if call.scratch is None else ", scratch"
        body += (
            f"  memcpy(memory + {source}, x{i}, {x.size});\n"
            f"  kd_{kernel}(&a{i}, memory + {source}, memory + {target}{scratch});\n"
            f'  printf("{i} %d\\n", differs(memory + {target}, y{i}, {expected.size}));\n'
        )
        assert max(source + x.size, target + expected.size) <= 65536 and (call.scratch or 0) <= 32768
    return text + DIFFERS + _MAIN + body + "  return 0;\n}\n"


@pytest.mark.parametrize("optimize", ["-O2", "-Os"])
@pytest.mark.parametrize(
    ("module", "kind"), [(conv_helium, "conv"), (depthwise_helium, "depthwise"), (fully_connected_helium, "dense")]
)
def test_random_layers(tmp_path: Path, module: Any, kind: str, optimize: str) -> None:
    """Each of 40 random layers gives the reference's bytes, its output as near to its input as the call says."""
    kernel = module.__name__.rpartition(".")[2]
    cases = list(_batch(module.lower, kind, 40, seed=len(kernel)))
    lines = run(tmp_path, _source(kernel, cases), [kernel], "cortex-m55", [optimize])
    assert lines == [f"{i} -1" for i in range(len(cases))]


def test_requantize(tmp_path: Path) -> None:
    """Four lanes at once round as the reference: ties of both signs, the ends of int32, every shift from -31 to 0."""
    rng = np.random.default_rng(1)
    shift = np.repeat(np.arange(-31, 1), 64)
    ties = (rng.integers(-9, 10, shift.size) * 2 + 1) << np.clip(-shift, 0, 26)
    x = np.where(rng.random(shift.size) < 0.5, ties, rng.integers(INT32_MIN, INT32_MAX + 1, shift.size))
    x[::16], x[1::16] = INT32_MIN, INT32_MAX
    multiplier = rng.choice([1 << 30, INT32_MAX, 0, 1518500250], shift.size)
    expected = multiply_by_quantized_multiplier(x, multiplier, shift)
    arrays = {"x": x, "multiplier": multiplier, "shift": shift, "expected": expected}
    text = '#include <stdio.h>\n#include "helium.h"\n'
    text += "".join(constant(name, values.astype(np.int32)) for name, values in arrays.items())
    text += f"""int main(void) {{
  int wrong = 0, compared = 0;
  for (int i = 0; i < {shift.size}; i += 4) {{
    int32_t got[4];
    vstrwq_s32(got, kd_helium_requantize(vldrwq_s32(x + i), vldrwq_s32(multiplier + i), vldrwq_s32(shift + i)));
    for (int k = 0; k < 4; k++) {{
      wrong += got[k] != expected[i + k];
      compared++;
    }}
  }}
  printf("%d wrong of %d\\n", wrong, compared);
  return 0;
}}
"""
    assert run(tmp_path, text, [], "cortex-m55", ["-O2"]) == [f"0 wrong of {shift.size}"]


def test_left_to_the_portable_kernels() -> None:
    """Groups, left shifts, weights around another value, and taps whose products do not fit 16 bits in pairs."""
    rng = np.random.default_rng(2)
    for module, kind in ((conv_helium, "conv"), (depthwise_helium, "depthwise"), (fully_connected_helium, "dense")):
        layer = _layer(rng, kind)
        assert module.lower(layer, 0, _TARGET)
        assert module.lower(replace(layer, shift=layer.shift * 0 + 1), 0, _TARGET) is None
        assert module.lower(replace(layer, weights_zero_point=1), 0, _TARGET) is None
    grouped = _layer(rng, "conv", input_shape=(4, 4, 2), outputs=2)
    assert conv_helium.lower(replace(grouped, groups=2, weights=grouped.weights[..., :1]), 0, _TARGET) is None
    deep = _layer(rng, "depthwise")
    heavy = np.full((2, 1, deep.output_shape[2]), -128, np.int8)
    assert depthwise_helium.lower(replace(deep, kernel=(2, 1), weights=heavy), 0, _TARGET) is None
