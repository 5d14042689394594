"""BN-Inception over clips.

Ioffe, Szegedy: Batch Normalization. ICML 2015. https://arxiv.org/abs/1502.03167

This is the Caffe network of TSN (Wang et al., ECCV 2016), from which TRN, TSM and GSM
start, with its PyTorch names. Convolutions have a bias, pools round up, and average
pools include the zero padding. *Inserts* add temporal operators: each name of a
convolution maps to the operator between this convolution and its batch norm.
"""

from itertools import islice

import keras

from stzoo.layers.concatenate import Concatenate
from stzoo.layers.conv import FrameConv
from stzoo.layers.norm import BatchNorm
from stzoo.layers.pool import FrameAverage, max_pool

# Figure 5 of the paper: 1x1, (reduce, 3x3), (reduce, two 3x3), projection of the pool.
# A block without the first and the last halves the frame.
BLOCKS = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "3c": (None, (128, 160), (64, 96), None),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "4e": (None, (128, 192), (192, 256), None),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}


def bn_inception(x, inserts=None, before=None, width=64, depth=None, prefix=""):
    """A stem and ten Inception blocks.

    Args:
        x: tensor `(batch, frames, height, width, channels)`, height and width
            divisible by 32.
        inserts: dict from the name of a convolution (`"inception_3a_1x1"`) to a
            function of a tensor, applied between that convolution and its batch norm.
        before: function `(x, name)` applied to the input of the second stage
            (`"conv2"`) and of each block (`"inception_3a"`), or `None`.
        width: int, filters of the stem. All other filters scale with it.
        depth: int, number of blocks, or `None` for all.
        prefix: string, prefix of the names of layers.

    Returns:
        Tensor `(batch, frames, height / 32, width / 32, 16 * width)`.
    """
    inserts = dict(inserts or {})
    before = before or _nothing

    def unit(x, filters, size, stage, kind, strides=1):
        conv, relu = f"{prefix}{stage}_{kind}", f"{prefix}{stage}_relu_{kind}"
        filters = filters * width // 64
        return conv_bn_relu(
            x, filters, size, strides, (conv, f"{conv}_bn", relu), inserts
        )

    x = unit(x, 64, 7, "conv1", "7x7_s2", strides=2)
    x = ceil_pool(x, f"{prefix}pool1_3x3_s2")
    x = before(x, "conv2")
    x = unit(x, 64, 1, "conv2", "3x3_reduce")
    x = unit(x, 192, 3, "conv2", "3x3")
    x = ceil_pool(x, f"{prefix}pool2_3x3_s2")
    for block, row in islice(BLOCKS.items(), depth):
        single, triple, double, projection = row
        name = f"inception_{block}"
        x = before(x, name)
        stride = 1 if single else 2
        check_halving(x, stride, name, 0, "multiples of 32")
        branches = [unit(x, single, 1, name, "1x1")] if single else []
        y = unit(x, triple[0], 1, name, "3x3_reduce")
        branches.append(unit(y, triple[1], 3, name, "3x3", stride))
        y = unit(x, double[0], 1, name, "double_3x3_reduce")
        y = unit(y, double[1], 3, name, "double_3x3_1")
        branches.append(unit(y, double[1], 3, name, "double_3x3_2", stride))
        if projection:
            pool = same_max_pool if block == "5b" else average_pool
            y = pool(x, f"{prefix}{name}_pool")
            branches.append(unit(y, projection, 1, name, "pool_proj"))
        else:
            branches.append(ceil_pool(x, f"{prefix}{name}_pool"))
        x = Concatenate(name=f"{prefix}{name}_output")(branches)
    check_used(inserts)
    return x


def conv_bn_relu(x, filters, size, strides, names, inserts, padded=True):
    """Applies a convolution with bias, its insert, a batch norm and a ReLU.

    Args:
        names: tuple of 3 strings, of the convolution, the batch norm and the ReLU.
        inserts: dict. The insert of the convolution is removed from it.
    """
    conv, bn, relu = names
    x = FrameConv(filters, size, strides, True, padded, name=conv)(x)
    x = inserts.pop(conv, _nothing)(x)
    x = BatchNorm(name=bn)(x)
    return keras.layers.ReLU(name=relu)(x)


def ceil_pool(x, name):
    """Max pooling of 3x3 pixels with stride 2, with a partial pool at the end."""
    return max_pool(x, (1, 3, 3), (1, 2, 2), name, ceil=True)


def same_max_pool(x, name):
    """Max pooling of 3x3 pixels with stride 1."""
    return max_pool(x, (1, 3, 3), (1, 1, 1), name)


def average_pool(x, name):
    """Average pooling of 3x3 pixels with stride 1. The mean includes zero padding."""
    # It runs in float32 under any policy, since a sum of nine bfloat16 loses digits.
    return FrameAverage(dtype="float32", name=name)(x)


def check_halving(x, stride, name, remainder, advice):
    """Raises an error if convolutions and pools would halve to different sizes."""
    if stride == 2 and any(n and n % 2 != remainder for n in x.shape[2:4]):
        raise ValueError(
            f"{name} cannot halve maps of {x.shape[2]}x{x.shape[3]}: pools round up "
            f"and convolutions do not. Choose another size of frames: {advice}."
        )


def check_used(inserts):
    """Raises an error if inserts are left over."""
    if inserts:
        raise ValueError(f"There is no convolution {', '.join(inserts)} to insert at.")


def _nothing(x, name=None):
    return x
