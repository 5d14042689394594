"""CSTM: TSN with a 3D convolution and a temporal shift, weighted by attention.

Zheng, Zhang: a collaborative network of a 3D CNN and a 2D temporal shift for action
recognition. Intelligent Computer and Applications (智能计算机与应用) 2021(7), 43-49.

`stzoo/layers/cstm.py` lists what the paper *states* about the module and what is *our
reading*. About the network, the paper *states* the backbones (BN-Inception and
Inception v3), frames (8 and 16) and accuracies. It is *our reading* that the module is
at the ten positions of the gates of GSM, its baseline, and that everything else (one
frame from each part of the video, BGR, averaged logits, recipe) is also that of GSM.
There, 3x3x3 convolutions of all channels add 11.1 M parameters to BN-Inception, and
`kernel_size=(3, 1, 1)` adds 1.2 M. With `"imagenet"`, the modules start at random.
"""

import dataclasses
from functools import partial

from stzoo.layers import CSTM
from stzoo.models.family import Architecture, Family, motions_entry
from stzoo.models.gsm import BACKBONES, places
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


def cstm(config, name, backbone, width=64, depth=None, **module):
    """Builds the graph with a `stzoo.layers.CSTM(**module)` at each position."""
    inserts = {
        place: CSTM(name=f"cstm_{place}", **module) for place in places(backbone, depth)
    }
    network = partial(BACKBONES[backbone], inserts=inserts, width=width, depth=depth)
    return averaged(config, name, network)


def cstm_bninception(
    classes=None,
    input_shape=None,
    pretrained=None,
    fusion="attention",
    shift="gate",
    kernel_size=(3, 3, 3),
    reduction=4,
    name=None,
):
    """BN-Inception with ten modules: 21.7 M parameters without the head."""
    options = dict(
        fusion=fusion, shift=shift, kernel_size=kernel_size, reduction=reduction
    )
    return FAMILY.build(
        cstm_bninception, options, classes, input_shape, pretrained, name
    )


def cstm_inceptionv3(
    classes=None,
    input_shape=None,
    pretrained=None,
    fusion="attention",
    shift="gate",
    kernel_size=(3, 3, 3),
    reduction=4,
    name=None,
):
    """Inception v3 with ten modules: 32.1 M parameters without the head."""
    options = dict(
        fusion=fusion, shift=shift, kernel_size=kernel_size, reduction=reduction
    )
    return FAMILY.build(
        cstm_inceptionv3, options, classes, input_shape, pretrained, name
    )


def cstm_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    fusion="attention",
    shift="gate",
    kernel_size=(3, 3, 3),
    reduction=4,
    backbone="bn_inception",
    width=16,
    depth=11,
    name=None,
):
    """A small CSTM for tests, demonstrations and studies."""
    options = dict(fusion=fusion, shift=shift, kernel_size=kernel_size)
    options |= dict(reduction=reduction, backbone=backbone, width=width, depth=depth)
    return FAMILY.build(cstm_tiny, options, classes, input_shape, pretrained, name)


# Top-1 and top-5 on the validation sets (Table 3).
_REPORTED = {
    # backbone, frames: something_v1, something_v2, jester
    ("bn_inception", 8): ((47.96, 76.77), (63.45, 88.79), (96.40, 99.84)),
    ("bn_inception", 16): ((49.84, 78.71), (63.54, 88.99), (96.48, 99.87)),
    ("inception_v3", 8): ((49.24, 77.56), (63.95, 89.11), (96.51, 99.86)),
    ("inception_v3", 16): ((51.27, 79.90), (64.04, 88.54), (96.61, 99.86)),
}

_MODULE = dict(fusion="attention", shift="gate", kernel_size=(3, 3, 3), reduction=4)

FAMILY = Family(
    architectures={
        cstm_bninception: Architecture(
            partial(cstm, backbone="bn_inception"), CLIPS["bn_inception"], classes=174
        ),
        cstm_inceptionv3: Architecture(
            partial(cstm, backbone="inception_v3", width=32),
            CLIPS["inception_v3"],
            classes=174,
        ),
        cstm_tiny: Architecture(cstm, tiny_clip, classes=12),
    },
    arguments={
        "fusion": """`"attention"`, or `"sum"` for the paper's `3D_Shift_sum`.""",
        "shift": """`"gate"` or `"tsm"`.""",
        "kernel_size": "tuple of 3 odd ints, size of the 3D convolution.",
        "reduction": """int. The hidden layer of the attention has
        `channels / reduction` units.""",
        **TINY_ARGUMENTS,
    },
    choices={
        "fusion": ("attention", "sum"),
        "shift": ("gate", "tsm"),
        "backbone": tuple(BACKBONES),
    },
    key_map=KEY_MAP,
    entries=(
        *(
            ModelConfig(
                f"cstm_{backbone.replace('_', '')}",
                tag=dataset if frames == 8 else f"{dataset}_{frames}",
                options=_MODULE,
                clip=dataclasses.replace(CLIPS[backbone], frames=frames),
                source="Zheng and Zhang, 2021",
                reported={"top1": top1, "top5": top5},
                # The code of GSM, on which CSTM is based, sorts the names.
                **classes_of(dataset, order=sorted),
            )
            for (backbone, frames), accuracies in _REPORTED.items()
            for dataset, (top1, top5) in zip(
                ("something_v1", "something_v2", "jester"), accuracies, strict=True
            )
        ),
        *(
            imagenet(
                f"cstm_{backbone.replace('_', '')}", backbone, allow_missing=("^cstm_",)
            )
            for backbone in BACKBONES
        ),
        motions_entry("cstm_tiny", tiny_clip({"backbone": "bn_inception"})),
    ),
)
