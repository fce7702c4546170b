"""Models for the tests of the aot engine: one built here, two committed, and what the oracle says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_builder import O, T, build

from kd_embedded import interpreters
from kd_embedded.aot import Program, compile_model
from kd_embedded.program import Family, Optimize, Target

DATA = Path(__file__).resolve().parent / "data"
FAMILIES: tuple[Family, ...] = ("c", "dsp", "helium")


def small_net(seed: int = 0) -> bytes:
    """Convolution, depthwise convolution, reshape and dense layer, int8 [1, 7, 6, 3] to [1, 5]."""
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> NDArray[Any]:
        return rng.integers(-127, 128, shape)

    def scales(count: int, of: float) -> list[float]:
        return [of * (1 + i / 8) for i in range(count)]

    tensors = [
        T([1, 7, 6, 3], "int8", 0.05, -3),
        T([8, 3, 3, 3], "int8", scales(8, 0.01), [0] * 8, data=values(8, 3, 3, 3)),
        T([8], "int32", scales(8, 0.0005), [0] * 8, data=values(8) * 9),
        T([1, 7, 6, 8], "int8", 0.04, -128),
        T([1, 3, 3, 8], "int8", scales(8, 0.01), [0] * 8, axis=3, data=values(1, 3, 3, 8)),
        T([8], "int32", scales(8, 0.0004), [0] * 8, data=values(8) * 9),
        T([1, 4, 3, 8], "int8", 0.03, 4),
        T([2], "int32", None, data=np.array([1, 96])),
        T([1, 96], "int8", 0.03, 4),
        T([5, 96], "int8", 0.01, 0, data=values(5, 96)),
        T([5], "int32", 0.0003, 0, data=values(5) * 9),
        T([1, 5], "int8", 0.2, 7),
    ]
    conv = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "FusedActivationFunction": 1}
    depthwise = {"StrideH": 2, "StrideW": 2, "DilationHFactor": 1, "DilationWFactor": 1, "DepthMultiplier": 1}
    return build(
        tensors,
        [
            O("CONV_2D", [0, 1, 2], [3], "Conv2DOptions", conv, version=3),
            O("DEPTHWISE_CONV_2D", [3, 4, 5], [6], "DepthwiseConv2DOptions", depthwise, version=3),
            O("RESHAPE", [6, 7], [8], "ReshapeOptions"),
            O("FULLY_CONNECTED", [8, 9, 10], [11], "FullyConnectedOptions", version=4),
        ],
    )


MODELS = {
    "net": small_net(),
    "tiny": (DATA / "tiny.tflite").read_bytes(),
    "residual": (DATA / "residual.tflite").read_bytes(),
}


def compiled(model: str, family: Family = "c", optimize: Optimize = "speed") -> Program:
    return compile_model(MODELS[model], model, Target(family, optimize))


def samples(program: Program, count: int = 12) -> NDArray[np.int8]:
    shape = (count, *program.input.shape[1:])
    return np.random.default_rng(5).integers(-128, 128, shape, dtype=np.int8)


def oracle(model: str, inputs: NDArray[np.int8]) -> NDArray[Any]:
    return interpreters.run_oracle(MODELS[model], inputs).outputs
