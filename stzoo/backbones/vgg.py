"""VGG-16 over clips.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image
Recognition. ICLR 2015. https://arxiv.org/abs/1409.1556

The convolutions of configuration D are applied to each frame. Layers have the names of
torchvision's checkpoints (`features_0`).
"""

import keras

from stzoo.layers.conv import FrameConv
from stzoo.layers.pool import max_pool

# Table 1 of the paper: convolutions of each stage, and their filters for a width of 64.
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16(x, width=64, prefix=""):
    """Thirteen convolutions in five stages, each followed by a pool.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        width: int, filters of the first stage. All other filters scale with it.
        prefix: string, prefix of the names of layers.

    Returns:
        Tensor `(batch, frames, height / 32, width / 32, 8 * width)`, rounded down.
    """
    number = 0  # torchvision numbers convolutions, ReLUs and pools
    for convolutions, filters in STAGES:
        for _ in range(convolutions):
            name = f"{prefix}features_{number}"
            x = FrameConv(filters * width // 64, 3, use_bias=True, name=name)(x)
            x = keras.layers.ReLU(name=f"{prefix}features_{number + 1}")(x)
            number += 2
        x = max_pool(x, (1, 2, 2), (1, 2, 2), f"{prefix}features_{number}")
        number += 1
    return x
