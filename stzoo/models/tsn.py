"""TSN: one frame from each part of a video, logits averaged.

Wang, Xiong, Wang, Qiao, Lin, Tang, Van Gool: Temporal Segment Networks. ECCV 2016.
https://arxiv.org/abs/1608.00859, https://github.com/yjxiong/temporal-segment-networks

The network sees every frame by itself, so it is invariant to the order of frames.
TSM, GSM and CSTM are TSN with operators that look at time; they use what is here.

Where this differs from the paper: logits are not averaged after the last layer but the
features before it, which gives the same, as both are linear; RGB only, no optical flow;
and one dropout of 0.5, which the paper (0.8) and mmaction2 (0.4) choose differently.
Inception v3 takes 229 pixels, as in GSM: TSN and TRN have 299.
"""

import dataclasses
from functools import partial
from itertools import repeat

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.inception_v3 import inception_v3
from stzoo.backbones.resnet import RESNET50, bottleneck, resnet
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.network import Network
from stzoo.models.family import Architecture, Family
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

_CAFFE = ClipConfig(
    mean=(128, 117, 104), std=(1, 1, 1), order="BGR", sampling="segments"
)  # of R, G, B; Caffe counts B, G, R
CLIPS = {
    "bn_inception": _CAFFE,
    "inception_v3": dataclasses.replace(_CAFFE, height=229, width=229, short_side=261),
    "resnet50": ClipConfig(sampling="segments"),
}
TINY = {"bn_inception": 64, "inception_v3": 75, "resnet50": 64}


def tsn(config, name, backbone, width=64, depth=None):
    """The graph.

    Args:
        config: `ModelConfig`.
        name: string.
        backbone: string, of `CLIPS`.
        width: int, filters of the stem.
        depth: int, of the Inception blocks, at most so many.
    """
    networks = {
        "bn_inception": partial(bn_inception, depth=depth),
        "inception_v3": partial(inception_v3, depth=depth),
        "resnet50": partial(resnet, branches=repeat(bottleneck), depths=RESNET50),
    }
    return averaged(config, name, partial(networks[backbone], width=width))


def averaged(config, name, backbone):
    """A network of frames, averaged: the graph of the whole line.

    Args:
        config: `ModelConfig`.
        name: string.
        backbone: function of a tensor `(batch, frames, height, width, channels)`.
    """
    inputs, x = clip_input(config.clip)
    return Network(inputs, classifier(backbone(x), config.classes, 0.5), name=name)


def tiny_clip(options):
    """How a small model of the line is fed."""
    size = TINY[options["backbone"]]
    return dataclasses.replace(
        CLIPS[options["backbone"]], height=size, width=size, short_side=size * 9 // 8
    )


def _another_graph(match):
    raise ValueError(
        f"it has {match[0]}: this is torchvision's Inception v3, another graph than "
        "that of TSN and GSM (its convolutions have no bias, 1x7 comes before 7x1, "
        'mixed_10 averages), so its weights cannot serve here; pretrained="imagenet" '
        "names those that can"
    )


# From the names of the originals, of mmaction2 and of the files of ImageNet to ours.
KEY_MAP = (
    (r"^(Conv2d_\w+_\dx\d|Mixed_\d\w)\b", _another_graph),
    (r"^(module|backbone|base_model)\.", ""),
    (r"^base_model\.", ""),
    (r"^(new_fc|last_linear|top_cls_fc|cls_head\.fc_cls)\.", "fc."),
    (r"\.conv3D\.", "."),  # GSM's gate
    (r"^(gsm_\w+)\.bn\.", r"\1/bn."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
    (r"\.net\.", "."),  # TSM's shift
)


def tsn_bninception(classes=None, input_shape=None, pretrained=None, name=None):
    """BN-Inception, averaged over frames: 10.3 M parameters and the head."""
    return FAMILY.build(tsn_bninception, {}, classes, input_shape, pretrained, name)


def tsn_inceptionv3(classes=None, input_shape=None, pretrained=None, name=None):
    """Inception v3, averaged over frames: 21.8 M parameters and the head."""
    return FAMILY.build(tsn_inceptionv3, {}, classes, input_shape, pretrained, name)


def tsn_resnet50(classes=None, input_shape=None, pretrained=None, name=None):
    """ResNet-50, averaged over frames: 24.3 M parameters."""
    return FAMILY.build(tsn_resnet50, {}, classes, input_shape, pretrained, name)


def tsn_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    backbone="bn_inception",
    width=16,
    depth=11,
    name=None,
):
    """The graph of the others, small: for tests, demonstrations and studies."""
    options = dict(backbone=backbone, width=width, depth=depth)
    return FAMILY.build(tsn_tiny, options, classes, input_shape, pretrained, name)


# Files of ImageNet for a backbone: who converted them from Caffe, and where they are.
_IMAGENET = {
    "bn_inception": (
        "pretrained-models.pytorch",
        "http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
    ),
    "inception_v3": (
        "temporal-segment-networks",
        "https://yjxiong.blob.core.windows.net/models/"
        "inceptionv3-cuhk-0e09b300b493bc74c.pth",
    ),
}


def imagenet(builder, backbone, reported=None, allow_missing=()):
    """The entry for an Inception that starts from ImageNet.

    Args:
        builder: string.
        backbone: string, of `CLIPS`.
        reported: dict, accuracy, where the image network is all there is.
        allow_missing: tuple of strings, patterns of what the file does not have.
    """
    converter, address = _IMAGENET[backbone]
    return ModelConfig(
        builder,
        tag="imagenet",
        clip=CLIPS[backbone],
        source=f"ImageNet, converted from Caffe by {converter}",
        reported=reported or {},
        repository=address,
        allow_missing=allow_missing,
        **classes_of("imagenet"),
    )


_MMACTION = "https://download.openmmlab.com/mmaction/v1.0/recognition"
_RESNET50 = "tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb"
# Not mmaction2's, the only copy on the Hub; that it lies at the root is inferred.
_MIRROR = "hf://RaphaelLiu/EvalCrafter-Models"


def mmaction(name, version, mirror=""):
    """Where mmaction2 has a file, and where others have it.

    Args:
        name: string, of the configuration.
        version: string, date and first digits of the hash of the file.
        mirror: string, of a folder that holds the same file, or empty.
    """
    file = f"{name}_{version}.pth"
    address = f"{_MMACTION}/{name.partition('_')[0]}/{name}/{file}"
    return f"{address} {mirror}/{file}" if mirror else address


TINY_ARGUMENTS = {
    "backbone": """`"bn_inception"`, `"inception_v3"` or `"resnet50"`, as far as the
        family has it.""",
    "width": "int, filters of the stem.",
    "depth": "int, of the Inception blocks, at most so many.",
}

FAMILY = Family(
    architectures={
        tsn_bninception: Architecture(
            partial(tsn, backbone="bn_inception"), CLIPS["bn_inception"]
        ),
        tsn_inceptionv3: Architecture(
            partial(tsn, backbone="inception_v3", width=32), CLIPS["inception_v3"]
        ),
        tsn_resnet50: Architecture(
            partial(tsn, backbone="resnet50"), CLIPS["resnet50"]
        ),
        tsn_tiny: Architecture(tsn, tiny_clip, classes=12),
    },
    arguments=TINY_ARGUMENTS,
    choices={"backbone": tuple(CLIPS)},
    key_map=KEY_MAP,
    entries=(
        ModelConfig(
            "tsn_resnet50",
            tag="kinetics400",
            clip=CLIPS["resnet50"],
            licence="Apache-2.0",
            source="mmaction2",
            reported={"top1": 74.12, "top5": 91.34, "protocol": "25 clips x 10 crops"},
            repository=mmaction(_RESNET50, "20220906-2692d16c", _MIRROR),
            **classes_of("kinetics400"),
        ),
        ModelConfig(
            "tsn_resnet50",
            tag="imagenet",
            clip=CLIPS["resnet50"],
            licence="BSD-3-Clause",
            source="torchvision, IMAGENET1K_V1",
            repository="timm/resnet50.tv_in1k",
            **classes_of("imagenet"),
        ),
        imagenet("tsn_bninception", "bn_inception", {"top1": 73.524, "top5": 91.562}),
        imagenet("tsn_inceptionv3", "inception_v3"),
    ),
)
