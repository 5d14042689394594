"""Inception v3 over clips, as TSN, TRN and GSM use it.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for
Computer Vision. CVPR 2016. https://arxiv.org/abs/1512.00567

This is the conversion for Caffe of the Chinese University of Hong Kong, with its
PyTorch names (https://github.com/yjxiong/tensorflow-model-zoo.torch). The graph differs
from that of torchvision and timm, so their weights cannot be loaded: convolutions have
a bias, 7x1 and 1x7 are swapped, as are 3x1 and 1x3, pools round up, the last block has
a max pool, and the epsilon is 1e-5.
"""

from itertools import islice

from stzoo.backbones.bn_inception import (
    average_pool,
    ceil_pool,
    check_halving,
    check_used,
    conv_bn_relu,
    same_max_pool,
)
from stzoo.layers.concatenate import Concatenate

# Filters, size, stride, padded.
STEM = {
    "conv": (32, 3, 2, False),
    "conv_1": (32, 3, 1, False),
    "conv_2": (64, 3, 1, True),
    "pool": None,
    "conv_3": (80, 1, 1, True),
    "conv_4": (192, 3, 1, False),
    "pool_1": None,
}
TALL, WIDE = (7, 1), (1, 7)
SPLIT = ((3, 1), (1, 3))  # side by side


def _squares(projection):
    """Figure 5 of the paper, but with a 5x5 convolution in the tower."""
    towers = {
        "": ((64, 1),),
        "_tower": ((48, 1), (64, 5)),
        "_tower_1": ((64, 1), (96, 3), (96, 3)),
    }
    return towers, projection


def _sevens(filters):
    """Figure 6 of the paper, n = 7."""
    n = filters
    towers = {
        "": ((192, 1),),
        "_tower": ((n, 1), (n, TALL), (192, WIDE)),
        "_tower_1": ((n, 1), (n, WIDE), (n, TALL), (n, WIDE), (192, TALL)),
    }
    return towers, 192


def _splits():
    """Figure 7 of the paper."""
    towers = {
        "": ((320, 1),),
        "_tower": ((384, 1), (384, SPLIT)),
        "_tower_1": ((448, 1), (384, 3), (384, SPLIT)),
    }
    return towers, 192


# Towers of (filters, size), and the filters of the projection after the pool. A block
# without a projection halves the frame, in the last convolution of each tower and in a
# pool.
BLOCKS = {
    "mixed": _squares(32),
    "mixed_1": _squares(64),
    "mixed_2": _squares(64),
    "mixed_3": ({"": ((384, 3),), "_tower": ((64, 1), (96, 3), (96, 3))}, None),
    "mixed_4": _sevens(128),
    "mixed_5": _sevens(160),
    "mixed_6": _sevens(160),
    "mixed_7": _sevens(192),
    "mixed_8": (
        {
            "_tower": ((192, 1), (320, 3)),
            "_tower_1": ((192, 1), (192, TALL), (192, WIDE), (192, 3)),
        },
        None,
    ),
    "mixed_9": _splits(),
    "mixed_10": _splits(),
}


def inception_v3(x, inserts=None, width=32, depth=None):
    """A stem and eleven Inception blocks.

    Args:
        x: tensor `(batch, frames, height, width, channels)`. Height and width can be
            229 or 299 pixels, but not 224.
        inserts: dict from the name of a convolution (`"mixed_conv_Conv2D"`) to a
            function of a tensor, applied between that convolution and its batch norm.
        width: int, filters of the stem. All other filters scale with it.
        depth: int, number of blocks, or `None` for all.

    Returns:
        Tensor `(batch, frames, height, width, 64 * width)`, 6 x 6 for 229 pixels.
    """
    inserts = dict(inserts or {})

    def unit(x, filters, size, name, strides=1, padded=True):
        names = (f"{name}_Conv2D", f"{name}_batchnorm", name)
        filters = filters * width // 32
        return conv_bn_relu(x, filters, size, strides, names, inserts, padded)

    for name, row in STEM.items():
        if row:
            filters, size, stride, padded = row
            x = unit(x, filters, size, name, stride, padded)
        else:
            x = ceil_pool(x, name)
    for block, (towers, projection) in islice(BLOCKS.items(), depth):
        stride = 1 if projection else 2
        check_halving(x, stride, block, 1, "229, 299")
        branches = []
        for tower, steps in towers.items():
            y = x
            for index, (filters, size) in enumerate(steps):
                name = f"{block}{tower}_conv" + (f"_{index}" if index else "")
                if size is SPLIT:
                    sides = (f"{block}{tower}_mixed_conv{end}" for end in ("", "_1"))
                    for side, name in zip(SPLIT, sides, strict=True):
                        branches.append(unit(y, filters, side, name))
                elif stride == 2 and index == len(steps) - 1:
                    branches.append(unit(y, filters, size, name, 2, padded=False))
                else:
                    y = unit(y, filters, size, name)
                    if index == len(steps) - 1:
                        branches.append(y)
        if projection:
            pool = same_max_pool if block == "mixed_10" else average_pool
            y = pool(x, f"{block}_tower_2_pool")
            branches.append(unit(y, projection, 1, f"{block}_tower_2_conv"))
        else:
            branches.append(ceil_pool(x, f"{block}_pool"))
        x = Concatenate(name=f"{block}_join")(branches)
    check_used(inserts)
    return x
