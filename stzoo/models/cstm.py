"""CSTM: TSN with a 3D convolution and a temporal shift, weighed by attention.

Zheng, Zhang: a collaborative network of a 3D CNN and a 2D temporal shift for action
recognition. Intelligent Computer and Applications (智能计算机与应用) 2021(7), 43-49.

What the paper states and what is our reading of it stands, point by point, in
`stzoo/layers/cstm.py`. Of the network, it states the backbones (BN-Inception and
Inception v3), frames (8 and 16) and accuracies. Our reading is that the module stands
at the ten places where GSM, its baseline, has its gates, and that all else (one frame
from each part of the video, BGR, averaged logits, recipe) is GSM's as well. At these
places, 3x3x3 convolutions of all channels add 11.1 M parameters to BN-Inception,
`kernel_size=(3, 1, 1)` adds 1.2 M. From `"imagenet"`, the modules start at random.
"""

import dataclasses
from functools import partial

from stzoo.layers import CSTM
from stzoo.models.gsm import BACKBONES, places
from stzoo.models.tsn import CLIPS, imagenet, make, tiny
from stzoo.models.tsn import RULES as RULES
from stzoo.spec import Pretrained


def collaborative(backbone, depth=None, **options):
    """A backbone with modules: a function of a tensor."""
    inserts = {
        place: CSTM(name=f"cstm_{place}", **options)
        for place in places(backbone, depth)
    }
    return partial(BACKBONES[backbone], inserts=inserts, depth=depth)


def _options(fusion="attention", shift="gate", kernel_size=(3, 3, 3), reduction=4):
    return dict(
        fusion=fusion, shift=shift, kernel_size=kernel_size, reduction=reduction
    )


def cstm_bninception(
    classes=None,
    clip=None,
    pretrained=None,
    fusion="attention",
    shift="gate",
    kernel_size=(3, 3, 3),
    reduction=4,
):
    """BN-Inception with ten modules: 21.7 M parameters and the head.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 174.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 224, 224, 3)`.
        pretrained: `None`, `True`, a tag (`"something_v1"`, `"something_v2"`,
            `"jester"`, each with `_16` for 16 frames, `"imagenet"`), a folder, or
            `"hf://organisation/repository@revision"`.
        fusion: `"attention"`, or `"sum"`, the paper's `3D_Shift_sum`.
        shift: `"gate"` or `"tsm"`.
        kernel_size: tuple of 3 odd ints, of the 3D convolution.
        reduction: int, attention's hidden layer has `1 / reduction` of the channels.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    fresh = Pretrained("cstm_bninception", classes=174, clip=CLIPS["bn_inception"])
    options = _options(fusion, shift, kernel_size, reduction)
    backbone = collaborative("bn_inception", **options)
    return make(fresh, backbone, classes, clip, pretrained, options, PRETRAINED)


def cstm_inceptionv3(
    classes=None,
    clip=None,
    pretrained=None,
    fusion="attention",
    shift="gate",
    kernel_size=(3, 3, 3),
    reduction=4,
):
    """Inception v3 with ten modules: 32.1 M parameters and the head.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 174.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 229, 229, 3)`.
        pretrained: `None`, `True`, a tag (`"something_v1"`, `"something_v2"`,
            `"jester"`, each with `_16` for 16 frames, `"imagenet"`), a folder, or
            `"hf://organisation/repository@revision"`.
        fusion: `"attention"`, or `"sum"`, the paper's `3D_Shift_sum`.
        shift: `"gate"` or `"tsm"`.
        kernel_size: tuple of 3 odd ints, of the 3D convolution.
        reduction: int, attention's hidden layer has `1 / reduction` of the channels.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    fresh = Pretrained("cstm_inceptionv3", classes=174, clip=CLIPS["inception_v3"])
    options = _options(fusion, shift, kernel_size, reduction)
    backbone = collaborative("inception_v3", **options)
    return make(fresh, backbone, classes, clip, pretrained, options, PRETRAINED)


def cstm_tiny(
    classes=None,
    clip=None,
    pretrained=None,
    fusion="attention",
    shift="gate",
    kernel_size=(3, 3, 3),
    reduction=4,
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
        pretrained: `None`, `True`, a tag (`"motions"`), a folder, or
            `"hf://organisation/repository@revision"`.
        fusion: `"attention"`, or `"sum"`, the paper's `3D_Shift_sum`.
        shift: `"gate"` or `"tsm"`.
        kernel_size: tuple of 3 odd ints, of the 3D convolution.
        reduction: int, attention's hidden layer has `1 / reduction` of the channels.
        backbone: `"bn_inception"` or `"inception_v3"`.
        width: int, filters of the stem.
        depth: int, of the Inception blocks, at most so many.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    fresh = tiny("cstm_tiny", backbone, BACKBONES)
    options = _options(fusion, shift, kernel_size, reduction)
    network = partial(collaborative(backbone, depth, **options), width=width)
    options |= dict(backbone=backbone, width=width, depth=depth)
    return make(fresh, network, classes, clip, pretrained, options, PRETRAINED)


BUILDERS = (cstm_bninception, cstm_inceptionv3, cstm_tiny)

# Top-1 and top-5 on the validation sets (Table 3).
_REPORTED = {
    # backbone, frames: something_v1, something_v2, jester
    ("bn_inception", 8): ((47.96, 76.77), (63.45, 88.79), (96.40, 99.84)),
    ("bn_inception", 16): ((49.84, 78.71), (63.54, 88.99), (96.48, 99.87)),
    ("inception_v3", 8): ((49.24, 77.56), (63.95, 89.11), (96.51, 99.86)),
    ("inception_v3", 16): ((51.27, 79.90), (64.04, 88.54), (96.61, 99.86)),
}

PRETRAINED = (
    *(
        Pretrained(
            f"cstm_{backbone.replace('_', '')}",
            tag=tag if frames == 8 else f"{tag}_{frames}",
            options=_options(),
            classes=classes,
            clip=dataclasses.replace(CLIPS[backbone], frames=frames),
            source="Zheng and Zhang, 2021",
            reported={"top1": top1, "top5": top5},
        )
        for (backbone, frames), accuracies in _REPORTED.items()
        for (tag, classes), (top1, top5) in zip(
            (("something_v1", 174), ("something_v2", 174), ("jester", 27)),
            accuracies,
            strict=True,
        )
    ),
    *(
        imagenet(f"cstm_{backbone.replace('_', '')}", backbone, new=("^cstm_",))
        for backbone in BACKBONES
    ),
    dataclasses.replace(
        tiny("cstm_tiny", "bn_inception", BACKBONES),
        tag="motions",
        licence="Apache-2.0",
        source="scripts/train_motions.py",
    ),
)
