"""S3D: Inception v1 with separable 3D convolutions, and S3D-G with self-gating.

Xie, Sun, Huang, Tu, Murphy: Rethinking Spatiotemporal Feature Learning. ECCV 2018.
https://arxiv.org/abs/1712.04851

The graph is that of torchvision and of https://github.com/kylemin/S3D, whose weights it
loads. The code of the authors is `nets/s3dg.py` of TF-Slim. *Stated* by these sources:

* The epsilon of batch norms is 1e-3. Convolutions have no bias.
* The head is an average pooling of 2 frames and 7x7 positions with stride 1, a 1x1x1
  convolution, and the mean of what is left. So positions near an edge count less from
  21 frames or 241 pixels on. Here the convolution follows the mean, which is the same,
  since both are linear. As in TF-Slim, a window larger than the map is reduced to it,
  so that small clips work.
* S3D-G has a gate after the last convolution of the stem and after each branch of each
  block. A gate is the sigmoid of a dense layer of the average over the clip.

*Our reading*:

* The gate has a bias, as in https://github.com/antoine77340/S3D_HowTo100M. TF-Slim has
  none.
* S3D-G has the stem and the batch norms of torchvision's S3D. TF-Slim has a 3x7x7
  convolution instead of 1x7x7 and 7x1x1, and no batch norm after convolutions in time.
* The clips of the weights of kylemin: 64 frames of stride 1, a shorter side of 256.
  Only the crop and the normalisation follow from its code.

*Deviations*:

* torchvision squashes frames to 256x256 before the crop. Here they keep their shape.
* kylemin averages over the whole frame, which differs from 241 pixels on.
* Dropout of 0.2 follows the mean. In the sources it precedes the 1x1x1 convolution, and
  drops each position separately. kylemin has none.
* The momentum of batch norms is 0.9, as in all models here. The sources have 0.999,
  which needs long trainings.

There are no public weights of S3D-G on Kinetics. Those on HowTo100M are of another
stem and have no classes.
"""

import dataclasses
from functools import partial

from stzoo.backbones.s3d import s3d as backbone
from stzoo.layers import SelfGating
from stzoo.layers.ends import clip_input, head
from stzoo.layers.network import Network
from stzoo.layers.pool import WindowMean
from stzoo.models.family import Architecture, Family, motions_entry
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

CLIP = ClipConfig(frames=64, stride=1, mean=(127.5,) * 3, std=(127.5,) * 3)
TINY = dataclasses.replace(CLIP, frames=16, height=64, width=64, short_side=72)
TORCHVISION = ClipConfig(
    frames=128,
    stride=1,
    mean=(110.2008, 100.63983, 95.99475),  # 255 times those of its preset
    std=(58.14765, 56.46975, 55.332195),
    sample_fps=15,
)


def s3d_graph(config, name, gating=False, width=64):
    """Builds the graph.

    Args:
        config: `ModelConfig`.
        name: string.
        gating: bool, whether to add gates (S3D-G).
        width: int, filters of the stem.
    """
    inputs, x = clip_input(config.clip)
    x = backbone(x, gate=_gate if gating else None, width=width)
    x = WindowMean((2, 7, 7), dtype="float32", name="avgpool")(x)
    return Network(inputs, head(x, config.classes, dropout=0.2), name=name)


def _gate(x, name):
    return SelfGating(name=f"{name}_gate")(x)


def prepare(files, options):
    """Turns the last 1x1x1 convolution of a foreign checkpoint into a dense layer.

    Args:
        files: list of one dict from name to array.
        options: dict, not used.

    Raises:
        ValueError: there are several files.
    """
    if len(files) > 1:
        raise ValueError(f"{len(files)} files are too many for one model")
    names = {"classifier.1.weight", "fc.0.weight"} & files[0].keys()
    return files[0] | {name: files[0][name][..., 0, 0, 0] for name in names}


# Position in the sequence of the sources: the name in `stzoo.backbones.s3d`.
_PLACES = dict(zip((0, 2, 3), ("stem_1a", "stem_2b", "stem_2c"), strict=True))
_PLACES |= dict(zip((5, 6), ("mixed_3b", "mixed_3c"), strict=True))
_PLACES |= {8 + i: f"mixed_4{letter}" for i, letter in enumerate("bcdef")}
_PLACES |= {14: "mixed_5b", 15: "mixed_5c"}


def _place(match):
    return f"{_PLACES[int(match[1])]}."


def _separable(match):
    block, step, layer = match.groups()
    return f"{block}{('conv', 'bn')[int(layer)]}_{'st'[int(step)]}."


def _single(match):
    return f"{match[1]}{('conv', 'bn')[int(match[2])]}."


# The keys are names that only one of the sources has.
KEY_MAP = {
    "features.0.0.0.weight": (
        (r"^features\.(\d+)\.", _place),
        (r"^classifier\.1\.", "fc."),
        (r"^(stem_1a\.|stem_2c\.|mixed_..\.branch[12]\.1\.)(.)\.(.)\.", _separable),
        (r"^(stem_2b\.|mixed_..\.branch(?:0|[12]\.0|3\.1)\.)(\d)\.", _single),
        (r"\.(branch\d)\.\d\.", r".\1."),
    ),
    "base.0.conv_s.weight": (
        (r"^base\.(\d+)\.", _place),
        (r"^fc\.0\.", "fc."),
        (r"\.(branch\d)\.\d\.", r".\1."),
    ),
}


def s3d(classes=None, input_shape=None, pretrained=None, name=None):
    """S3D: 8.3 M parameters."""
    return FAMILY.build(s3d, {}, classes, input_shape, pretrained, name)


def s3dg(classes=None, input_shape=None, pretrained=None, name=None):
    """S3D with a gate after each branch: 9.5 M parameters."""
    return FAMILY.build(s3dg, {}, classes, input_shape, pretrained, name)


def s3d_tiny(
    classes=None, input_shape=None, pretrained=None, gating=False, width=16, name=None
):
    """A small S3D for tests, demonstrations and studies."""
    options = dict(gating=gating, width=width)
    return FAMILY.build(s3d_tiny, options, classes, input_shape, pretrained, name)


FAMILY = Family(
    architectures={
        s3d: Architecture(s3d_graph, CLIP),
        s3dg: Architecture(partial(s3d_graph, gating=True), CLIP),
        s3d_tiny: Architecture(s3d_graph, TINY, classes=12),
    },
    arguments={
        "gating": "bool, whether to add a gate after each branch (S3D-G).",
        "width": "int, filters of the stem.",
    },
    choices={"gating": (False, True)},
    key_map=KEY_MAP,
    prepare=prepare,
    entries=(
        ModelConfig(
            "s3d",
            tag="kinetics400",
            clip=TORCHVISION,
            licence="BSD-3-Clause",
            source="torchvision, KINETICS400_V1; frames squashed to 256x256 there",
            reported={
                "top1": 68.368,
                "top5": 88.05,
                "protocol": "1 clip of 128 frames at 15 frames per second",
            },
            repository="https://download.pytorch.org/models/s3d-d76dad2f.pth",
            **classes_of("kinetics400"),
        ),
        ModelConfig(
            "s3d",
            tag="kinetics400_kylemin",
            clip=CLIP,
            licence="MIT",
            source="Kyle Min, "
            "https://drive.google.com/file/d/1HJVDBOQpnTMDVUM3SsXLy0HUkf_wryGO",
            reported={"top1": 72.08, "top5": 90.35},
            **classes_of("kinetics400"),
        ),
        motions_entry("s3d_tiny", TINY),
    ),
)
