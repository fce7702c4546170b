"""ResNet-20 of the CIFAR experiments (He et al. 2015, section 4.2): nine basic blocks of 16, 32 and 64 channels."""

from typing import Any

from kd_embedded import blocks


def build(input_shape: tuple[int, ...], classes: int, width: float) -> Any:
    """[H, W, C] in; 270 000 parameters at width 1 and 32x32x3, about 91 to 92 % on CIFAR-10 in the paper."""
    import keras

    inputs = blocks.image_input(input_shape, "resnet20")
    x = blocks.conv(inputs, blocks.channels(16, width), 3, "conv")
    for stage, base in enumerate((16, 32, 64), start=1):
        for block in (1, 2, 3):
            stride = 2 if stage > 1 and block == 1 else 1
            x = blocks.residual(x, blocks.channels(base, width), f"block{stage}{block}", stride=stride)
    return keras.Model(inputs, blocks.head(x, classes), name="teacher_resnet20")
