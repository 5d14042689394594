"""GSM: TSN whose channels move in time as far as a gate lets them.

Sudhakaran, Escalera, Lanz: Gate-Shift Networks for Video Action Recognition. CVPR 2020.
https://arxiv.org/abs/1912.00381, https://github.com/swathikirans/GSM

A gate stands between a convolution and its batch norm in one branch of each Inception
block: ten in BN-Inception, ten in Inception v3 (none in `mixed_6`), as the code has
them. `attention=True` adds an attention over channels after each gate: the
`GSM+attention` that the paper of CSTM compares with and does not describe; that it is
squeeze-and-excitation is our reading.

From `"imagenet"`, gates start closed and shuffle channels all the same, as in the code
of the authors: the network is not that of images at first, and has to be fine-tuned.
"""

import dataclasses
from functools import partial

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.inception_v3 import inception_v3
from stzoo.layers import ChannelAttention, GateShift
from stzoo.models.tsn import CLIPS, imagenet, make, tiny
from stzoo.models.tsn import RULES as RULES
from stzoo.spec import Pretrained

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
    """The convolutions that are followed by a gate, in the first blocks or in all."""
    return [place for place in PLACES[backbone][:depth] if place]


def gated(backbone, attention, depth=None):
    """A backbone with gates: a function of a tensor."""
    inserts = {
        place: partial(_gate, name=f"gsm_{place}", attention=attention)
        for place in places(backbone, depth)
    }
    return partial(BACKBONES[backbone], inserts=inserts, depth=depth)


def _gate(x, name, attention):
    x = GateShift(name=name)(x)
    return ChannelAttention(name=f"{name}_attention")(x) if attention else x


def gsm_bninception(classes=None, clip=None, pretrained=None, attention=False):
    """BN-Inception with ten gates: 10.3 M parameters and the head.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 174.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 224, 224, 3)`.
        pretrained: `None`, `True`, a tag (`"something_v1"`, `"something_v1_16"`,
            `"imagenet"`), a folder, or `"hf://organisation/repository@revision"`.
        attention: bool, weigh channels after each gate (CSTM's `GSM+attention`).

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    fresh = Pretrained("gsm_bninception", classes=174, clip=CLIPS["bn_inception"])
    backbone, options = gated("bn_inception", attention), dict(attention=attention)
    return make(fresh, backbone, classes, clip, pretrained, options, PRETRAINED)


def gsm_inceptionv3(classes=None, clip=None, pretrained=None, attention=False):
    """Inception v3 with ten gates: 21.9 M parameters and the head.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 174.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 229, 229, 3)`.
        pretrained: `None`, `True`, a tag (`"something_v1"`, `"something_v1_16"`,
            `"diving48"`, `"imagenet"`), a folder, or
            `"hf://organisation/repository@revision"`.
        attention: bool, weigh channels after each gate (CSTM's `GSM+attention`).

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    fresh = Pretrained("gsm_inceptionv3", classes=174, clip=CLIPS["inception_v3"])
    backbone, options = gated("inception_v3", attention), dict(attention=attention)
    return make(fresh, backbone, classes, clip, pretrained, options, PRETRAINED)


def gsm_tiny(
    classes=None,
    clip=None,
    pretrained=None,
    attention=False,
    backbone="bn_inception",
    width=16,
    depth=11,
):
    """The graph of the others, small: for tests, demonstrations and studies.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 12.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 64, 64, 3)`, for Inception v3
            `(8, 75, 75, 3)`.
        pretrained: `None`, `True`, a tag (none exists), a folder, or
            `"hf://organisation/repository@revision"`.
        attention: bool, weigh channels after each gate (CSTM's `GSM+attention`).
        backbone: `"bn_inception"` or `"inception_v3"`.
        width: int, filters of the stem.
        depth: int, of the Inception blocks, at most so many.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    fresh = tiny("gsm_tiny", backbone, BACKBONES)
    network = partial(gated(backbone, attention, depth), width=width)
    options = dict(attention=attention, backbone=backbone, width=width, depth=depth)
    return make(fresh, network, classes, clip, pretrained, options, PRETRAINED)


BUILDERS = (gsm_bninception, gsm_inceptionv3, gsm_tiny)

# The authors' files on Google Drive and, where they give one, top-1 with one clip.
_FILES = (
    # backbone, tag, classes, frames, file, top-1
    (
        "bn_inception",
        "something_v1",
        174,
        8,
        "1rPma02uIiNI-TmL50rOyDDL1JOZeYPzT",
        47.24,
    ),
    (
        "bn_inception",
        "something_v1_16",
        174,
        16,
        "1anqY7A1PuUq_qleesy8OtTTkm_UoK23r",
        0,
    ),
    (
        "inception_v3",
        "something_v1",
        174,
        8,
        "14OplsnndeyUx7Uf4Hy82enPrhodEYXgo",
        49.01,
    ),
    (
        "inception_v3",
        "something_v1_16",
        174,
        16,
        "1JCHJZK7r15yHCUiHKh3XJrrvibEGZhu4",
        50.63,
    ),
    ("inception_v3", "diving48", 48, 16, "1gbtufj34TA-2Pwxn7RGPWwkvtyK98Zx5", 39.03),
)

PRETRAINED = (
    *(
        Pretrained(
            f"gsm_{backbone.replace('_', '')}",
            tag=tag,
            options={"attention": False},
            classes=classes,
            clip=dataclasses.replace(CLIPS[backbone], frames=frames),
            source=f"Sudhakaran et al., https://drive.google.com/file/d/{file}",
            reported={"top1": top1} if top1 else {},
        )
        for backbone, tag, classes, frames, file, top1 in _FILES
    ),
    *(
        imagenet(f"gsm_{backbone.replace('_', '')}", backbone, new=("^gsm_",))
        for backbone in BACKBONES
    ),
)
