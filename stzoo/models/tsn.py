"""TSN: one frame from each part of a video, with averaged logits.

Wang, Xiong, Wang, Qiao, Lin, Tang, Van Gool: Temporal Segment Networks. ECCV 2016.
https://arxiv.org/abs/1608.00859, https://github.com/yjxiong/temporal-segment-networks

The network processes each frame independently, so it is invariant to the order of
frames. TSM, GSM and CSTM are TSN with temporal operators, and use this module.

This implementation differs from the paper in these points:

* The features before the last layer are averaged instead of the logits after it. The
  result is the same, since both are linear.
* It has RGB only, no optical flow.
* Dropout is 0.5. The paper has 0.8, mmaction2 has 0.4.
* Inception v3 takes 229 pixels, as in GSM. TSN and TRN have 299.
"""

import dataclasses
from functools import partial
from itertools import repeat

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.inception_v3 import inception_v3
from stzoo.backbones.resnet import RESNET50, RESNET101, bottleneck, resnet
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.network import Network
from stzoo.models.family import Architecture, Family, torchvision_entry
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

_CAFFE = ClipConfig(
    mean=(128, 117, 104), std=(1, 1, 1), order="BGR", sampling="segments"
)  # the mean is in the order R, G, B, whereas Caffe has B, G, R
CLIPS = {
    "bn_inception": _CAFFE,
    "inception_v3": dataclasses.replace(_CAFFE, height=229, width=229, short_side=261),
    "resnet50": ClipConfig(sampling="segments"),
}
TINY = {"bn_inception": 64, "inception_v3": 75, "resnet50": 64}


def tsn(config, name, backbone, width=64, depth=None):
    """Builds the graph.

    Args:
        config: `ModelConfig`.
        name: string.
        backbone: string, a key of `CLIPS`.
        width: int, filters of the stem.
        depth: int, maximum number of Inception blocks, or `None` for all.
    """
    networks = {
        "bn_inception": partial(bn_inception, depth=depth),
        "inception_v3": partial(inception_v3, depth=depth),
        "resnet50": partial(resnet, branches=repeat(bottleneck), depths=RESNET50),
        "resnet101": partial(resnet, branches=repeat(bottleneck), depths=RESNET101),
    }
    return averaged(config, name, partial(networks[backbone], width=width))


def averaged(config, name, backbone):
    """Builds a network whose frames are averaged: TSN, TSM, GSM or CSTM.

    Args:
        config: `ModelConfig`.
        name: string.
        backbone: function of a tensor `(batch, frames, height, width, channels)`.
    """
    inputs, x = clip_input(config.clip)
    return Network(inputs, classifier(backbone(x), config.classes, 0.5), name=name)


def tiny_clip(options):
    """Returns the clip of a small model."""
    size = TINY[options["backbone"]]
    return dataclasses.replace(
        CLIPS[options["backbone"]], height=size, width=size, short_side=size * 9 // 8
    )


def _another_graph(match):
    raise ValueError(
        f"it has {match[0]}: this is torchvision's Inception v3, whose graph differs "
        "from that of TSN and GSM (its convolutions have no bias, 1x7 comes before "
        '7x1, mixed_10 averages), so its weights cannot be used; pretrained="imagenet" '
        "has suitable ones"
    )


# From the names of the originals, of mmaction2 and of ImageNet files to those of stzoo.
KEY_MAP = (
    (r"^(Conv2d_\w+_\dx\d|Mixed_\d\w)\b", _another_graph),
    (r"^(module|backbone|base_model)\.", ""),
    (r"^base_model\.", ""),
    (r"^(new_fc|last_linear|top_cls_fc|cls_head\.fc_cls)\.", "fc."),
    (r"\.conv3D\.", "."),  # the gate of GSM
    (r"^(gsm_\w+)\.bn\.", r"\1/bn."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
    (r"\.net\.", "."),  # the shift of TSM
)


def tsn_bninception(classes=None, input_shape=None, pretrained=None, name=None):
    """BN-Inception, averaged over frames: 10.3 M parameters without the head."""
    return FAMILY.build(tsn_bninception, {}, classes, input_shape, pretrained, name)


def tsn_inceptionv3(classes=None, input_shape=None, pretrained=None, name=None):
    """Inception v3, averaged over frames: 21.8 M parameters without the head."""
    return FAMILY.build(tsn_inceptionv3, {}, classes, input_shape, pretrained, name)


def tsn_resnet50(classes=None, input_shape=None, pretrained=None, name=None):
    """ResNet-50, averaged over frames: 24.3 M parameters."""
    return FAMILY.build(tsn_resnet50, {}, classes, input_shape, pretrained, name)


def tsn_resnet101(classes=None, input_shape=None, pretrained=None, name=None):
    """ResNet-101, averaged over frames: 43.3 M parameters."""
    return FAMILY.build(tsn_resnet101, {}, classes, input_shape, pretrained, name)


def tsn_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    backbone="bn_inception",
    width=16,
    depth=11,
    name=None,
):
    """A small TSN for tests, demonstrations and studies."""
    options = dict(backbone=backbone, width=width, depth=depth)
    return FAMILY.build(tsn_tiny, options, classes, input_shape, pretrained, name)


# ImageNet files of a backbone: who converted them from Caffe, and their address.
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
    """Returns the entry of an Inception with ImageNet weights.

    Args:
        builder: string.
        backbone: string, a key of `CLIPS`.
        reported: dict, the accuracy of the image network, if the model equals it.
        allow_missing: tuple of strings, patterns of weights that the file lacks.
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


MIT = "https://hanlab18.mit.edu/projects/tsm/models"
_MMACTION = "https://download.openmmlab.com/mmaction/v1.0/recognition"
# The only copy on the Hub, not by mmaction2. It is *inferred* that it is at the root.
_MIRROR = "hf://RaphaelLiu/EvalCrafter-Models"


def mmaction(name, version, mirror=""):
    """Returns the address of a file of mmaction2, and that of its mirror if any.

    Args:
        name: string, name of the configuration.
        version: string, date and first digits of the hash of the file.
        mirror: string, address of a folder with the same file, or empty.
    """
    file = f"{name}_{version}.pth"
    address = f"{_MMACTION}/{name.partition('_')[0]}/{name}/{file}"
    return f"{address} {mirror}/{file}" if mirror else address


# mmaction2's table, with 25 frames of 10 crops. All files start with
# `tsn_imagenet-pretrained-`.
_TABLE = (
    # network, tag, frames, configuration, date and hash, top-1, top-5
    (50, "kinetics400", 8, "1x1x8-100e", "20220906-2692d16c", 74.12, 91.34),
    (50, "kinetics400_3", 3, "1x1x3-100e", "20220906-cd10898e", 72.83, 90.65),
    (50, "kinetics400_5", 5, "1x1x5-100e", "20220906-65d68713", 73.80, 91.21),
    (50, "kinetics400_dense", 5, "dense-1x1x5-100e", "20220906-dcbc6e01", 71.37, 89.67),
    (50, "something_v2", 8, "1x1x8-50e", "20230313-06ad7d03", 35.51, 67.09),
    (50, "something_v2_16", 16, "1x1x16-50e", "20230221-85bcc1c3", 36.91, 68.77),
    (101, "kinetics400", 8, "1x1x8-100e", "20220906-23cff032", 75.89, 92.07),
)


def _mmaction(depth, tag, frames, configuration, version, top1, top5):
    dataset = next(name for name in ("kinetics400", "something_v2") if name in tag)
    data = {"something_v2": "sthv2"}.get(dataset, dataset)
    # Dense sampling is 64 frames of a video, of which one in `64 // frames` is taken.
    dense = ClipConfig(frames=frames, stride=64 // frames)
    segments = dataclasses.replace(CLIPS["resnet50"], frames=frames)
    return ModelConfig(
        f"tsn_resnet{depth}",
        tag=tag,
        clip=dense if "_dense" in tag else segments,
        licence="Apache-2.0",
        source="mmaction2",
        reported={"top1": top1, "top5": top5, "protocol": "25 clips x 10 crops"},
        repository=mmaction(
            f"tsn_imagenet-pretrained-r{depth}_8xb32-{configuration}_{data}-rgb",
            version,
            _MIRROR if version.endswith("2692d16c") else "",
        ),
        **classes_of(dataset),
    )


TINY_ARGUMENTS = {
    "backbone": """`"bn_inception"`, `"inception_v3"` or `"resnet50"`, if the family
        has it.""",
    "width": "int, filters of the stem.",
    "depth": "int, maximum number of Inception blocks, or `None` for all.",
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
        tsn_resnet101: Architecture(
            partial(tsn, backbone="resnet101"), CLIPS["resnet50"]
        ),
        tsn_tiny: Architecture(tsn, tiny_clip, classes=12),
    },
    arguments=TINY_ARGUMENTS,
    choices={"backbone": tuple(CLIPS)},
    key_map=KEY_MAP,
    entries=(
        *(_mmaction(*row) for row in _TABLE),
        ModelConfig(
            "tsn_resnet50",
            tag="kinetics400_mit",
            clip=CLIPS["resnet50"],
            licence="MIT",
            source=f"Lin et al., {MIT}/TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth",
            reported={"top1": 68.8, "protocol": "1 crop"},
            **classes_of("kinetics400"),
        ),
        *(
            torchvision_entry(
                f"tsn_resnet{depth}", f"resnet{depth}", clip=CLIPS["resnet50"]
            )
            for depth in (50, 101)
        ),
        imagenet("tsn_bninception", "bn_inception", {"top1": 73.524, "top5": 91.562}),
        imagenet("tsn_inceptionv3", "inception_v3"),
    ),
)
