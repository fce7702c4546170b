"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED brought to one form, from which every kernel is lowered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of sums of products, requantized per output channel.

    Shapes are NHWC with batch ``n`` (1 nearly always; the rows of a FULLY_CONNECTED are its batch, 1x1 images).
    ``weights``: int8 [C_OUT, HK, WK, C_IN / groups] for ``conv`` and ``dense`` (HK = WK = 1), int8 [HK, WK, C] for
    ``depthwise``, which has as many output as input channels, and more than one: a DEPTHWISE_CONV_2D with a multiplier,
    or of a single channel, is a ``conv`` with a group for each input channel.
    ``bias`` int32 [C_OUT] (zeros where the op has none), without any zero point folded in. ``multiplier`` int32 and
    ``shift`` int32 [C_OUT] (``fixedpoint.multiply_by_quantized_multiplier``). The output is clamped to
    [``low``, ``high``], which lies in [-128, 127].
    """

    kind: Literal["conv", "depthwise", "dense"]
    input: int  # tensor indices
    output: int
    n: int
    input_shape: tuple[int, int, int]  # H, W, C_IN
    output_shape: tuple[int, int, int]  # H, W, C_OUT
    kernel: tuple[int, int]  # HK, WK
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]  # rows above, columns on the left; those after follow from the shapes
    groups: int
    weights: NDArray[Any]
    bias: NDArray[Any]
    multiplier: NDArray[Any]
    shift: NDArray[Any]
    input_zero_point: int
    weights_zero_point: int  # 0 but for old per-tensor models
    output_zero_point: int
    low: int
    high: int

    @property
    def clamps(self) -> bool:
        """Whether the output is held in less than int8's own range."""
        return self.low > -128 or self.high < 127

    def taps(self) -> NDArray[Any]:
        """int64 [OUT_H * OUT_W, HK * WK]: the pixel that each tap of each window reads; H * W if outside the image."""
        rows, columns = (self._axis(axis) for axis in (0, 1))
        height, width = self.input_shape[:2]
        y, x = rows[:, None, :, None], columns[None, :, None, :]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return np.asarray(np.where(inside, y * width + x, height * width).reshape(len(rows) * len(columns), -1))

    def _axis(self, axis: int) -> NDArray[Any]:
        """int64 [OUT, K]: the row (axis 0) or column (axis 1) that each tap of each window reads, outside ones too."""
        starts = np.arange(self.output_shape[axis]) * self.stride[axis] - self.padding[axis]
        return np.asarray(starts[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis])
