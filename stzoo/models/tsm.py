"""TSM: TSN with temporal shifts of channels.

Lin, Gan, Han: TSM, Temporal Shift Module for Efficient Video Understanding. ICCV 2019.
https://arxiv.org/abs/1811.08383, https://github.com/mit-han-lab/temporal-shift-module

The shifted blocks are those of the code. In ResNet, an eighth of the channels is
shifted in each direction before the first convolution of each block, but not in the
shortcut. In ResNet-101, only every second block of each stage has a shift: 0, 2, 4. In
BN-Inception, the input of the second stage and of each Inception block is shifted, for
all of its branches.
"""

import dataclasses
from functools import partial

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.resnet import RESNET50, RESNET101, bottleneck, resnet
from stzoo.layers import FrameConv, TemporalShift
from stzoo.models.family import Architecture, Family, torchvision_entry
from stzoo.models.tsn import (
    CLIPS,
    KEY_MAP,
    TINY_ARGUMENTS,
    averaged,
    imagenet,
    mmaction,
    tiny_clip,
)
from stzoo.weights.config import ModelConfig
from stzoo.weights.labels import classes_of


def tsm(config, name, backbone, width=64, depth=None):
    """Builds the graph. The arguments are those of `stzoo.models.tsn.tsn`."""
    networks = {
        "bn_inception": partial(bn_inception, before=shift, depth=depth),
        "resnet50": partial(resnet, branches=shifted(RESNET50), depths=RESNET50),
        "resnet101": partial(resnet, branches=shifted(RESNET101), depths=RESNET101),
    }
    return averaged(config, name, partial(networks[backbone], width=width))


def shifted(depths):
    """Returns the branches of TSM."""
    step = 2 if depths[2] >= 23 else 1
    plain, moved = bottleneck, partial(bottleneck, conv1=_shifted_conv)
    for depth in depths:
        for block in range(depth):
            yield plain if block % step else moved


def _shifted_conv(filters, name):
    def call(x):
        return FrameConv(filters, 1, name=name)(shift(x, name))

    return call


def shift(x, name):
    return TemporalShift(name=f"{name}_shift")(x)


def tsm_resnet50(classes=None, input_shape=None, pretrained=None, name=None):
    """ResNet-50 with a shift in each block: 24.3 M parameters."""
    return FAMILY.build(tsm_resnet50, {}, classes, input_shape, pretrained, name)


def tsm_resnet101(classes=None, input_shape=None, pretrained=None, name=None):
    """ResNet-101 with a shift in every second block: 43.3 M parameters."""
    return FAMILY.build(tsm_resnet101, {}, classes, input_shape, pretrained, name)


def tsm_bninception(classes=None, input_shape=None, pretrained=None, name=None):
    """BN-Inception with eleven shifts: 10.3 M parameters without the head."""
    return FAMILY.build(tsm_bninception, {}, classes, input_shape, pretrained, name)


def tsm_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    backbone="bn_inception",
    width=16,
    depth=11,
    name=None,
):
    """A small TSM for tests, demonstrations and studies."""
    options = dict(backbone=backbone, width=width, depth=depth)
    return FAMILY.build(tsm_tiny, options, classes, input_shape, pretrained, name)


# Figures of mmaction2's table.
_MMACTION = (
    # depth, tag, frames, configuration, date and hash, top-1, top-5
    (50, "kinetics400", 8, "kinetics400", "20220831-64d69186", 73.18, 90.56),
    (50, "kinetics400_16", 16, "kinetics400", "20220831-042b1748", 75.12, 91.55),
    (50, "something_v2", 8, "sthv2", "20230317-be0fc26e", 62.72, 87.70),
    (50, "something_v2_16", 16, "sthv2", "20230317-ec6696ad", 64.16, 88.61),
    (101, "something_v2", 8, "sthv2", "20230320-efcc0d1b", 63.70, 88.28),
)
_CROPS = {"kinetics400": "10 crops", "sthv2": "3 crops"}
_MIT = "https://hanlab18.mit.edu/projects/tsm/models"

FAMILY = Family(
    architectures={
        tsm_resnet50: Architecture(
            partial(tsm, backbone="resnet50"), CLIPS["resnet50"]
        ),
        tsm_resnet101: Architecture(
            partial(tsm, backbone="resnet101"), CLIPS["resnet50"]
        ),
        tsm_bninception: Architecture(
            partial(tsm, backbone="bn_inception"), CLIPS["bn_inception"]
        ),
        tsm_tiny: Architecture(tsm, tiny_clip, classes=12),
    },
    arguments=TINY_ARGUMENTS,
    choices={"backbone": ("bn_inception", "resnet50")},
    key_map=KEY_MAP,
    entries=(
        *(
            ModelConfig(
                f"tsm_resnet{depth}",
                tag=tag,
                clip=dataclasses.replace(CLIPS["resnet50"], frames=frames),
                licence="Apache-2.0",
                source="mmaction2",
                reported={"top1": top1, "top5": top5, "protocol": _CROPS[data]},
                repository=mmaction(
                    f"tsm_imagenet-pretrained-r{depth}_8xb16-1x1x{frames}-50e_{data}-rgb",
                    version,
                ),
                **classes_of(tag.removesuffix("_16")),
            )
            for depth, tag, frames, data, version, top1, top5 in _MMACTION
        ),
        ModelConfig(
            "tsm_resnet50",
            tag="kinetics400_mit",
            clip=CLIPS["resnet50"],
            licence="MIT",
            source="Lin et al., "
            f"{_MIT}/TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth",
            reported={"top1": 71.2, "protocol": "1 crop"},
            **classes_of("kinetics400"),
        ),
        *(
            torchvision_entry(
                f"tsm_resnet{depth}", f"resnet{depth}", clip=CLIPS["resnet50"]
            )
            for depth in (50, 101)
        ),
        imagenet("tsm_bninception", "bn_inception"),
    ),
)
