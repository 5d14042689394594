"""S3D: Inception v1 with separable 3D convolutions.

Xie, Sun, Huang, Tu, Murphy: Rethinking Spatiotemporal Feature Learning. ECCV 2018.
https://arxiv.org/abs/1712.04851

A kxkxk convolution is split into 1xkxk in space and kx1x1 in time. Each of them has a
batch norm and a ReLU. Layers have the names of the blocks in TF-Slim (`mixed_3b`),
where the stem is `stem_1a`, `stem_2b` and `stem_2c`.
"""

import keras

from stzoo.layers.concatenate import Concatenate
from stzoo.layers.conv import ClipConv, FrameConv
from stzoo.layers.norm import BatchNorm
from stzoo.layers.pool import max_pool

# Inception v1 (Szegedy et al., CVPR 2015, Table 1): 1x1, (reduce, 3x3), (reduce, the
# second 3x3, which is 5x5 there), projection of the pool.
BLOCKS = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}
# The pools before blocks. The size of 2 drops a remainder.
POOLS = {"4b": ("pool_4a", (3, 3, 3)), "5b": ("pool_5a", (2, 2, 2))}


def s3d(x, gate=None, width=64):
    """A stem and nine Inception blocks.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        gate: function `(x, name)` applied to the output of the last convolution of the
            stem (`"stem_2c"`) and of each branch (`"mixed_3b_branch0"`), or `None`.
        width: int, filters of the stem. All other filters scale with it.

    Returns:
        Tensor `(batch, frames / 8, height / 32, width / 32, 16 * width)`.
    """
    gate = gate or _nothing

    def unit(x, filters, size, name, strides=1, kind=""):
        filters = filters * width // 64
        if isinstance(size, int):
            conv = FrameConv(filters, size, strides, name=f"{name}_conv{kind}")
        else:
            conv = ClipConv(filters, size, strides, name=f"{name}_conv{kind}")
        x = BatchNorm(epsilon=1e-3, name=f"{name}_bn{kind}")(conv(x))
        return keras.layers.ReLU(name=f"{name}_relu{kind}")(x)

    def separable(x, filters, size, name, stride=1):
        x = unit(x, filters, size, name, stride, "_s")
        return unit(x, filters, (size, 1, 1), name, (stride, 1, 1), "_t")

    x = separable(x, 64, 7, "stem_1a", stride=2)
    x = max_pool(x, (1, 3, 3), (1, 2, 2), "pool_2a")
    x = unit(x, 64, 1, "stem_2b")
    x = gate(separable(x, 192, 3, "stem_2c"), "stem_2c")
    x = max_pool(x, (1, 3, 3), (1, 2, 2), "pool_3a")
    for block, (single, *doubles, projection) in BLOCKS.items():
        if block in POOLS:
            name, size = POOLS[block]
            x = max_pool(x, size, (2, 2, 2), name)
        names = [f"mixed_{block}_branch{number}" for number in range(4)]
        branches = [unit(x, single, 1, names[0])]
        for name, (reduced, filters) in zip(names[1:3], doubles, strict=True):
            y = unit(x, reduced, 1, name)
            branches.append(separable(y, filters, 3, name))
        y = max_pool(x, (3, 3, 3), (1, 1, 1), f"{names[3]}_pool")
        branches.append(unit(y, projection, 1, names[3]))
        branches = [gate(y, name) for y, name in zip(branches, names, strict=True)]
        x = Concatenate(name=f"mixed_{block}")(branches)
    return x


def _nothing(x, name):
    return x
