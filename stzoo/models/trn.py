"""TRN: relations between the frames of subsets, at several scales.

Zhou, Andonian, Oliva, Torralba: Temporal Relational Reasoning in Videos. ECCV 2018.
https://arxiv.org/abs/1711.08496, https://github.com/zhoubolei/TRN-pytorch

It is TSN with another head. The network processes each frame independently. A dense
layer turns its features into 256 values for each frame, and relations between 2, 3, ...
and all frames are added (`stzoo.layers.TemporalRelation`). This is the multi-scale TRN.
*Stated* by the code of the authors and by mmaction2:

* Each scale has its own two dense layers: 256 hidden values, then the logits.
* The dense layer of frames starts with a standard deviation of 0.001 (mmaction2: 0.01).
* The scale of all frames enters once. Each other scale draws three random subsets, or
  all if there are fewer, in each forward pass, evaluation included. Their logits are
  added, not averaged.

This implementation differs in these points:

* Logits do not change between calls. By default, three fixed subsets of each scale are
  related in inference, see `subsets`. The choice of these subsets is *our reading*; the
  sources do not have any. `subsets="random"` draws them as in the sources, and
  `subsets="all"` computes the expected value of that. Accuracies that the sources
  report are those of random subsets.
* The last dense layers of all scales are one layer, `fc`, and their biases are one
  bias: the sum of the biases of the sources, each as often as its scale has subsets.
  The logits are the same, but with a given learning rate the bias learns slower.
* Dropout is 0.8, as in the code of the authors. mmaction2 has 0.4.
* The authors freeze the batch norms except for the first one in training. Here, this is
  a setting of recipes (`frozen`).
* Inception v3 takes 299 pixels, as in the code of the authors, so its maps are 8x8.

The script of the authors sorts the classes of Something-Something v1 and Jester. It is
*our reading* that their weights for v2 and Moments in Time have the official order, and
that a second file, whose name ends in `v0.4`, has the same weights for PyTorch 0.4:
either file can be converted. The accuracies of their weights are those of the paper.
It is not stated that they are of these files.
"""

import dataclasses
import math
import re
from functools import partial
from itertools import product, repeat

import numpy as np

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.inception_v3 import inception_v3
from stzoo.backbones.resnet import RESNET50, bottleneck, resnet
from stzoo.layers import TemporalRelation
from stzoo.layers.ends import HEAD, clip_input, drop
from stzoo.layers.initializers import RandomNormal, dense
from stzoo.layers.network import Network
from stzoo.layers.pool import SpatialMean
from stzoo.layers.relation import DRAWN
from stzoo.models import tsn
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.weights.config import ModelConfig
from stzoo.weights.labels import classes_of, names

CLIPS = tsn.CLIPS | {
    "inception_v3": dataclasses.replace(
        tsn.CLIPS["inception_v3"], height=299, width=299, short_side=341
    )
}


def trn(config, name, backbone, subsets, seed, width=64, depth=None, units=256):
    """Builds the graph.

    Args:
        config: `ModelConfig`. Its clip has 2 to 16 frames.
        name: string.
        backbone: string, a key of `CLIPS`.
        subsets, seed: see `stzoo.layers.TemporalRelation`.
        width: int, filters of the stem.
        depth: int, maximum number of Inception blocks, or `None` for all.
        units: int, values of each frame, and hidden values of each scale.
    """
    networks = {
        "bn_inception": partial(bn_inception, depth=depth),
        "inception_v3": partial(inception_v3, depth=depth),
        "resnet50": partial(resnet, branches=repeat(bottleneck), depths=RESNET50),
    }
    inputs, x = clip_input(config.clip)
    x = networks[backbone](x, width=width)
    x = SpatialMean(dtype="float32", name="avgpool")(x)
    start = RandomNormal(stddev=0.001)
    x = dense(units, kernel_initializer=start, name="feature")(drop(x, 0.8))
    relation = TemporalRelation(units, subsets, seed, dtype="float32", name="relation")
    return Network(inputs, dense(config.classes, name=HEAD)(relation(x)), name=name)


# The first or the second dense layer of a scale, `0` is that of all frames.
_SCALE = re.compile(
    r"(?:module\.)?(?:cls_head\.)?consensus\.fc_fusion_scales\.(\d+)\.([13])\.(\w+)$"
)
_IMAGE_HEAD = re.compile(r"(?:module\.)?(?:base_model\.)?(fc|last_linear|top_cls_fc)\.")
KEY_MAP = (
    (r"^(module\.)?(new_fc|cls_head\.fc_cls)\.", "feature."),
    (r"^(module\.)?(cls_head\.)?consensus\.fc_fusion_scales\.0\.3\.", "fc."),
    *tsn.KEY_MAP,
)


def prepare(files, options):
    """Joins the last layers of the scales of a foreign checkpoint.

    Args:
        files: list of one dict from name to array: a TRN, or an image network, whose
            head is left out.
        options: dict, not used.

    Raises:
        ValueError: there are several files, or a scale is incomplete.
    """
    if len(files) > 1:
        raise ValueError(f"{len(files)} files are too many for one model")
    tensors, scales = {}, {}
    for name, tensor in files[0].items():
        if match := _SCALE.match(name):
            scale, layer, word = match.groups()
            scales[int(scale), int(layer), word] = tensor
        elif not _IMAGE_HEAD.match(name):
            tensors[name] = tensor
    return tensors | _relations(scales) if scales else tensors


def _relations(scales):
    """Returns the layers of stzoo from those of the scales, the longest first."""
    count = 1 + max(index for index, _, _ in scales)
    missing = {*product(range(count), (1, 3), ("weight", "bias"))} ^ scales.keys()
    if missing:
        names = sorted("fc_fusion_scales.{}.{}.{}".format(*key) for key in missing)
        raise ValueError(f"its relations are incomplete: {', '.join(names[:6])}")
    frames, tensors = count + 1, {}
    for index, word in product(range(count), ("weight", "bias")):
        tensors[f"relation/scale_{frames - index}.{word}"] = scales[index, 1, word]
    weights, biases = (
        [scales[index, 3, word] for index in range(count)]
        for word in ("weight", "bias")
    )
    times = [min(DRAWN, math.comb(frames, index)) for index in range(count)]
    bias = sum(n * bias for n, bias in zip(times, biases, strict=True))
    return tensors | {"fc.weight": np.concatenate(weights, 1), "fc.bias": bias}


def trn_bninception(
    classes=None, input_shape=None, pretrained=None, subsets="even", seed=0, name=None
):
    """BN-Inception with relations of 8 frames: 12.8 M parameters without the head."""
    options = dict(subsets=subsets, seed=seed)
    return FAMILY.build(
        trn_bninception, options, classes, input_shape, pretrained, name
    )


def trn_inceptionv3(
    classes=None, input_shape=None, pretrained=None, subsets="even", seed=0, name=None
):
    """Inception v3 with relations of 8 frames: 24.6 M parameters without the head."""
    options = dict(subsets=subsets, seed=seed)
    return FAMILY.build(
        trn_inceptionv3, options, classes, input_shape, pretrained, name
    )


def trn_resnet50(
    classes=None, input_shape=None, pretrained=None, subsets="even", seed=0, name=None
):
    """ResNet-50 with relations of 8 frames: 26.3 M parameters without the head."""
    options = dict(subsets=subsets, seed=seed)
    return FAMILY.build(trn_resnet50, options, classes, input_shape, pretrained, name)


def trn_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    subsets="even",
    seed=0,
    backbone="bn_inception",
    width=16,
    depth=11,
    units=64,
    name=None,
):
    """A small TRN for tests, demonstrations and studies."""
    options = dict(subsets=subsets, seed=seed, backbone=backbone, width=width)
    options |= dict(depth=depth, units=units)
    return FAMILY.build(trn_tiny, options, classes, input_shape, pretrained, name)


def _image_network(entry, backbone, classes=174):
    """The entry of an image network, whose head is left out."""
    return dataclasses.replace(
        entry,
        clip=CLIPS[backbone],
        classes=classes,
        labels=(),
        dataset="",
        reported={},
        allow_missing=("^fc/", "^feature/", "^relation/"),
    )


# The authors' weights: backbone, order of the classes, file, accuracy (see above).
_AUTHORS = {
    "something_v1": (
        *("bn_inception", sorted, "something_RGB_BNInception"),
        {"top1": 34.4},
    ),
    "something_v2": (
        *("bn_inception", tuple, "somethingv2_RGB_BNInception"),
        {},  # none was found
    ),
    "jester": ("bn_inception", sorted, "jester_RGB_BNInception", {"top1": 95.31}),
    "moments_in_time": (
        *("inception_v3", tuple, "moments_RGB_InceptionV3"),
        {"top1": 28.27, "top5": 53.87},
    ),
}
_FILE = (
    "http://relation.csail.mit.edu/models/TRN_{}_TRNmultiscale_segment8_best.pth.tar"
)
_MMACTION = {
    # tag: configuration, date and hash, order of the classes, top-1, top-5
    "something_v1": ("sthv1", "20220815-e13db2e9", "_official", 33.65, 62.22),
    "something_v2": ("sthv2", "20220815-e01617db", "", 51.20, 78.42),
}

FAMILY = Family(
    architectures={
        trn_bninception: Architecture(
            partial(trn, backbone="bn_inception"), CLIPS["bn_inception"], classes=174
        ),
        trn_inceptionv3: Architecture(
            partial(trn, backbone="inception_v3", width=32),
            CLIPS["inception_v3"],
            classes=339,
        ),
        trn_resnet50: Architecture(
            partial(trn, backbone="resnet50"), CLIPS["resnet50"], classes=174
        ),
        trn_tiny: Architecture(trn, tsn.tiny_clip, classes=12),
    },
    arguments={
        "subsets": """`"even"`, `"random"` or `"all"`: which subsets of the frames are
        related in inference, see `stzoo.layers.TemporalRelation`.""",
        "seed": "int, seed of the random subsets.",
        "units": "int, values of each frame, and hidden values of each scale.",
        **tsn.TINY_ARGUMENTS,
    },
    choices={"subsets": ("even", "random", "all"), "backbone": tuple(CLIPS)},
    key_map=KEY_MAP,
    prepare=prepare,
    entries=(
        *(
            ModelConfig(
                f"trn_{backbone.replace('_', '')}",
                tag=tag,
                clip=CLIPS[backbone],
                licence="BSD-2-Clause",
                source=f"Zhou et al., {_FILE.format(file)}",
                reported=accuracy,
                **classes_of(tag, order),
            )
            for tag, (backbone, order, file, accuracy) in _AUTHORS.items()
        ),
        *(
            ModelConfig(
                "trn_resnet50",
                tag=tag,
                clip=CLIPS["resnet50"],
                licence="Apache-2.0",
                source="mmaction2",
                reported={"top1": top1, "top5": top5, "protocol": "2 clips x 3 crops"},
                repository=tsn.mmaction(
                    f"trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_{data}-rgb", version
                ),
                **classes_of(tag) | {"labels": names(tag + order)},
            )
            for tag, (data, version, order, top1, top5) in _MMACTION.items()
        ),
        _image_network(tsn.imagenet("trn_bninception", "bn_inception"), "bn_inception"),
        _image_network(
            tsn.imagenet("trn_inceptionv3", "inception_v3"), "inception_v3", classes=339
        ),
        _image_network(torchvision_entry("trn_resnet50", "resnet50"), "resnet50"),
        motions_entry("trn_tiny", tsn.tiny_clip({"backbone": "bn_inception"})),
    ),
)
