"""GSM: TSN with gated temporal shifts.

Sudhakaran, Escalera, Lanz: Gate-Shift Networks for Video Action Recognition. CVPR 2020.
https://arxiv.org/abs/1912.00381, https://github.com/swathikirans/GSM

One branch of each Inception block has a gate between a convolution and its batch norm.
As in the code, BN-Inception has ten gates, and Inception v3 has ten (none in
`mixed_6`). `attention=True` adds channel attention after each gate. This is the
`GSM+attention` that the paper of CSTM compares with but does not describe. It is *our
reading* that it is squeeze-and-excitation.

With `"imagenet"`, gates start closed but still shuffle channels, as in the authors'
code. So the initial network does not equal the image network, and must be fine-tuned.
"""

import dataclasses
from functools import partial

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.inception_v3 import inception_v3
from stzoo.layers import ChannelAttention, GateShift
from stzoo.models.family import Architecture, Family
from stzoo.models.tsn import (
    CLIPS,
    KEY_MAP,
    TINY_ARGUMENTS,
    averaged,
    imagenet,
    tiny_clip,
)
from stzoo.weights.config import ModelConfig
from stzoo.weights.labels import classes_of

BACKBONES = {"bn_inception": bn_inception, "inception_v3": inception_v3}
# One for each block.
PLACES = {
    "bn_inception": (
        "inception_3a_1x1",
        "inception_3b_1x1",
        "inception_3c_3x3_reduce",
        "inception_4a_1x1",
        "inception_4b_1x1",
        "inception_4c_1x1",
        "inception_4d_1x1",
        "inception_4e_3x3_reduce",
        "inception_5a_1x1",
        "inception_5b_1x1",
    ),
    "inception_v3": (
        "mixed_conv_Conv2D",
        "mixed_1_conv_Conv2D",
        "mixed_2_conv_Conv2D",
        "mixed_3_tower_conv_Conv2D",
        "mixed_4_conv_Conv2D",
        "mixed_5_conv_Conv2D",
        None,
        "mixed_7_conv_Conv2D",
        "mixed_8_tower_conv_Conv2D",
        "mixed_9_conv_Conv2D",
        "mixed_10_conv_Conv2D",
    ),
}


def places(backbone, depth=None):
    """Returns the convolutions with a gate, in the first `depth` blocks or in all."""
    return [place for place in PLACES[backbone][:depth] if place]


def gsm(config, name, backbone, attention, width=64, depth=None):
    """Builds the graph with a gate, and possibly attention, at each position."""
    inserts = {
        place: partial(_gate, name=f"gsm_{place}", attention=attention)
        for place in places(backbone, depth)
    }
    network = partial(BACKBONES[backbone], inserts=inserts, width=width, depth=depth)
    return averaged(config, name, network)


def _gate(x, name, attention):
    x = GateShift(name=name)(x)
    return ChannelAttention(name=f"{name}_attention")(x) if attention else x


def gsm_bninception(
    classes=None, input_shape=None, pretrained=None, attention=False, name=None
):
    """BN-Inception with ten gates: 10.3 M parameters without the head."""
    options = dict(attention=attention)
    return FAMILY.build(
        gsm_bninception, options, classes, input_shape, pretrained, name
    )


def gsm_inceptionv3(
    classes=None, input_shape=None, pretrained=None, attention=False, name=None
):
    """Inception v3 with ten gates: 21.9 M parameters without the head."""
    options = dict(attention=attention)
    return FAMILY.build(
        gsm_inceptionv3, options, classes, input_shape, pretrained, name
    )


def gsm_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    attention=False,
    backbone="bn_inception",
    width=16,
    depth=11,
    name=None,
):
    """A small GSM for tests, demonstrations and studies."""
    options = dict(attention=attention, backbone=backbone, width=width, depth=depth)
    return FAMILY.build(gsm_tiny, options, classes, input_shape, pretrained, name)


# The authors' files on Google Drive, and their top-1 with one clip, if they give it.
_FILES = (
    # backbone, tag, frames, file, top-1
    ("bn_inception", "something_v1", 8, "1rPma02uIiNI-TmL50rOyDDL1JOZeYPzT", 47.24),
    ("bn_inception", "something_v1_16", 16, "1anqY7A1PuUq_qleesy8OtTTkm_UoK23r", 0),
    ("inception_v3", "something_v1", 8, "14OplsnndeyUx7Uf4Hy82enPrhodEYXgo", 49.01),
    ("inception_v3", "something_v1_16", 16, "1JCHJZK7r15yHCUiHKh3XJrrvibEGZhu4", 50.63),
    ("inception_v3", "diving48", 16, "1gbtufj34TA-2Pwxn7RGPWwkvtyK98Zx5", 39.03),
)

FAMILY = Family(
    architectures={
        gsm_bninception: Architecture(
            partial(gsm, backbone="bn_inception"), CLIPS["bn_inception"], classes=174
        ),
        gsm_inceptionv3: Architecture(
            partial(gsm, backbone="inception_v3", width=32),
            CLIPS["inception_v3"],
            classes=174,
        ),
        gsm_tiny: Architecture(gsm, tiny_clip, classes=12),
    },
    arguments={
        "attention": "bool, whether to add channel attention after each gate.",
        **TINY_ARGUMENTS,
    },
    choices={"attention": (False, True), "backbone": tuple(BACKBONES)},
    key_map=KEY_MAP,
    entries=(
        *(
            ModelConfig(
                f"gsm_{backbone.replace('_', '')}",
                tag=tag,
                options={"attention": False},
                clip=dataclasses.replace(CLIPS[backbone], frames=frames),
                source=f"Sudhakaran et al., https://drive.google.com/file/d/{file}",
                reported={"top1": top1, "protocol": "1 clip"} if top1 else {},
                **classes_of(tag.removesuffix("_16")),
            )
            for backbone, tag, frames, file, top1 in _FILES
        ),
        *(
            imagenet(
                f"gsm_{backbone.replace('_', '')}", backbone, allow_missing=("^gsm_",)
            )
            for backbone in BACKBONES
        ),
    ),
)
