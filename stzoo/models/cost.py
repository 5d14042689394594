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
* The paper trains with 600,000 steps of asynchronous SGD in TensorFlow, the code with
  160 epochs in PyTorch. The entries have the accuracies of the paper, with 10 clips.
"""

from functools import partial
from itertools import cycle, repeat

from stzoo.backbones.resnet import RESNET50, RESNET101, RESNET152, bottleneck, resnet
from stzoo.layers import ClipConv, CoST
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.network import Network
from stzoo.layers.pool import max_pool
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

POOLING = {
    "code": {"pool1": (1, 3, 3), "pool2": (2, 1, 1)},
    "paper": {"pool1": (3, 3, 3), "pool2": (3, 1, 1)},
}


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
    if config.clip.frames == 1:
        raise ValueError(
            "The network halves the number of frames once, so a clip needs 2 or more. "
            f"Received: input_shape={config.clip.shape}."
        )
    sizes = POOLING[pooling]
    pools = (
        partial(max_pool, pool_size=sizes["pool1"], strides=(1, 2, 2)),
        partial(max_pool, pool_size=sizes["pool2"], strides=(2, 1, 1)),
    )
    inputs, x = clip_input(config.clip)
    x = resnet(x, branches, depths, width, pools)
    return Network(inputs, classifier(x, config.classes, dropout=0.5), name=name)


# From the names of mmaction2 (the authors' checkpoints) to those of torchvision, which
# stzoo uses.
KEY_MAP = (
    (r"^backbone\.", ""),
    (r"^cls_head\.fc_cls\.", "fc."),
    (r"\.conv\.fc(\d)\.", r"/fc\1."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
)


def c2d_resnet50(
    classes=None, input_shape=None, pretrained=None, pooling="code", name=None
):
    """ResNet-50 on frames, pooled over time (Table 1): 24.3 M parameters."""
    options = dict(pooling=pooling)
    return FAMILY.build(c2d_resnet50, options, classes, input_shape, pretrained, name)


def c2d_resnet101(
    classes=None, input_shape=None, pretrained=None, pooling="code", name=None
):
    """ResNet-101 on frames, pooled over time: 43.3 M parameters."""
    options = dict(pooling=pooling)
    return FAMILY.build(c2d_resnet101, options, classes, input_shape, pretrained, name)


def c2d_resnet152(
    classes=None, input_shape=None, pretrained=None, pooling="code", name=None
):
    """ResNet-152 on frames, pooled over time. It is not in the paper."""
    options = dict(pooling=pooling)
    return FAMILY.build(c2d_resnet152, options, classes, input_shape, pretrained, name)


def c2d_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    pooling="code",
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
        "pooling": """`"code"` or `"paper"`, see the module docstring.""",
        "width": "int, filters of the stem.",
        "depths": "tuple of 4 ints, blocks in each stage.",
    },
    choices={
        "variant": ("a", "b"),
        "kernel": ("3x1x1", "3x3x3"),
        "pooling": tuple(POOLING),
    },
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
        *(
            ModelConfig(
                builder,
                tag=dataset,
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
