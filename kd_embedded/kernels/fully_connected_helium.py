"""fully_connected_helium: FULLY_CONNECTED on Helium, four outputs at a time; see the C file for its cost."""

from __future__ import annotations

import numpy as np

from kd_embedded.kernels import _helium
from kd_embedded.kernels._parts import weights_array
from kd_embedded.kernels.layers import Layer
from kd_embedded.program import Array, Call, Overlap, Target


def lower(layer: Layer, op: int, target: Target) -> tuple[Call, ...] | None:
    """The call; None for left shifts, and weights with a zero point."""
    if layer.kind != "dense" or not _helium.takes(layer):
        return None
    depth, outputs = layer.input_shape[2], layer.output_shape[2]
    args: dict[str, int | Array] = {
        "weights": weights_array(layer),
        **_helium.per_channel(layer, _helium.whole(outputs, 4)),
        "rows": layer.n,
        "depth": depth,
        "outputs": outputs,
        "output_zero_point": layer.output_zero_point,
        "low": layer.low,
        "high": layer.high,
    }
    rows = np.arange(layer.n)
    gap = int(((rows + 1) * outputs - rows * depth).max())  # a row is read whole for each of its outputs
    overlaps = (Overlap(0, "forward", gap),)
    return (Call("fully_connected_helium", op, (layer.input,), (layer.output,), args, None, overlaps),)
