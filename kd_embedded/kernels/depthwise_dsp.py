"""depthwise_dsp: DEPTHWISE_CONV_2D with multiplier 1 on the DSP extension, a channel at a time; see the C file."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from kd_embedded.fixedpoint import wrap32
from kd_embedded.kernels import _dsp
from kd_embedded.kernels.clamp import clamped
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Overlap, Target

_BITS = 2  # weights times 4: totals may have 30 bits, and a right shift of 1 is in range
_ROWS_BYTES = 1536  # of rows in scratch: a plane of 24 x 24 with its border; larger ones go in bands


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call; None for batches, dilated windows, and what ``_dsp`` cannot requantize."""
    if layer.kind != "depthwise" or layer.n != 1 or layer.dilation != (1, 1):
        return None
    constants = _dsp.requantize(layer, _BITS)
    if constants is None:
        return None
    fast = layer.kernel == (3, 3) and not constants.ties
    plain, turned = _Scan.of(layer, turned=False, fast=fast), _Scan.of(layer, turned=True, fast=fast)
    scan = turned if (not turned.in_place(), turned.cost) < (not plain.in_place(), plain.cost) else plain
    weights = constants.weights.reshape(-1, *layer.kernel)
    parameters = (wrap32(constants.total << _BITS), constants.multiplier, constants.scale)
    args: dict[str, int | Array] = {
        "weights": Array("weights", (weights.swapaxes(1, 2) if scan.turned else weights).ravel(), "weights"),
        "parameters": Array("parameters", np.stack(parameters, axis=1).astype(np.int32).ravel()),
        "channels": layer.input_shape[2],
        **scan.args(),
        "fast": int(scan.fast),
        "input_zero_point": layer.input_zero_point,
        "output_zero_point": layer.output_zero_point,
        "ties": constants.ties,
    }
    overlaps = (Overlap(0, "same"),) if scan.in_place() else ()
    scratch = 8 * scan.kernel[0] * scan.words + 4 * scan.row_words * scan.scratch_rows
    inputs, outputs = (layer.input,), (layer.output,)
    return clamped(layer, Call("depthwise_dsp", op, inputs, outputs, MappingProxyType(args), scratch, overlaps))


@dataclass(frozen=True)
class _Scan:
    """The order in which a plane is computed: along its rows, or ``turned``, along its columns.

    Each pair is (across, along): rows and columns, or columns and rows.
    """

    turned: bool
    fast: bool
    channels: int
    input: tuple[int, int]
    output: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, layer: Layer, *, turned: bool, fast: bool) -> _Scan:
        def pair(values: tuple[int, ...]) -> tuple[int, int]:
            return (values[1], values[0]) if turned else (values[0], values[1])

        return cls(
            turned=turned,
            fast=fast and pair(layer.stride)[1] <= 2,
            channels=layer.input_shape[2],
            input=pair(layer.input_shape),
            output=pair(layer.output_shape),
            kernel=pair(layer.kernel),
            stride=pair(layer.stride),
            padding=pair(layer.padding),
        )

    @property
    def words(self) -> int:
        return (self.kernel[1] + self.stride[1] % 2 + 1) // 2

    @property
    def row_words(self) -> int:
        """Words of a scratch row: all that the last windows read, of which the C code takes two or four at once."""
        if self.stride[1] == 1 and not self.fast:
            return (self.output[1] - 1) // 4 * 2 + 1 + self.words
        return (self.output[1] - 1) // 2 * self.stride[1] + self.stride[1] // 2 + self.words

    @property
    def band(self) -> int:
        """Rows of the output for which scratch has room."""
        rows = _ROWS_BYTES // (4 * self.row_words)
        return min(self.output[0], max(1, (rows - self.kernel[0]) // self.stride[0] + 1))

    @property
    def scratch_rows(self) -> int:
        return (self.band - 1) * self.stride[0] + self.kernel[0]

    @property
    def cost(self) -> int:
        """About what a plane takes: instructions."""
        pair = 12 + 6 * self.kernel[0] * self.words
        return self.output[0] * (15 + pair * -(-self.output[1] // 2)) + 20 * self.scratch_rows

    def in_place(self) -> bool:
        """Whether every band writes, of its own channel, only pixels that have been gathered."""
        done = np.arange(1, self.output[0] + 1)
        bands = np.minimum(-(-done // self.band) * self.band, self.output[0])
        gathered = np.clip((bands - 1) * self.stride[0] + self.kernel[0] - self.padding[0], 0, self.input[0])
        if not self.turned:
            return bool((done * self.output[1] <= gathered * self.input[1]).all())
        # Turned, row i of the output is column i of the image; its pixels lie in any column of the input.
        pixels = np.arange(self.output[1])[None, :] * self.output[0] + (done - 1)[:, None]
        return bool((pixels % self.input[0] < gathered[:, None]).all() or (gathered == self.input[0]).all())

    def args(self) -> dict[str, int]:
        def steps(shape: tuple[int, int]) -> tuple[int, int]:
            return (
                (self.channels, shape[0] * self.channels) if self.turned else (shape[1] * self.channels, self.channels)
            )

        input_steps, output_steps = steps(self.input), steps(self.output)
        return {
            "input_rows": self.input[0],
            "input_columns": self.input[1],
            "input_row_step": input_steps[0],
            "input_step": input_steps[1],
            "output_rows": self.output[0],
            "output_columns": self.output[1],
            "output_row_step": output_steps[0],
            "output_step": output_steps[1],
            "kernel_rows": self.kernel[0],
            "kernel_columns": self.kernel[1],
            "stride_rows": self.stride[0],
            "stride_columns": self.stride[1],
            "padding_rows": self.padding[0],
            "padding_columns": self.padding[1],
            "words": self.words,
            "row_words": self.row_words,
            "band": self.band,
        }
