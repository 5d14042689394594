"""MobileNetV2 over clips.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2, Inverted Residuals and Linear
Bottlenecks. CVPR 2018. https://arxiv.org/abs/1801.04381

The image network is applied to each frame. Layers have the names of torchvision's
checkpoints (`features_2_conv_0_0`). `torchvision_names` renames the tensors of MIT's
TSM and of mmaction2, whose networks are the same.

A block expands the channels by a 1x1 convolution, applies a depthwise 3x3 convolution
with the stride, and projects the channels by a 1x1 convolution, which has no ReLU. A
block with stride 1 and as many outputs as inputs adds its input.
"""

import re

import keras

from stzoo.layers.conv import DepthwiseConv, FrameConv
from stzoo.layers.norm import BatchNorm

# Table 2 of the paper: expansion, filters for a width of 32, blocks, stride.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LAST = 1280  # filters of the last convolution
# The places of convolutions and batch norms in a block, as torchvision has them.
PLACES = ("0.0", "0.1", "1.0", "1.1", "2", "3")
PLACES_OF_FIRST = ("0.0", "0.1", "1", "2")  # which does not expand


def mobilenet_v2(x, before=None, width=32):
    """A stem, seventeen blocks, and a 1x1 convolution.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        before: function `(x, name)` applied to the input of the first convolution of
            each block that adds its input, but not to what is added. `None`: nothing.
        width: int, filters of the stem. All other filters scale with it.

    Returns:
        Tensor `(batch, frames, height / 32, width / 32, 40 * width)`, rounded up.
    """
    x = _unit(x, FrameConv(width, 3, 2, name="features_0_0"), "features_0_1")
    number = 1
    for expansion, filters, blocks, stride in STAGES:
        for block in range(blocks):
            name = f"features_{number}_conv"
            size = filters * width // 32, stride if block == 0 else 1
            x = _inverted_residual(x, *size, expansion, name, before)
            number += 1
    last = FrameConv(LAST * width // 32, 1, name=f"features_{number}_0")
    return _unit(x, last, f"features_{number}_1")


def _inverted_residual(x, filters, stride, expansion, name, before):
    channels = x.shape[-1]
    adds = stride == 1 and channels == filters
    y = x
    if expansion > 1:
        conv = FrameConv(channels * expansion, 1, name=f"{name}_0_0")
        y = before(y, f"{name}_0_0") if before and adds else y
        y = _unit(y, conv, f"{name}_0_1")
    place = 1 if expansion > 1 else 0
    depthwise = DepthwiseConv(3, stride, name=f"{name}_{place}_0")
    y = _unit(y, depthwise, f"{name}_{place}_1")
    y = FrameConv(filters, 1, name=f"{name}_{place + 1}")(y)
    y = BatchNorm(name=f"{name}_{place + 2}")(y)
    return keras.layers.Add(name=f"{name}_add")([x, y]) if adds else y


def _unit(x, conv, bn):
    """A convolution, a batch norm and a ReLU up to 6."""
    x = BatchNorm(name=bn)(conv(x))
    return keras.layers.ReLU(6, name=f"{conv.name}_relu")(x)


def torchvision_names(tensors):
    """Renames the tensors of a MobileNetV2 of MIT or mmaction2 to torchvision's names.

    MIT numbers all layers of a block (`features.2.conv.3`), mmaction2 has stages
    (`layer2.1.conv.1.conv`). A shift is `net` in both. Other names stay.

    Args:
        tensors: dict from name to array.
    """
    rename = None
    if any(name.endswith("features.17.conv.7.weight") for name in tensors):
        rename = _from_mit
    elif "backbone.conv2.conv.weight" in tensors:
        rename = _from_mmaction
    if rename is None:
        return tensors
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    if len(renamed) < len(tensors):
        raise ValueError("it has two tensors for one place of a block")
    return renamed


def _from_mit(name):
    found = re.search(r"features\.(\d+)\.conv\.(\d)\.(?:net\.)?(\w+)$", name)
    if not found:
        return name
    block, layer, last = found.groups()
    place = (0, 1, None, 2, 3, None, 4, 5)[int(layer)] if layer < "8" else None
    return _in_block(block, place, last) or name


def _from_mmaction(name):
    parts = r"^backbone\.(?:layer([1-7])\.(\d)\.conv\.(\d)|conv([12]))\.(?:net\.)?"
    found = re.search(parts + r"(conv|bn)\.(\w+)$", name)
    if not found:
        return name
    stage, block, unit, end, kind, last = found.groups()
    layer = ("conv", "bn").index(kind)
    if end:
        return f"features.{0 if end == '1' else 18}.{layer}.{last}"
    number = 1 + sum(row[2] for row in STAGES[: int(stage) - 1]) + int(block)
    return _in_block(str(number), 2 * int(unit) + layer, last) or name


def _in_block(block, place, last):
    """The name in a block, or `None` if torchvision has no such place."""
    places = PLACES_OF_FIRST if block == "1" else PLACES
    if place is None or place >= len(places):
        return None
    return f"features.{block}.conv.{places[place]}.{last}"
