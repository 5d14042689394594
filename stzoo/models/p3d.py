"""P3D: pseudo-3D residual networks.

Qiu, Yao, Mei: Learning Spatio-Temporal Representation with Pseudo-3D Residual
Networks. ICCV 2017. https://arxiv.org/abs/1711.10305
The authors' Caffe models: https://github.com/ZhaofanQiu/pseudo-3d-residual-networks

A 3x3x3 convolution is split into S, 1x3x3 in space, and T, 3x1x1 in time. With the
input x of a residual unit, the blocks are (Section 3.2)

    A: x + T(S(x))        B: x + S(x) + T(x)        C: x + S(x) + T(S(x))

They replace the units of a ResNet in turn, A, B, C, A, ... through the stages. The last
stage is 2D, since pools have halved 16 frames four times. In a longer clip, its
convolutions process each remaining frame, and the global average covers all of them.

The published weights need three different functions. `semantics` selects one:

* `"paper"`: Figure 3. A has a ReLU after S and after T. B and C have one after S and
  after the sum.
* `"caffe"`: the authors' models. They match the paper, but C takes the mean of S and
  T(S) (`coeff: 0.5` in all their files), where the paper adds. Use it for `.caffemodel`
  files, and for the checkpoints of the PyTorch port, which were converted from them.
* `"port"`: the PyTorch port (https://github.com/qijiezhao/pseudo-3d-pytorch). All
  blocks have a ReLU after T and none after the sum, and the first pool is padded. Use
  it for weights trained with it, such as those of GluonCV.

Further details:

* Pools follow Caffe (no padding, and a partial pool at the end), so any number of
  frames works. The pools of the port drop the remainder and need 16 frames.
* The first 1x1x1 of a block has the stride, as in Caffe's ResNet. timm's weights
  (`"imagenet"`) were trained with the stride in the 3x3. So the strided blocks see
  another grid than in their training, and must be fine-tuned.
* With image weights, temporal convolutions are initialised so that the network equals
  the image network as far as the block allows it (with batch norms in inference). They
  are the identity in A and in C of `"caffe"`. In B and C of the paper, their scale is
  0. After the ReLU of the port, this scale would stay 0, so B and C of `"port"` start
  at random, as all blocks do without weights. The paper does not give the
  initialisation. The authors' prototxt has xavier.
* Dropout is 0.5, as in the authors' Kinetics model. Their others have 0.1 (Sports-1M),
  0.7 (flow) and 0.9 (UCF101). They freeze all batch norms except the first.
* The authors subtract 104, 117, 123 from blue, green and red. It is unknown what the
  port's own checkpoints expect: its code defines mean and deviation of ImageNet without
  applying them, and users report wrong predictions. `"caffe"` uses the former, `"port"`
  the latter.
"""

import dataclasses
from functools import partial
from itertools import chain, cycle, islice, repeat

import keras

from stzoo.backbones.resnet import RESNET50, RESNET101, RESNET152, resnet
from stzoo.layers import ClipConv
from stzoo.layers.conv import conv_bn
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.initializers import HeNormal, Identity
from stzoo.layers.network import Network
from stzoo.layers.norm import BatchNorm
from stzoo.layers.pool import max_pool
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

# A crop of 160x160 from 182x242, and 16 consecutive frames (Section 4.1).
IMAGENET = ClipConfig(frames=16, stride=1, height=160, width=160, short_side=182)
CAFFE = dataclasses.replace(IMAGENET, mean=(123, 117, 104), std=(1,) * 3, order="BGR")
CLIPS = {
    # (semantics, modality)
    ("paper", "rgb"): CAFFE,
    ("caffe", "rgb"): CAFFE,
    ("port", "rgb"): IMAGENET,
    ("paper", "flow"): dataclasses.replace(IMAGENET, mean=(128,) * 2, std=(1,) * 2),
    ("caffe", "flow"): dataclasses.replace(IMAGENET, mean=(128,) * 2, std=(1,) * 2),
    ("port", "flow"): dataclasses.replace(
        IMAGENET, mean=(127.5,) * 2, std=(57.63,) * 2
    ),
}


def p3d(config, name, blocks, modality, semantics, depths, width=64):
    """Builds the graph.

    Args:
        config: `ModelConfig`. Temporal convolutions that its weights lack are
            initialised so that the network equals the image network.
        name: string.
        blocks: string, the letters of the blocks in turn.
        modality: string. `config.clip` has its channels.
        semantics: `"paper"`, `"caffe"` or `"port"`, see the module docstring.
        depths: tuple of ints, blocks in each stage.
        width: int, filters of the stem.
    """
    clip, ceil = config.clip, semantics != "port"
    if not ceil and clip.frames is not None and clip.frames < 16:
        raise ValueError(
            "The pools of the port halve the number of frames four times, so a clip "
            "needs 16 or more frames (with other semantics any number). Received: "
            f"{clip.shape}."
        )
    pool = partial(max_pool, pool_size=(2, 1, 1), strides=(2, 1, 1), ceil=ceil)
    pool1 = partial(max_pool, pool_size=(2, 3, 3), strides=(2, 2, 2), ceil=ceil)
    unit = partial(pseudo3d, semantics=semantics, alike=bool(config.allow_missing))
    branches = (partial(unit, block=block) for block in cycle(blocks))
    branches = chain(islice(branches, sum(depths[:3])), repeat(pseudo3d))
    inputs, x = clip_input(clip)
    x = resnet(x, branches, depths, width, (pool1, pool, pool, pool))
    return Network(inputs, classifier(x, config.classes, dropout=0.5), name=name)


def pseudo3d(x, filters, stride, name, block=None, semantics="paper", alike=False):
    """A bottleneck: 1x1x1 with the stride, S and T, 1x1x1 (Figure 3).

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        block: `"A"`, `"B"`, `"C"`, or `None` for a 2D bottleneck with S only.
        semantics: `"paper"`, `"caffe"` or `"port"`, see the module docstring.
        alike: bool, whether to initialise T so that it changes as little as possible.
    """
    x = conv_bn(x, filters, 1, stride, name=f"{name}_conv1", bn=f"{name}_bn1")
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    s = conv_bn(x, filters, 3, name=f"{name}_conv2", bn=f"{name}_bn2")
    s = keras.layers.ReLU(name=f"{name}_relu2")(s)
    if block is None:
        x = s
    else:
        start = _start(block, semantics) if alike else (HeNormal(), "ones")
        t = _temporal(x if block == "B" else s, name, *start)
        if block == "A" or semantics == "port":
            t = keras.layers.ReLU(name=f"{name}_relu_temporal")(t)
        x = t if block == "A" else _joined(s, t, name, block, semantics)
    return conv_bn(x, 4 * filters, 1, name=f"{name}_conv3", bn=f"{name}_bn3")


def _start(block, semantics):
    """Returns the initial kernel and scale of T that change the least."""
    if block == "A" or (block, semantics) == ("C", "caffe"):
        return Identity(), "ones"
    return HeNormal(), "ones" if semantics == "port" else "zeros"


def _temporal(x, name, kernel, gamma):
    """Applies T and its batch norm."""
    x = ClipConv(
        x.shape[-1],
        (3, 1, 1),
        kernel_initializer=kernel,
        name=f"{name}_conv_temporal",
    )(x)
    return BatchNorm(gamma_initializer=gamma, name=f"{name}_bn_temporal")(x)


def _joined(s, t, name, block, semantics):
    """Combines S and T in the blocks B and C."""
    mean = (block, semantics) == ("C", "caffe")
    join = keras.layers.Average if mean else keras.layers.Add
    x = join(name=f"{name}_sum")([s, t])
    if semantics == "port":
        return x
    return keras.layers.ReLU(name=f"{name}_relu_sum")(x)


def _unit(match):
    """Renames `res3b7_branch2a.` of Caffe to `layer2.7.conv1.`. `bn...` is its norm."""
    kind, stage, letter, number, branch = match.groups()
    block = number or ord(letter) - ord("a")
    if branch == "1":
        name = f"downsample.{int(kind == 'bn')}"
    else:
        name = ("bn" if kind == "bn" else "conv") + _BRANCHES[branch]
    return f"layer{int(stage) - 1}.{block}.{name}."


_BRANCHES = {"2a": "1", "2b": "2", "2b_t": "_temporal", "2c": "3"}
# The keys are names that only the PyTorch port or Caffe have. Layers have the names of
# GluonCV, which are torchvision's names with a temporal convolution.
KEY_MAP = {
    "conv1_custom.weight": (
        (r"^conv1_custom\.", "conv1."),
        (r"(conv|bn)3\.", r"\1_temporal."),
        (r"(conv|bn)4\.", r"\g<1>3."),
        (r"(conv|bn)_normal\.", r"\g<1>2."),
    ),
    "bn_conv1.weight": (
        (r"^bn_conv1\.", "bn1."),
        (r"^fc_\w+\.", "fc."),
        (r"^(res|bn)(\d)([a-z])(\d*)_branch(1|2a|2b_t|2b|2c)\.", _unit),
    ),
}


def p3d_resnet50(
    classes=None,
    input_shape=None,
    pretrained=None,
    blocks=None,
    modality=None,
    semantics=None,
    name=None,
):
    """P3D on ResNet-50, 63 layers: 25.7 M parameters."""
    options = dict(blocks=blocks, modality=modality, semantics=semantics)
    return FAMILY.build(p3d_resnet50, options, classes, input_shape, pretrained, name)


def p3d_resnet101(
    classes=None,
    input_shape=None,
    pretrained=None,
    blocks=None,
    modality=None,
    semantics=None,
    name=None,
):
    """P3D on ResNet-101, 131 layers: 48.1 M parameters."""
    options = dict(blocks=blocks, modality=modality, semantics=semantics)
    return FAMILY.build(p3d_resnet101, options, classes, input_shape, pretrained, name)


def p3d_resnet152(
    classes=None,
    input_shape=None,
    pretrained=None,
    blocks=None,
    modality=None,
    semantics=None,
    name=None,
):
    """P3D on ResNet-152, 199 layers: 66.5 M parameters."""
    options = dict(blocks=blocks, modality=modality, semantics=semantics)
    return FAMILY.build(p3d_resnet152, options, classes, input_shape, pretrained, name)


def p3d_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    blocks=None,
    modality=None,
    semantics=None,
    width=16,
    depths=(2, 2, 2, 2),
    name=None,
):
    """A small `p3d_resnet50` for tests, demonstrations and studies."""
    options = dict(blocks=blocks, modality=modality, semantics=semantics)
    options |= dict(width=width, depths=depths)
    return FAMILY.build(p3d_tiny, options, classes, input_shape, pretrained, name)


# Top-1 and, if given, top-5 of the sources, and the input of the weights.
_GLUONCV = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models"
_KINETICS = {
    # builder: sha1 of the .params file, top-1
    "p3d_resnet50": ("671ba81c2b287ce3b9aa2393e15ff1562b705c4d", 71.6),
    "p3d_resnet101": ("b30e3a6389c3a12867fe41bb3838f407d47aed2b", 72.6),
}
_CAFFE = {
    # tag: modality, accuracy, source of the accuracy
    "kinetics400": ("rgb", {"top1": 72.1}, "validation set, the authors"),
    "kinetics400_flow": ("flow", {"top1": 61.2}, "validation set, the authors"),
    "sports1m": (
        "rgb",
        {"top1": 66.4, "top5": 87.4},
        "videos of 20 clips, Table 2",
    ),
}


def _clip(options, **sizes):
    clip = CLIPS[options["semantics"], options["modality"]]
    return dataclasses.replace(clip, **sizes)


_TINY = dict(height=64, width=64, short_side=72)
DEFAULTS = {"blocks": "ABC", "modality": "rgb", "semantics": "paper"}

FAMILY = Family(
    architectures={
        p3d_resnet50: Architecture(partial(p3d, depths=RESNET50), _clip),
        p3d_resnet101: Architecture(partial(p3d, depths=RESNET101), _clip),
        p3d_resnet152: Architecture(partial(p3d, depths=RESNET152), _clip),
        p3d_tiny: Architecture(p3d, partial(_clip, **_TINY), classes=12),
    },
    arguments={
        "blocks": """`"ABC"`, or one letter to use one block throughout (Table 1).
        Defaults to that of the weights, or `"ABC"`.""",
        "modality": """`"rgb"`, or `"flow"` for two channels, x and y, with 128 for no
        motion. Defaults to that of the weights, or `"rgb"`.""",
        "semantics": """`"paper"`, `"caffe"` or `"port"`, see the module docstring.
        Defaults to that of the weights, or `"paper"`.""",
        "width": "int, filters of the stem.",
        "depths": "tuple of ints, blocks in each stage.",
    },
    choices={
        "blocks": ("ABC", "A", "B", "C"),
        "modality": ("rgb", "flow"),
        "semantics": ("paper", "caffe", "port"),
    },
    defaults=DEFAULTS,
    key_map=KEY_MAP,
    entries=(
        *(
            ModelConfig(
                builder,
                tag="kinetics400",
                options={**DEFAULTS, "semantics": "port"},
                clip=ClipConfig(frames=16, stride=2),
                licence="Apache-2.0",
                source="GluonCV, MXNet; views and crops averaged before the classifier",
                reported={"top1": top1},
                repository=f"{_GLUONCV}/{builder}_kinetics400-{sha1[:8]}.zip#sha1={sha1}",
                **classes_of("kinetics400"),
            )
            for builder, (sha1, top1) in _KINETICS.items()
        ),
        *(
            torchvision_entry(
                f"p3d_resnet{depth}",
                f"resnet{depth}",
                options={"modality": "rgb"},
                clip=IMAGENET,
                source="torchvision, IMAGENET1K_V1; stride in the 3x3, here in the 1x1",
                allow_missing=("_temporal/",),
            )
            for depth in (50, 101, 152)
        ),
        *(
            ModelConfig(
                "p3d_resnet152",
                tag=tag,
                options={"blocks": "ABC", "modality": modality, "semantics": "caffe"},
                clip=CLIPS["caffe", modality],
                source=f"Qiu et al., ICCV 2017, official Caffe model; {of}",
                reported=accuracy,
                **classes_of(tag.removesuffix("_flow")),
            )
            for tag, (modality, accuracy, of) in _CAFFE.items()
        ),
        motions_entry("p3d_tiny", dataclasses.replace(CAFFE, frames=20, **_TINY)),
    ),
)
