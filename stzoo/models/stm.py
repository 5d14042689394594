"""STM: TSN with temporal convolutions and motion in each block.

Jiang, Wang, Gan, Wu, Yan: STM, SpatioTemporal and Motion Encoding for Action
Recognition. ICCV 2019. https://arxiv.org/abs/1908.02486

The authors have published neither code nor weights under the name of the paper, so the
weights here start from ImageNet.

*Stated* by the paper: ResNet-50 whose 16 blocks are all STM blocks. After the first 1x1
convolution of a block, two modules see the same features. CSTM (not
`stzoo.layers.CSTM`) convolves each channel over three frames, then all channels with a
3x3 kernel. CMM reduces the channels to a sixteenth by a 1x1 convolution, takes the
difference of frames (`stzoo.layers.MotionDifference`), and restores the channels by a
1x1 convolution. Their sum goes into the last 1x1 convolution. A clip has 8 or 16
frames, one from each part of the video.

*Our reading*, which follows code of 2019 that names the first author: CMM has a batch
norm after the reduction, and none after the last convolution. CSTM has the batch norm
and the ReLU of the 3x3 convolution of ResNet. The sum has neither. In the three blocks
with a stride, the 3x3 convolution has the stride and motion is pooled by the maximum of
2x2 pixels, so height and width must be divisible by 32.
"""

from functools import partial
from itertools import repeat

import keras

from stzoo.backbones.resnet import RESNET50, resnet
from stzoo.layers import FrameConv, MotionDifference, TemporalDepthwiseConv
from stzoo.layers.conv import conv_bn
from stzoo.layers.norm import BatchNorm
from stzoo.layers.pool import max_pool
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.models.tsn import CLIPS, KEY_MAP, averaged
from stzoo.weights.config import ClipConfig

REDUCTION = 16  # of the channels that show motion


def stm(config, name, width=64, depths=RESNET50):
    """Builds the graph.

    Args:
        config: `ModelConfig`.
        name: string.
        width: int, filters of the stem.
        depths: tuple of ints, blocks in each stage.
    """
    frames, *sizes, _ = config.clip.shape
    if frames == 1:
        raise ValueError(
            "STM compares frames, so a clip needs 2 or more. "
            f"Received: input_shape={config.clip.shape}."
        )
    if any(size and size % 32 for size in sizes):
        raise ValueError(
            "STM halves height and width five times, so they must be divisible by 32. "
            f"Received: input_shape={config.clip.shape}."
        )
    network = partial(resnet, branches=repeat(branch), depths=depths, width=width)
    return averaged(config, name, network)


def branch(x, filters, stride, name):
    """The branch of an STM block, see `stzoo.backbones.resnet`."""
    x = conv_bn(x, filters, 1, name=f"{name}_conv1", bn=f"{name}_bn1")
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    y = TemporalDepthwiseConv(name=f"{name}_temporal")(x)
    y = conv_bn(y, filters, 3, stride, name=f"{name}_conv2", bn=f"{name}_bn2")
    y = keras.layers.ReLU(name=f"{name}_relu2")(y)
    y = keras.layers.Add(name=f"{name}_sum")([y, motion(x, stride, f"{name}_motion")])
    return conv_bn(y, 4 * filters, 1, name=f"{name}_conv3", bn=f"{name}_bn3")


def motion(x, stride, name):
    """The Channel-wise Motion Module."""
    channels = x.shape[-1]
    y = FrameConv(max(1, channels // REDUCTION), 1, name=f"{name}_reduce")(x)
    y = BatchNorm(name=f"{name}_bn")(y)
    y = MotionDifference(name=f"{name}_difference")(y)
    y = FrameConv(channels, 1, name=f"{name}_expand")(y)
    size = (1, stride, stride)
    return max_pool(y, size, size, f"{name}_pool", padded=False) if stride > 1 else y


def stm_resnet50(classes=None, input_shape=None, pretrained=None, name=None):
    """ResNet-50 of STM blocks: 24.5 M parameters."""
    return FAMILY.build(stm_resnet50, {}, classes, input_shape, pretrained, name)


def stm_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    width=16,
    depths=(2, 2, 2, 2),
    name=None,
):
    """A small STM for tests, demonstrations and studies."""
    options = dict(width=width, depths=depths)
    return FAMILY.build(stm_tiny, options, classes, input_shape, pretrained, name)


_TINY = ClipConfig(height=64, width=64, short_side=72, sampling="segments")

FAMILY = Family(
    architectures={
        stm_resnet50: Architecture(stm, CLIPS["resnet50"]),
        stm_tiny: Architecture(stm, _TINY, classes=12),
    },
    arguments={
        "width": "int, filters of the stem.",
        "depths": "tuple of ints, blocks in each stage.",
    },
    key_map=KEY_MAP,
    entries=(
        torchvision_entry(
            "stm_resnet50",
            "resnet50",
            clip=CLIPS["resnet50"],
            allow_missing=("_temporal/", "_motion_"),
        ),
        motions_entry("stm_tiny", _TINY),
    ),
)
