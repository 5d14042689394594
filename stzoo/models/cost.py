"""CoST, and the C2D and C3D baselines of its paper.

Li, Zhong, Xie, Pu: Collaborative Spatiotemporal Feature Learning for Video Action
Recognition. CVPR 2019. https://arxiv.org/abs/1903.01197
The authors' later PyTorch code: https://github.com/hikvision-research/cost

C2D is a ResNet on frames with one pool in time. CoST and C3D add time to every second
block. CoST replaces the 3x3 convolution. C3D inflates the first 1x1 to 3x1x1 (the C3D
of the tables in the paper) or the 3x3 to 3x3x3.

Paper and code differ in these points. The default follows the code:

* Pools. Code: 1x3x3 after the stem and 2x1x1 after the first stage. Paper, Table 1:
  3x3x3 and 3x1x1, with the same strides: `pooling="paper"`.
* "Every two residual units" are the blocks 1, 3, 5, ... in the code, counted through
  all stages. The paper does not say which ones (Figure 8 shows 8 in ResNet-50).
* The 3x3 convolution of a block has the stride. The paper does not say which one.
* 32 frames (77.5 % on Kinetics). The paper fine-tunes the model of 8 frames, so its
  stem has no stride in time and `input_shape=(32, 224, 224, 3)` builds it. The code
  also has a configuration for 32 frames with a 5x7x7 stem and strides of 2 in time in
  stem and pool. It was never trained, so it is not implemented.
* The weights of mmaction2 need two other kinds of pools. `pooling="unpadded"` is that
  of the code without padding after the stem: 55x55 instead of 56x56 pixels (*stated* by
  its C2D). `pooling="spatial"` has no pool over time (its C2D "nopool" is its TSN).
* The paper trains with 600,000 steps of asynchronous SGD in TensorFlow, the code with
  160 epochs in PyTorch. The entries without weights have the accuracies of the paper,
  with 10 clips.

C2D has weights of mmaction2 and of PyTorchVideo. *Stated* by PyTorchVideo: `c2d_r50`
pools as `"code"`, its weights are `C2D_8x8_R50.pyth`. *Deviation*: for frames of more
than 224 pixels, PyTorchVideo averages the features of windows of 7x7, here the average
is global. *Our reading*: the classes are in alphabetical order, as in mmaction2.
"""

from functools import partial
from itertools import cycle, repeat

from stzoo.backbones.resnet import RESNET50, RESNET101, RESNET152, bottleneck, resnet
from stzoo.layers import ClipConv, CoST
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.network import Network
from stzoo.layers.pool import max_pool
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.models.tsn import mmaction
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

POOLING = {
    "code": {"pool1": (1, 3, 3), "pool2": (2, 1, 1)},
    "paper": {"pool1": (3, 3, 3), "pool2": (3, 1, 1)},
    "unpadded": {"pool1": (1, 3, 3), "pool2": (2, 1, 1)},
    "spatial": {"pool1": (1, 3, 3)},
}


PARTS = {"conv": "conv", "norm": "bn"}  # of PyTorchVideo's names, as torchvision's


def c2d(config, name, pooling, depths, width=64):
    """ResNet on frames (Table 1)."""
    return _network(config, name, repeat(bottleneck), pooling, depths, width)


def c3d(config, name, kernel, pooling, depths, width=64):
    """ResNet with every second block inflated (Section 3.2)."""
    if kernel == "3x1x1":
        inflate = {"conv1": partial(ClipConv, kernel_size=(3, 1, 1))}
    else:
        inflate = {"conv2": partial(ClipConv, kernel_size=(3, 3, 3))}
    branches = cycle((bottleneck, partial(bottleneck, **inflate)))
    return _network(config, name, branches, pooling, depths, width)


def cost(config, name, variant, pooling, depths, width=64):
    """ResNet with CoST in every second block (Section 3.3)."""
    conv2 = partial(CoST, kernel_size=3, variant=variant)
    branches = cycle((bottleneck, partial(bottleneck, conv2=conv2)))
    return _network(config, name, branches, pooling, depths, width)


def _network(config, name, branches, pooling, depths, width):
    """Builds C2D, C3D or CoST, which differ only in their branches."""
    sizes = POOLING[pooling]
    if config.clip.frames == 1 and "pool2" in sizes:
        raise ValueError(
            "The network halves the number of frames once, so a clip needs 2 or more. "
            f"Received: input_shape={config.clip.shape}."
        )
    pad = pooling != "unpadded"
    pools = [partial(max_pool, pool_size=sizes["pool1"], strides=(1, 2, 2), padded=pad)]
    if "pool2" in sizes:
        pools.append(partial(max_pool, pool_size=sizes["pool2"], strides=(2, 1, 1)))
    inputs, x = clip_input(config.clip)
    x = resnet(x, branches, depths, width, pools)
    return Network(inputs, classifier(x, config.classes, dropout=0.5), name=name)


# From the names of mmaction2 (the authors' checkpoints) and of PyTorchVideo to those of
# torchvision, which stzoo uses.
KEY_MAP = (
    (r"^blocks\.0\.conv\.", "conv1."),
    (r"^blocks\.0\.norm\.", "bn1."),
    (r"^blocks\.1\.", "layer1."),
    (r"^blocks\.([345])\.", lambda match: f"layer{int(match[1]) - 1}."),
    (r"^blocks\.6\.proj\.", "fc."),
    (r"\.res_blocks\.", "."),
    (r"\.branch1_conv\.", ".downsample.0."),
    (r"\.branch1_norm\.", ".downsample.1."),
    (
        r"\.branch2\.(conv|norm)_([abc])\.",
        lambda match: f".{PARTS[match[1]]}{'abc'.index(match[2]) + 1}.",
    ),
    (r"^backbone\.", ""),
    (r"^cls_head\.fc_cls\.", "fc."),
    (r"\.conv\.fc(\d)\.", r"/fc\1."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
)


def c2d_resnet50(
    classes=None, input_shape=None, pretrained=None, pooling=None, name=None
):
    """ResNet-50 on frames, pooled over time (Table 1): 24.3 M parameters."""
    options = dict(pooling=pooling)
    return FAMILY.build(c2d_resnet50, options, classes, input_shape, pretrained, name)


def c2d_resnet101(
    classes=None, input_shape=None, pretrained=None, pooling=None, name=None
):
    """ResNet-101 on frames, pooled over time: 43.3 M parameters."""
    options = dict(pooling=pooling)
    return FAMILY.build(c2d_resnet101, options, classes, input_shape, pretrained, name)


def c2d_resnet152(
    classes=None, input_shape=None, pretrained=None, pooling=None, name=None
):
    """ResNet-152 on frames, pooled over time. It is not in the paper."""
    options = dict(pooling=pooling)
    return FAMILY.build(c2d_resnet152, options, classes, input_shape, pretrained, name)


def c2d_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    pooling=None,
    width=16,
    depths=(2, 2, 2, 2),
    name=None,
):
    """A small `c2d_resnet50` for tests, demonstrations and studies."""
    options = dict(pooling=pooling, width=width, depths=depths)
    return FAMILY.build(c2d_tiny, options, classes, input_shape, pretrained, name)


def c3d_resnet50(
    classes=None,
    input_shape=None,
    pretrained=None,
    kernel="3x1x1",
    pooling="code",
    name=None,
):
    """ResNet-50 with every second block inflated: 29.0 M parameters."""
    options = dict(kernel=kernel, pooling=pooling)
    return FAMILY.build(c3d_resnet50, options, classes, input_shape, pretrained, name)


def c3d_resnet101(
    classes=None,
    input_shape=None,
    pretrained=None,
    kernel="3x1x1",
    pooling="code",
    name=None,
):
    """ResNet-101 with every second block inflated: 51.7 M parameters."""
    options = dict(kernel=kernel, pooling=pooling)
    return FAMILY.build(c3d_resnet101, options, classes, input_shape, pretrained, name)


def c3d_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    kernel="3x1x1",
    pooling="code",
    width=16,
    depths=(2, 2, 2, 2),
    name=None,
):
    """A small `c3d_resnet50` for tests, demonstrations and studies."""
    options = dict(kernel=kernel, pooling=pooling, width=width, depths=depths)
    return FAMILY.build(c3d_tiny, options, classes, input_shape, pretrained, name)


def cost_resnet50(
    classes=None,
    input_shape=None,
    pretrained=None,
    variant="b",
    pooling="code",
    name=None,
):
    """CoST on ResNet-50: 25.1 M parameters, or 24.3 M for variant (a)."""
    options = dict(variant=variant, pooling=pooling)
    return FAMILY.build(cost_resnet50, options, classes, input_shape, pretrained, name)


def cost_resnet101(
    classes=None,
    input_shape=None,
    pretrained=None,
    variant="b",
    pooling="code",
    name=None,
):
    """CoST on ResNet-101: 44.4 M parameters, or 43.3 M for variant (a)."""
    options = dict(variant=variant, pooling=pooling)
    return FAMILY.build(cost_resnet101, options, classes, input_shape, pretrained, name)


def cost_resnet152(
    classes=None,
    input_shape=None,
    pretrained=None,
    variant="b",
    pooling="code",
    name=None,
):
    """CoST on ResNet-152. It is not in the paper."""
    options = dict(variant=variant, pooling=pooling)
    return FAMILY.build(cost_resnet152, options, classes, input_shape, pretrained, name)


def cost_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    variant="b",
    pooling="code",
    width=16,
    depths=(2, 2, 2, 2),
    name=None,
):
    """A small `cost_resnet50` for tests, demonstrations and studies."""
    options = dict(variant=variant, pooling=pooling, width=width, depths=depths)
    return FAMILY.build(cost_tiny, options, classes, input_shape, pretrained, name)


# Top-1 and top-5 on the validation sets, 10 clips, 8 frames (Tables 2 to 5).
_REPORTED = {
    # builder: kinetics400, moments_in_time
    "c2d_resnet50": ((71.5, 89.8), (27.9, 54.6)),
    "c2d_resnet101": ((72.9, 89.8), (30.0, 56.8)),
    "c3d_resnet50": ((73.3, 90.4), (29.0, 55.3)),
    "c3d_resnet101": ((74.5, 91.1), (30.6, 57.7)),
    "cost_resnet50": ((74.1, 91.2), (30.1, 57.2)),
    "cost_resnet101": ((75.5, 92.0), (31.5, 57.9)),
}


def _tag(builder, dataset):
    """The tag of accuracies without weights. Others have weights of C2D on Kinetics."""
    has_weights = builder.startswith("c2d") and dataset == "kinetics400"
    return f"{dataset}_paper" if has_weights else dataset


# mmaction2's table of C2D, with 10 clips of 3 crops.
_MMACTION = (
    # builder, tag, pooling, configuration, hash, top-1, top-5
    ("c2d_resnet50", "kinetics400", "unpadded", "8x8x1", "3ca304fa", 73.89, 91.21),
    ("c2d_resnet50", "kinetics400_16", "unpadded", "16x4x1", "5f382a43", 74.97, 91.91),
    ("c2d_resnet50", "kinetics400_nopool", "spatial", "8x8x1", "e0227b22", 73.44, 91.0),
    ("c2d_resnet101", "kinetics400", "spatial", "8x8x1", "557bd8bc", 74.97, 91.77),
)


def _mmaction(builder, tag, pooling, configuration, digits, top1, top5):
    frames, stride, _ = map(int, configuration.split("x"))
    network = builder.replace("_resnet", "_r") + "-in1k-pre"
    network += "-nopool" if pooling == "spatial" else ""
    return ModelConfig(
        builder,
        tag=tag,
        options={"pooling": pooling},
        clip=ClipConfig(frames=frames, stride=stride),
        licence="Apache-2.0",
        source="mmaction2",
        reported={"top1": top1, "top5": top5, "protocol": "10 clips x 3 crops"},
        repository=mmaction(
            f"{network}_8xb32-{configuration}-100e_kinetics400-rgb",
            f"20221027-{digits}",
        ),
        **classes_of("kinetics400"),
    )


_TINY = ClipConfig(stride=2, height=64, width=64, short_side=72)

FAMILY = Family(
    architectures={
        c2d_resnet50: Architecture(partial(c2d, depths=RESNET50)),
        c2d_resnet101: Architecture(partial(c2d, depths=RESNET101)),
        c2d_resnet152: Architecture(partial(c2d, depths=RESNET152)),
        c2d_tiny: Architecture(c2d, _TINY, classes=12),
        c3d_resnet50: Architecture(partial(c3d, depths=RESNET50)),
        c3d_resnet101: Architecture(partial(c3d, depths=RESNET101)),
        c3d_tiny: Architecture(c3d, _TINY, classes=12),
        cost_resnet50: Architecture(partial(cost, depths=RESNET50)),
        cost_resnet101: Architecture(partial(cost, depths=RESNET101)),
        cost_resnet152: Architecture(partial(cost, depths=RESNET152)),
        cost_tiny: Architecture(cost, _TINY, classes=12),
    },
    arguments={
        "variant": """`"b"` for coefficients computed from each clip, or `"a"` for
        learned coefficients that are the same for all clips.""",
        "kernel": """`"3x1x1"` or `"3x3x3"`, the inflated convolution.""",
        "pooling": """`"code"`, `"paper"`, `"unpadded"` or `"spatial"`, see the module
        docstring. `None`: that of the weights, else `"code"`.""",
        "width": "int, filters of the stem.",
        "depths": "tuple of ints, blocks in each stage.",
    },
    choices={
        "variant": ("a", "b"),
        "kernel": ("3x1x1", "3x3x3"),
        "pooling": tuple(POOLING),
    },
    defaults={"pooling": "code"},
    key_map=KEY_MAP,
    entries=(
        *(
            torchvision_entry(
                f"{family}_resnet{depth}",
                f"resnet{depth}",
                allow_missing=("/alpha", "/fc1/kernel", "/fc2/kernel"),
            )
            for family, depths in (
                ("c2d", (50, 101, 152)),
                ("c3d", (50, 101)),
                ("cost", (50, 101, 152)),
            )
            for depth in depths
        ),
        *(_mmaction(*row) for row in _MMACTION),
        ModelConfig(
            "c2d_resnet50",
            tag="kinetics400_pytorchvideo",
            options={"pooling": "code"},
            clip=ClipConfig(mean=(114.75,) * 3, std=(57.375,) * 3),
            licence="Apache-2.0",
            source="PyTorchVideo, https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/"
            "kinetics/C2D_8x8_R50.pyth",
            reported={"top1": 71.46, "top5": 89.68, "protocol": "10 clips x 3 crops"},
            **classes_of("kinetics400"),
        ),
        *(
            ModelConfig(
                builder,
                tag=_tag(builder, dataset),
                source="Li et al., CVPR 2019",
                reported={"top1": top1, "top5": top5, "protocol": "10 clips"},
                **classes_of(dataset),
            )
            for builder, accuracies in _REPORTED.items()
            for dataset, (top1, top5) in zip(
                ("kinetics400", "moments_in_time"), accuracies, strict=True
            )
        ),
        motions_entry("cost_tiny", _TINY),
    ),
)
