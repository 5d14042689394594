"""P3D: pseudo-3D residual networks.

Qiu, Yao, Mei: Learning Spatio-Temporal Representation with Pseudo-3D Residual
Networks. ICCV 2017. https://arxiv.org/abs/1711.10305
The authors' Caffe models: https://github.com/ZhaofanQiu/pseudo-3d-residual-networks

A 3x3x3 convolution is taken apart into S, 1x3x3 in space, and T, 3x1x1 in time. With
a residual unit's input x, the blocks are (Section 3.2)

    A: x + T(S(x))        B: x + S(x) + T(x)        C: x + S(x) + T(S(x))

and replace the units of a ResNet in turn, A, B, C, A, ... through the stages. The
last stage is 2D: pools have halved 16 frames four times. Of a longer clip, its
convolutions see every frame that is left, and the global average all of them.

The weights that exist compute three different functions; `semantics` says which:

* `"paper"`: Figure 3. ReLU after S and T in A; in B and C after S and after the sum.
* `"caffe"`: the authors' models. As the paper, but C takes the mean of S and T(S)
  (`coeff: 0.5` in all their files), where the paper adds. Right for `.caffemodel`
  files, and for the PyTorch port's own checkpoints, which were converted from them.
* `"port"`: what the PyTorch port (https://github.com/qijiezhao/pseudo-3d-pytorch)
  computes: ReLU after T in all blocks and none after the sum, and a first pool with
  margins. Right for what was trained with it: the weights of GluonCV.

Further:

* Pools follow Caffe (no margins, a rest is pooled too), so any number of frames works.
  The pools of the port drop a rest and need 16 frames.
* The stride of a block stands in its first 1x1x1, as in Caffe's ResNet. timm's
  weights (`"imagenet"`) were trained with it in the 3x3, so the strided blocks see
  another grid than the one they were trained on, and need to be fine-tuned.
* From weights of images, temporal convolutions start, as far as the block allows it,
  so that the network is that of images, while batch norms stand still: in A, and in C
  of `"caffe"`, as the identity; in B and C of the paper with a scale of 0. Behind the
  port's ReLU that scale would never leave 0, so B and C of `"port"` start at random,
  as all do without weights. The paper does not say how they start; the authors'
  prototxt says xavier.
* Dropout is 0.5, as in the authors' Kinetics model; their others have 0.1 (Sports-1M),
  0.7 (flow) and 0.9 (UCF101). They train with all batch norms but the first frozen.
* The authors subtract 104, 117, 123 from blue, green and red. What the port's own
  checkpoints expect is not known: its code names mean and deviation of ImageNet
  without applying them, and users report wrong predictions. `"caffe"` builds with
  the former, `"port"` with the latter.
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
from stzoo.models.family import Architecture, Family
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

# 160x160 out of 182x242, 16 frames that follow each other (Section 4.1).
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
    """The graph.

    Args:
        config: `ModelConfig`. Temporal convolutions that its weights lack start so that
            the network is that of images.
        name: string.
        blocks: string, the letters of the blocks in turn.
        modality: string; `config.clip` has its channels.
        semantics: `"paper"`, `"caffe"` or `"port"`, see the module.
        depths: tuple of 4 ints, blocks in each stage.
        width: int, filters of the stem.
    """
    clip, ceil = config.clip, semantics != "port"
    if not ceil and clip.frames is not None and clip.frames < 16:
        raise ValueError(
            "The port's pools halve the number of frames four times, so a clip needs "
            f"16 or more (with other semantics any number). Received: {clip.shape}."
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
    """1x1x1 with the stride, S and T, 1x1x1 (Figure 3).

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        block: `"A"`, `"B"`, `"C"`, or `None` for S alone: a 2D bottleneck.
        semantics: `"paper"`, `"caffe"` or `"port"`, see the module.
        alike: bool, whether T starts so that nothing changes, as far as it can.
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
    """The kernel of T and the scale of its batch norm that change least."""
    if block == "A" or (block, semantics) == ("C", "caffe"):
        return Identity(), "ones"
    return HeNormal(), "ones" if semantics == "port" else "zeros"


def _temporal(x, name, kernel, gamma):
    """T and its batch norm."""
    x = ClipConv(
        x.shape[-1],
        (3, 1, 1),
        kernel_initializer=kernel,
        name=f"{name}_conv_temporal",
    )(x)
    return BatchNorm(gamma_initializer=gamma, name=f"{name}_bn_temporal")(x)


def _joined(s, t, name, block, semantics):
    """S and T of the blocks B and C as one."""
    mean = (block, semantics) == ("C", "caffe")
    join = keras.layers.Average if mean else keras.layers.Add
    x = join(name=f"{name}_sum")([s, t])
    if semantics == "port":
        return x
    return keras.layers.ReLU(name=f"{name}_relu_sum")(x)


def _unit(match):
    """`res3b7_branch2a.` of Caffe is `layer2.7.conv1.` here, `bn...` its batch norm."""
    kind, stage, letter, number, branch = match.groups()
    block = number or ord(letter) - ord("a")
    if branch == "1":
        name = f"downsample.{int(kind == 'bn')}"
    else:
        name = ("bn" if kind == "bn" else "conv") + _BRANCHES[branch]
    return f"layer{int(stage) - 1}.{block}.{name}."


_BRANCHES = {"2a": "1", "2b": "2", "2b_t": "_temporal", "2c": "3"}
# By a name that no other checkpoint has: the PyTorch port's, Caffe's. Layers are
# called as by GluonCV, which are torchvision's names with a temporal convolution.
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
    """The graph of `p3d_resnet50`, small: for tests, demonstrations and studies."""
    options = dict(
        blocks=blocks,
        modality=modality,
        semantics=semantics,
        width=width,
        depths=depths,
    )
    return FAMILY.build(p3d_tiny, options, classes, input_shape, pretrained, name)


# Top-1 and, where given, top-5 of the sources, and what feeds the weights.
_GLUONCV = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models"
_KINETICS = {
    # builder: sha1 of the .params file, top-1
    "p3d_resnet50": ("671ba81c2b287ce3b9aa2393e15ff1562b705c4d", 71.6),
    "p3d_resnet101": ("b30e3a6389c3a12867fe41bb3838f407d47aed2b", 72.6),
}
_CAFFE = {
    # tag: modality, accuracy, what it is of
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
        "blocks": """`"ABC"`, or one letter for one block throughout (Table 1). `None`:
        that of the weights, else `"ABC"`.""",
        "modality": """`"rgb"`, or `"flow"` for two channels, x and y, 128 for no
        motion. `None`: that of the weights, else `"rgb"`.""",
        "semantics": """`"paper"`, `"caffe"` or `"port"`, see the module. `None`: that
        of the weights, else `"paper"`.""",
        "width": "int, filters of the stem.",
        "depths": "tuple of 4 ints, blocks in each stage.",
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
            ModelConfig(
                f"p3d_resnet{depth}",
                tag="imagenet",
                options={"modality": "rgb"},
                clip=IMAGENET,
                licence="BSD-3-Clause",
                source="torchvision, IMAGENET1K_V1; stride in the 3x3, here in the 1x1",
                repository=f"timm/resnet{depth}.tv_in1k",
                allow_missing=("_temporal/",),
                **classes_of("imagenet"),
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
        ModelConfig(
            "p3d_tiny",
            tag="motions",
            dataset="motions",
            classes=12,
            clip=dataclasses.replace(CAFFE, frames=20, **_TINY),
            licence="Apache-2.0",
            source="scripts/train_motions.py",
        ),
    ),
)
