"""CoST, and the C2D and C3D that its paper compares it with.

Li, Zhong, Xie, Pu: Collaborative Spatiotemporal Feature Learning for Video Action
Recognition. CVPR 2019. https://arxiv.org/abs/1903.01197
The authors' later PyTorch code: https://github.com/hikvision-research/cost

C2D is a ResNet on frames with one pool in time. CoST and C3D put time into the second
block of every two: CoST in the place of the 3x3 convolution; C3D inflates the first
1x1 to 3x1x1 (what the paper calls C3D in its tables) or the 3x3 to 3x3x3.

Paper and code differ, and where they do, the code stands here by default:

* Pools. Code: 1x3x3 after the stem and 2x1x1 after the first stage. Paper, Table 1:
  3x3x3 and 3x1x1, both with the same strides: `pooling="paper"`.
* "Every two residual units" are, in the code, the blocks 1, 3, 5, ... counted through
  all stages; the paper does not say which ones (Figure 8 shows 8 in ResNet-50).
* The stride of a block stands in its 3x3 convolution; the paper does not say.
* 32 frames (77.5 % on Kinetics). The paper fine-tunes the model of 8 frames, so its
  stem has no stride in time and `clip=(32, 224, 224, 3)` builds it. The code has a
  configuration for 32 frames with a 5x7x7 stem and strides of 2 in time in stem and
  pool, but no training with it; that one is not built here.
* The paper trains with 600,000 steps of asynchronous SGD in TensorFlow; the code with
  160 epochs in PyTorch. Accuracies of the entries below are the paper's, 10 clips.
"""

from functools import partial
from itertools import cycle, repeat

from stzoo.backbones.resnet import RESNET50, RESNET101, RESNET152, bottleneck, resnet
from stzoo.checkpoint import assemble
from stzoo.layers import ClipConv, CoST
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.network import Network
from stzoo.layers.pool import max_pool
from stzoo.spec import Clip, Pretrained

POOLING = {
    "code": {"pool1": (1, 3, 3), "pool2": (2, 1, 1)},
    "paper": {"pool1": (3, 3, 3), "pool2": (3, 1, 1)},
}
TINY = Clip(stride=2, height=64, width=64, short_side=72)


def build(name, branches, depths, clip, classes, pooling="code", width=64):
    """The graph of all three.

    Args:
        name: string.
        branches: iterable of branches, one for each residual block.
        depths: tuple of 4 ints, blocks in each stage.
        clip: `Clip`.
        classes: int.
        pooling: `"code"` or `"paper"`.
        width: int, filters of the stem.
    """
    if pooling not in POOLING:
        raise ValueError(f'pooling must be "code" or "paper". Received: {pooling!r}.')
    if clip.frames == 1:
        raise ValueError(
            "The network halves the number of frames once, so a clip needs 2 or more. "
            f"Received: clip={clip.shape}."
        )
    inputs, x = clip_input(clip)
    sizes = POOLING[pooling]
    pools = (
        partial(max_pool, pool_size=sizes["pool1"], strides=(1, 2, 2)),
        partial(max_pool, pool_size=sizes["pool2"], strides=(2, 1, 1)),
    )
    x = resnet(x, branches, depths, width, pools)
    return Network(inputs, classifier(x, classes, dropout=0.5), name=name)


def collaborative(variant):
    """The branches of CoST."""
    conv2 = partial(CoST, kernel_size=3, variant=variant)
    return cycle((bottleneck, partial(bottleneck, conv2=conv2)))


def inflated(kernel):
    """The branches of C3D (Section 3.2)."""
    if kernel == "3x1x1":
        inflate = {"conv1": partial(ClipConv, kernel_size=(3, 1, 1))}
    elif kernel == "3x3x3":
        inflate = {"conv2": partial(ClipConv, kernel_size=(3, 3, 3))}
    else:
        raise ValueError(f'kernel must be "3x1x1" or "3x3x3". Received: {kernel!r}.')
    yield from cycle((bottleneck, partial(bottleneck, **inflate)))


# From mmaction2's names (the authors' checkpoints) to torchvision's, which are ours.
RULES = (
    (r"^backbone\.", ""),
    (r"^cls_head\.fc_cls\.", "fc."),
    (r"\.conv\.fc(\d)\.", r"/fc\1."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
)


def _model(name, branches, depths, classes, clip, pretrained, options):
    sizes = {key: options[key] for key in ("pooling", "width") if key in options}
    graph = partial(build, name, branches, depths, **sizes)
    fresh = Pretrained(name)
    if "width" in options:
        fresh = Pretrained(name, classes=12, clip=TINY)
    return assemble(graph, fresh, classes, clip, pretrained, options, PRETRAINED, RULES)


def c2d_resnet50(classes=None, clip=None, pretrained=None, pooling="code"):
    """ResNet-50 on frames, pooled over time (Table 1): 24.3 M parameters.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 400.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 224, 224, 3)`.
        pretrained: `None`, `True`, a tag (`"imagenet"`,
            `"kinetics400"`, `"moments_in_time"`), a folder, or
            `"hf://organisation/repository@revision"`.
        pooling: `"code"` or `"paper"`, see the module.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    options = dict(pooling=pooling)
    return _model(
        "c2d_resnet50", repeat(bottleneck), RESNET50, classes, clip, pretrained, options
    )


def c2d_resnet101(classes=None, clip=None, pretrained=None, pooling="code"):
    """ResNet-101 on frames, pooled over time: 43.3 M parameters.

    Arguments and what is returned are those of `c2d_resnet50`.
    """
    options = dict(pooling=pooling)
    return _model(
        "c2d_resnet101",
        repeat(bottleneck),
        RESNET101,
        classes,
        clip,
        pretrained,
        options,
    )


def c2d_resnet152(classes=None, clip=None, pretrained=None, pooling="code"):
    """ResNet-152 on frames, pooled over time; not in the paper.

    Arguments and what is returned are those of `c2d_resnet50`.
    """
    options = dict(pooling=pooling)
    return _model(
        "c2d_resnet152",
        repeat(bottleneck),
        RESNET152,
        classes,
        clip,
        pretrained,
        options,
    )


def c2d_tiny(
    classes=None,
    clip=None,
    pretrained=None,
    pooling="code",
    width=16,
    depths=(2, 2, 2, 2),
):
    """The graph of `c2d_resnet50`, small: for tests, demonstrations and studies.

    Arguments and what is returned are those of `cost_tiny` and `c2d_resnet50`.
    """
    options = dict(pooling=pooling, width=width, depths=depths)
    return _model(
        "c2d_tiny", repeat(bottleneck), depths, classes, clip, pretrained, options
    )


def c3d_resnet50(
    classes=None, clip=None, pretrained=None, kernel="3x1x1", pooling="code"
):
    """ResNet-50 with every second block inflated: 29.0 M parameters.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 400.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 224, 224, 3)`.
        pretrained: `None`, `True`, a tag (`"imagenet"`,
            `"kinetics400"`, `"moments_in_time"`), a folder, or
            `"hf://organisation/repository@revision"`.
        kernel: `"3x1x1"` or `"3x3x3"`, see the module.
        pooling: `"code"` or `"paper"`, see the module.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    options = dict(kernel=kernel, pooling=pooling)
    return _model(
        "c3d_resnet50", inflated(kernel), RESNET50, classes, clip, pretrained, options
    )


def c3d_resnet101(
    classes=None, clip=None, pretrained=None, kernel="3x1x1", pooling="code"
):
    """ResNet-101 with every second block inflated: 51.7 M parameters.

    Arguments and what is returned are those of `c3d_resnet50`.
    """
    options = dict(kernel=kernel, pooling=pooling)
    return _model(
        "c3d_resnet101", inflated(kernel), RESNET101, classes, clip, pretrained, options
    )


def c3d_tiny(
    classes=None,
    clip=None,
    pretrained=None,
    kernel="3x1x1",
    pooling="code",
    width=16,
    depths=(2, 2, 2, 2),
):
    """The graph of `c3d_resnet50`, small: for tests, demonstrations and studies.

    Arguments and what is returned are those of `c3d_resnet50` and `cost_tiny`.
    """
    options = dict(kernel=kernel, pooling=pooling, width=width, depths=depths)
    return _model(
        "c3d_tiny", inflated(kernel), depths, classes, clip, pretrained, options
    )


def cost_resnet50(
    classes=None, clip=None, pretrained=None, variant="b", pooling="code"
):
    """CoST on ResNet-50: 25.1 M parameters, as (a) 24.3 M.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 400.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 224, 224, 3)`.
        pretrained: `None`, `True`, a tag (`"imagenet"`,
            `"kinetics400"`, `"moments_in_time"`), a folder, or
            `"hf://organisation/repository@revision"`.
        variant: `"b"`, coefficients computed from the clip, or `"a"`, learned ones.
        pooling: `"code"` or `"paper"`, see the module.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    options = dict(variant=variant, pooling=pooling)
    return _model(
        "cost_resnet50",
        collaborative(variant),
        RESNET50,
        classes,
        clip,
        pretrained,
        options,
    )


def cost_resnet101(
    classes=None, clip=None, pretrained=None, variant="b", pooling="code"
):
    """CoST on ResNet-101: 44.4 M parameters, as (a) 43.3 M.

    A clip of 32 frames is built with `clip=(32, 224, 224, 3)`; see the module.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 400.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 224, 224, 3)`.
        pretrained: `None`, `True`, a tag (`"imagenet"`,
            `"kinetics400"`, `"moments_in_time"`), a folder, or
            `"hf://organisation/repository@revision"`.
        variant: `"b"`, coefficients computed from the clip, or `"a"`, learned ones.
        pooling: `"code"` or `"paper"`, see the module.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    options = dict(variant=variant, pooling=pooling)
    return _model(
        "cost_resnet101",
        collaborative(variant),
        RESNET101,
        classes,
        clip,
        pretrained,
        options,
    )


def cost_resnet152(
    classes=None, clip=None, pretrained=None, variant="b", pooling="code"
):
    """CoST on ResNet-152; not in the paper.

    Arguments and what is returned are those of `cost_resnet101`.
    """
    options = dict(variant=variant, pooling=pooling)
    return _model(
        "cost_resnet152",
        collaborative(variant),
        RESNET152,
        classes,
        clip,
        pretrained,
        options,
    )


def cost_tiny(
    classes=None,
    clip=None,
    pretrained=None,
    variant="b",
    pooling="code",
    width=16,
    depths=(2, 2, 2, 2),
):
    """The graph of `cost_resnet50`, small: for tests, demonstrations and studies.

    Args:
        classes: int, number of logits; `None`: those of the weights, else 12.
        clip: tuple `(frames, height, width, channels)`, sizes may be `None`; `None`:
            that of the weights, else `(8, 64, 64, 3)`.
        pretrained: `None`, `True`, a tag (`"motions"`), a folder, or
            `"hf://organisation/repository@revision"`.
        variant: `"b"`, coefficients computed from the clip, or `"a"`, learned ones.
        pooling: `"code"` or `"paper"`, see the module.
        width: int, filters of the stem.
        depths: tuple of 4 ints, blocks in each stage.

    Returns:
        `keras.Model` from RGB of 0 to 255, `(batch, frames, height, width, 3)`, to
        logits, `(batch, classes)`.
    """
    options = dict(variant=variant, pooling=pooling, width=width, depths=depths)
    return _model(
        "cost_tiny", collaborative(variant), depths, classes, clip, pretrained, options
    )


BUILDERS = (
    c2d_resnet50,
    c2d_resnet101,
    c2d_resnet152,
    c2d_tiny,
    c3d_resnet50,
    c3d_resnet101,
    c3d_tiny,
    cost_resnet50,
    cost_resnet101,
    cost_resnet152,
    cost_tiny,
)

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

PRETRAINED = (
    *(
        Pretrained(
            f"{family}_resnet{depth}",
            tag="imagenet",
            classes=1000,
            licence="BSD-3-Clause",
            source="torchvision, IMAGENET1K_V1",
            repository=f"timm/resnet{depth}.tv_in1k",
            new=("/alpha", "/fc1/kernel", "/fc2/kernel"),
        )
        for family, depths in (
            ("c2d", (50, 101, 152)),
            ("c3d", (50, 101)),
            ("cost", (50, 101, 152)),
        )
        for depth in depths
    ),
    *(
        Pretrained(
            builder,
            tag=tag,
            classes=classes,
            source="Li et al., CVPR 2019",
            reported={"top1": top1, "top5": top5},
        )
        for builder, accuracies in _REPORTED.items()
        for (tag, classes), (top1, top5) in zip(
            (("kinetics400", 400), ("moments_in_time", 339)), accuracies, strict=True
        )
    ),
    Pretrained(
        "cost_tiny",
        tag="motions",
        classes=12,
        clip=TINY,
        licence="Apache-2.0",
        source="scripts/train_motions.py",
    ),
)
