"""STPN: the spatiotemporal pyramid network, two streams.

Wang, Long, Wang, Yu: Spatiotemporal Pyramid Network for Video Action Recognition.
CVPR 2017. https://arxiv.org/abs/1903.01038

The full text of the paper was not available. Its figures and Algorithm 1 *state*:

* The spatial stream sees one RGB frame, at time t. The temporal stream sees several
  snippets of L = 10 frames of optical flow, three in the figure. They pass one shared
  network. The snippet [t, t + L) is the middle one.
* Temporal fusion: compact bilinear fusion of the maps of the snippets at each location,
  with as many channels as the map of the frame (1024).
* Attention: the map of the frame and the fused map are fused to 2048 channels. Two
  convolutions and a softmax compute the weight of each location of the frame.
* Top fusion: the average of the frame, its attended features, and the average of the
  fused map are fused to 4096 channels, followed by one classifier with one loss.

*Our reading*, or choice:

* The figure gives the widths for BN-Inception. ResNet-50 and VGG-16 have the same
  proportions: the channels of the map, twice as many, and `dim`, 4096.
* The paper gives no number or width of the "FCs" after the top fusion. `hidden` adds
  one with ReLU before the head. By default there is only the head, after a dropout of
  0.5.
* The output of compact bilinear fusion is divided by its root mean square. Algorithm 1
  does not do this, which is `normalize=False`. But then logits grow with the fifth
  power of the features: those of a new `stpn_tiny` are around 1e15.
* The distance between snippets (τ) is unknown. Here they are adjacent. The distance is
  `stride` of the model's `ClipConfig`.
* Flow is normalised by subtracting 128 and, if RGB has a standard deviation, dividing
  by its mean. With image weights, the filters of the first convolution of flow are the
  mean over RGB, repeated, as in TSN ("cross modality pre-training"). Batch norms and
  all other weights of both streams are those of the image network.

The input is one clip of five channels: red, green, blue, and optical flow, x and y,
from each frame to the next, with 128 for no motion (`stzoo.data.flow`). Only one frame
of RGB is used. A single stream (`streams`) takes one frame of RGB, or flow. Flow is
computed while the frames of a video are read. For several epochs, set the environment
variable `STZOO_FLOW_CACHE` to a folder that caches it.
"""

import dataclasses
import re
from functools import partial
from itertools import repeat

import keras
import numpy as np

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.resnet import RESNET50, bottleneck, resnet
from stzoo.backbones.vgg import vgg16
from stzoo.layers import (
    AttentionPooling,
    Normalize,
    Pyramid,
    SpatiotemporalCompactBilinear,
)
from stzoo.layers.ends import classifier, head
from stzoo.layers.initializers import dense
from stzoo.layers.network import Network
from stzoo.models import tsn
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.models.tsn import KEY_MAP, imagenet
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

COMPACT = ("compact_bilinear",) * 3
SNIPPETS = 256  # each has its own layers, and 4096 take minutes to build
FUSIONS = ("compact_bilinear", "sum", "concatenation")
STREAMS = {  # slices of the five channels
    "both": slice(0, 5),
    "spatial": slice(0, 3),
    "temporal": slice(3, 5),
}
BACKBONES = {
    "bn_inception": bn_inception,
    "resnet50": partial(resnet, branches=repeat(bottleneck), depths=RESNET50),
    "vgg16": vgg16,
}
_FLOW_STD = round(float(np.mean(ClipConfig().std)), 3)


def stpn(config, name, backbone, width=64, **options):
    """Builds the graph. The channels of the clip determine the streams.

    Args:
        config: `ModelConfig`.
        name: string.
        backbone: string, a key of `BACKBONES`.
        width: int, filters of the stem.
        **options: see `stpn_bninception`.
    """
    clip, classes = config.clip, config.classes
    inputs = keras.Input(clip.shape, dtype="float32", name="clip")
    stream = partial(_stream, partial(BACKBONES[backbone], width=width))
    if len(clip.mean) == 3:
        x = stream(inputs, "spatial", clip.mean, clip.std, clip.order)
        return Network(inputs, classifier(x, classes, 0.5), name=name)
    *frame, flow = keras.tree.flatten(Pyramid(clip.snippet, name="pyramid")(inputs))
    mean, std = clip.mean[-2:] * clip.snippet, clip.std[-2:] * clip.snippet
    maps = stream(flow, "temporal", mean, std, first=not frame)
    maps = _snippets(maps, clip)
    fuse = partial(_fuse, normalize=options["normalize"])
    how = options["fusions"][0]
    temporal = fuse(maps, how, maps[0].shape[-1], "temporal_fusion", seed=1)
    if not frame:
        return Network(inputs, classifier(temporal, classes, 0.5), name=name)
    spatial = stream(frame[0], "spatial", clip.mean[:3], clip.std[:3], clip.order)
    x = _top(spatial, temporal, fuse, **options)
    return Network(inputs, head(x, classes, 0.5), name=name)


def _snippets(maps, clip):
    """Splits the maps into those of each snippet."""
    count = maps.shape[1]
    if not 2 <= count <= SNIPPETS:
        raise ValueError(
            f"The pyramid needs 2 to {SNIPPETS} snippets of {clip.snippet} frames. "
            f"Received: input_shape={clip.shape}."
        )
    return [
        keras.layers.Cropping3D(
            ((i, count - 1 - i), 0, 0), data_format="channels_last", name=f"snippet_{i}"
        )(maps)
        for i in range(count)
    ]


def _top(spatial, temporal, fuse, fusions, attention, dim, hidden, **_):
    """Fuses the frame, its attended features, and the snippets to a vector."""
    seen = [_average(spatial, "spatial_avgpool")]
    if attention:
        width = 2 * spatial.shape[-1]
        pair = fuse([spatial, temporal], fusions[1], width, "attention_fusion", seed=2)
        look = AttentionPooling(name="attention", dtype="float32")
        seen.append(look([spatial, pair]))
    seen.append(_average(temporal, "temporal_avgpool"))
    x = fuse(seen, fusions[2], dim, "top_fusion", seed=3, dtype="float32")
    return dense(hidden, "relu", name="hidden")(x) if hidden else x


def _stream(backbone, x, name, mean, std, order="RGB", first=True):
    """Normalises the input of a stream and applies its network."""
    normalize = "normalize" if first else f"{name}_normalize"
    x = Normalize(mean, std, order, name=normalize)(x)
    return backbone(x, prefix=f"{name}_")


def _average(x, name):
    return keras.layers.GlobalAveragePooling3D(
        dtype="float32", data_format="channels_last", name=name
    )(x)


def _fuse(inputs, how, dim, name, seed, normalize, dtype=None):
    """Fuses several maps or vectors."""
    if how == "compact_bilinear":
        fusion = SpatiotemporalCompactBilinear(
            dim, seed, normalize, dtype=dtype, name=name
        )
        return fusion(inputs)
    if how == "concatenation":
        return keras.layers.Concatenate(dtype=dtype, name=name)(inputs)
    widths = [x.shape[-1] for x in inputs]
    if len(set(widths)) > 1:
        raise ValueError(
            f"{name} cannot sum {' and '.join(map(str, widths))} channels. Choose "
            "another fusion for it, or for its inputs."
        )
    return keras.layers.Add(dtype=dtype, name=name)(inputs)


def prepare(files, options):
    """Converts weights of networks with one stream to weights of the streams.

    Args:
        files: list of dicts from name to array, checkpoints of PyTorch: one of an
            image network for both streams, or two, of RGB and of flow.
        options: dict, options of the builder: `streams` and `length`.

    Returns:
        Dict, without the heads. With an image network, the first convolution of flow
        is the mean over the three channels, repeated.

    Raises:
        ValueError: there are more than two files, or no first convolution of RGB.
    """
    spatial, *others = (_body(tensors) for tensors in files)
    if len(others) > 1:
        raise ValueError(f"{len(files)} files are too many for two streams")
    temporal = others[0] if others else _of_flow(spatial, 2 * options["length"])
    streams = {"spatial": spatial, "temporal": temporal}
    return {
        f"{stream}.{name}": tensor
        for stream, body in streams.items()
        if options["streams"] in ("both", stream)
        for name, tensor in body.items()
    }


def _body(tensors):
    """Returns the tensors of a network without its head and outer prefixes."""
    plain = {re.sub(_OUTER, "", name): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in plain.items() if not _HEAD.match(name)}


_OUTER = r"^((module|backbone|base_model)\.)+"
_HEAD = re.compile(
    r"(fc|new_fc|last_linear|top_cls_fc|cls_head|head|pre_logits|classifier)\."
)


def _of_flow(body, channels):
    """Converts the first convolution of an image network to channels of flow."""
    stems = [n for n, t in body.items() if t.ndim == 4 and t.shape[1] == 3]
    if len(stems) != 1:
        raise ValueError(
            "it should have one convolution of 3 channels, the first of an image "
            f"network, but has {stems or 'none'}"
        )
    (stem,) = stems
    return body | {stem: body[stem].mean(1, keepdims=True).repeat(channels, 1)}


def _clip(backbone, streams, snippets, length, size=None, sampling="dense"):
    """Returns the clip of the streams."""
    image = {**tsn.CLIPS, "vgg16": tsn.CLIPS["resnet50"]}[backbone]
    deviation = 1 if image.order == "BGR" else _FLOW_STD
    channels = STREAMS[streams]
    clip = dataclasses.replace(
        image,
        frames=1 if streams == "spatial" else snippets * length,
        stride=length,
        snippet=1 if streams == "spatial" else length,
        mean=(*image.mean, 128, 128)[channels],
        std=(*image.std, deviation, deviation)[channels],
        order="RGB" if streams == "temporal" else image.order,
        sampling=sampling,
    )
    if size:
        clip = dataclasses.replace(
            clip, height=size, width=size, short_side=size * 9 // 8
        )
    return clip


def _clip_of(options, backbone=None, **sizes):
    """Returns the clip of a model without weights."""
    _check(**options)
    backbone = backbone or options["backbone"]
    return _clip(backbone, options["streams"], 3, options["length"], **sizes)


def _check(fusions, dim, hidden, length, **_):
    if len(fusions) != 3 or not set(fusions) <= set(FUSIONS):
        known = ", ".join(map(repr, FUSIONS))
        raise ValueError(
            "fusions must be three (of the snippets, of the pair for attention, and at "
            f"the top), each one of {known}. Received: {fusions!r}."
        )
    numbers = (("dim", dim, 1), ("hidden", hidden, 0), ("length", length, 1))
    for key, value, least in numbers:
        if type(value) is not int or value < least:
            raise ValueError(
                f"{key} must be an integer, at least {least}. Received: {value!r}."
            )


def stpn_bninception(
    classes=None,
    input_shape=None,
    pretrained=None,
    streams="both",
    fusions=COMPACT,
    attention=True,
    dim=4096,
    hidden=0,
    normalize=True,
    length=10,
    name=None,
):
    """STPN on BN-Inception: 20.7 M parameters without the head."""
    options = dict(streams=streams, fusions=tuple(fusions), attention=attention)
    options |= dict(dim=dim, hidden=hidden, normalize=normalize, length=length)
    return FAMILY.build(
        stpn_bninception, options, classes, input_shape, pretrained, name
    )


def stpn_resnet50(
    classes=None,
    input_shape=None,
    pretrained=None,
    streams="both",
    fusions=COMPACT,
    attention=True,
    dim=4096,
    hidden=0,
    normalize=True,
    length=10,
    name=None,
):
    """STPN on ResNet-50: 47.3 M parameters without the head."""
    options = dict(streams=streams, fusions=tuple(fusions), attention=attention)
    options |= dict(dim=dim, hidden=hidden, normalize=normalize, length=length)
    return FAMILY.build(stpn_resnet50, options, classes, input_shape, pretrained, name)


def stpn_vgg16(
    classes=None,
    input_shape=None,
    pretrained=None,
    streams="both",
    fusions=COMPACT,
    attention=True,
    dim=4096,
    hidden=0,
    normalize=True,
    length=10,
    name=None,
):
    """STPN on VGG-16: 29.5 M parameters without the head."""
    options = dict(streams=streams, fusions=tuple(fusions), attention=attention)
    options |= dict(dim=dim, hidden=hidden, normalize=normalize, length=length)
    return FAMILY.build(stpn_vgg16, options, classes, input_shape, pretrained, name)


def stpn_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    streams="both",
    fusions=COMPACT,
    attention=True,
    dim=256,
    hidden=0,
    normalize=True,
    length=6,
    backbone="bn_inception",
    width=16,
    name=None,
):
    """A small STPN for tests, demonstrations and studies."""
    options = dict(streams=streams, fusions=tuple(fusions), attention=attention)
    options |= dict(dim=dim, hidden=hidden, normalize=normalize, length=length)
    options |= dict(backbone=backbone, width=width)
    return FAMILY.build(stpn_tiny, options, classes, input_shape, pretrained, name)


# Weights that files of image networks lack.
_NEW = ("^fc/", "^hidden/", "^attention/", "_fusion/")


def _images(builder, backbone):
    """Returns the entry of both streams from an image network of torchvision."""
    return torchvision_entry(
        builder,
        backbone,
        options={"streams": "both", "length": 10},
        dataset="",
        classes=101,
        labels=(),
        clip=_clip(backbone, "both", 3, 10),
        allow_missing=_NEW,
    )


_MMACTION = "https://open-mmlab.s3.ap-northeast-2.amazonaws.com/mmaction/models/ucf101"
_FILE = "bninception_seg3_f1s1_b32_g8"


def _architecture(backbone):
    graph = partial(stpn, backbone=backbone)
    return Architecture(graph, partial(_clip_of, backbone=backbone), classes=101)


_TINY = dict(size=64, sampling="segments")

FAMILY = Family(
    architectures={
        stpn_bninception: _architecture("bn_inception"),
        stpn_resnet50: _architecture("resnet50"),
        stpn_vgg16: _architecture("vgg16"),
        stpn_tiny: Architecture(stpn, partial(_clip_of, **_TINY), classes=12),
    },
    arguments={
        "streams": """`"both"`, or a single stream: `"spatial"`, an average of frames
        (by default of one), or `"temporal"`, fused and averaged snippets.""",
        "fusions": """tuple of 3 strings, `"compact_bilinear"`, `"sum"` or
        `"concatenation"`: the fusion of the snippets, of the pair for attention, and
        at the top.""",
        "attention": "bool, whether the top fusion includes the attended frame.",
        "dim": "int, channels of the compact bilinear fusion at the top.",
        "hidden": "int, units of a layer with ReLU before the head, or 0 for none.",
        "normalize": "bool, whether to normalise compact bilinear fusions.",
        "length": "int, frames of flow in a snippet.",
        "backbone": """`"bn_inception"`, `"resnet50"` or `"vgg16"`.""",
        "width": "int, filters of the stem.",
    },
    choices={"streams": tuple(STREAMS), "backbone": tuple(BACKBONES)},
    key_map=KEY_MAP,
    prepare=prepare,
    entries=(
        dataclasses.replace(
            imagenet("stpn_bninception", "bn_inception", allow_missing=_NEW),
            options={"streams": "both", "length": 10},
            classes=101,
            labels=(),
            dataset="",
            clip=_clip("bn_inception", "both", 3, 10),
        ),
        _images("stpn_resnet50", "resnet50"),
        _images("stpn_vgg16", "vgg16"),
        ModelConfig(
            "stpn_bninception",
            tag="ucf101",
            options={"streams": "both", "length": 5},
            clip=dataclasses.replace(
                _clip("bn_inception", "both", 3, 5), flow="tvl1", fps=25
            ),
            source="mmaction, TSN on UCF101 split 1, of RGB and of flow; fusions and "
            f"head start new: {_MMACTION}/tsn_2d_rgb_{_FILE}-98160339.pth "
            f"{_MMACTION}/tsn_2d_flow_{_FILE}-151870b7.pth",
            allow_missing=_NEW,
            **classes_of("ucf101"),
        ),
        motions_entry(
            "stpn_tiny",
            _clip("bn_inception", "both", 3, 6, **_TINY),
            {"streams": "both", "length": 6},
        ),
    ),
)
