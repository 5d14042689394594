"""ResNet over clips.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016.
https://arxiv.org/abs/1512.03385

The image network is applied to each frame. *Branches* add temporal operators: there is
one function `branch(x, filters, stride, name)` for each residual block, in order.
Layers have the names of torchvision's checkpoints (`layer1_0_conv2`). As in
torchvision, the 3x3 convolution of a bottleneck has the stride.
"""

from functools import partial

import keras

from stzoo.layers.conv import FrameConv, conv_bn
from stzoo.layers.norm import BatchNorm
from stzoo.layers.pool import max_pool

FRAME_POOL = partial(max_pool, pool_size=(1, 3, 3), strides=(1, 2, 2))
# Table 1 of the paper.
RESNET50 = (3, 4, 6, 3)
RESNET101 = (3, 4, 23, 3)
RESNET152 = (3, 8, 36, 3)


def resnet(x, branches, depths, width=64, pools=(FRAME_POOL,), prefix=""):
    """A stem and stages of residual blocks.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        branches: iterable of `branch(x, filters, stride, name)`, one for each block.
        depths: tuple of ints, blocks in each stage, four in the paper.
        width: int, filters of the stem.
        pools: tuple of functions `pool(x, name=)`. The first pool follows the stem. The
            others, if any, pool time after the first stage, the second, and so on.
        prefix: string, prefix of the names of layers.

    Returns:
        Tensor `(batch, frames, height / 32, width / 32, 32 * width)` after four stages,
        where `frames` is what the pools leave.
    """
    branches = iter(branches)
    x = conv_bn(x, width, 7, 2, name=f"{prefix}conv1", bn=f"{prefix}bn1")
    x = keras.layers.ReLU(name=f"{prefix}conv1_relu")(x)
    x = pools[0](x, name=f"{prefix}pool1")
    for stage, depth in enumerate(depths, start=1):
        filters = width * 2 ** (stage - 1)
        for block in range(depth):
            stride = 2 if stage > 1 and block == 0 else 1
            name = f"{prefix}layer{stage}_{block}"
            x = residual(x, next(branches), filters, stride, name)
        if stage < len(pools):
            x = pools[stage](x, name=f"{prefix}pool{stage + 1}")
    return x


def residual(x, branch, filters, stride, name):
    """Adds a branch to its input, which is projected if the shapes differ."""
    y = branch(x, filters, stride, name)
    if x.shape[-1] != y.shape[-1] or stride != 1:
        conv, bn = f"{name}_downsample_0", f"{name}_downsample_1"
        x = conv_bn(x, y.shape[-1], 1, stride, name=conv, bn=bn)
    x = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def bottleneck(
    x,
    filters,
    stride,
    name,
    conv1=partial(FrameConv, kernel_size=1),
    conv2=partial(FrameConv, kernel_size=3),
):
    """A bottleneck: 1x1, 3x3 (with the stride), 1x1.

    Other operators can replace the first two convolutions.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        conv1: function `(filters, name=)` that makes the first layer.
        conv2: function `(filters, strides=, name=)` that makes the second layer.
    """
    x = conv1(filters, name=f"{name}_conv1")(x)
    x = BatchNorm(name=f"{name}_bn1")(x)
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = conv2(filters, strides=stride, name=f"{name}_conv2")(x)
    x = BatchNorm(name=f"{name}_bn2")(x)
    x = keras.layers.ReLU(name=f"{name}_relu2")(x)
    return conv_bn(x, 4 * filters, 1, name=f"{name}_conv3", bn=f"{name}_bn3")
