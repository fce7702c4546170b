"""MobileNetV1 (Howard et al. 2017) at 0.25, MLPerf Tiny's visual wake words; ``width`` multiplies on top of that."""

from typing import Any

from kd_embedded import blocks

_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in, 96x96x3 in the benchmark; about 220 000 parameters at width 1."""
    import keras

    inputs = blocks.image_input(input_shape, "mobilenet_v1")
    x = blocks.conv(inputs, blocks.channels(32, width / 4), 3, "conv", stride=2)
    for index, (base, stride) in enumerate(_BLOCKS, start=1):
        x = blocks.depthwise(x, 3, f"dw{index}", stride=stride)
        x = blocks.conv(x, blocks.channels(base, width / 4), 1, f"pw{index}")
    return keras.Model(inputs, blocks.head(x, classes), name="mobilenet_v1")
