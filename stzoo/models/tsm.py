"""TSM: TSN with temporal shifts of channels.

Lin, Gan, Han: TSM, Temporal Shift Module for Efficient Video Understanding. ICCV 2019.
https://arxiv.org/abs/1811.08383, https://github.com/mit-han-lab/temporal-shift-module

*Stated* by the authors' code: the shifted blocks. In ResNet, an eighth of the channels
is shifted in each direction before the first convolution of each block, but not in the
shortcut. In ResNet-101, only every second block of each stage has a shift: 0, 2, 4. In
BN-Inception, the input of the second stage and of each Inception block is shifted, for
all of its branches. In MobileNetV2, the ten blocks that add their input have a shift
before the convolution that expands the channels.

`shift="online"` is the uni-directional shift of Figure 1 (c). It never looks ahead, so
the features of a frame do not depend on later frames. *Stated* by the authors' demo
(`online_demo`), for MobileNetV2: the first eighth of the channels comes from the
previous frame, and from zeros in the first frame. *Our reading*: the other networks
shift in the same way, in the same blocks.

The weights of this demo are `tsm_mobilenetv2.jester_mit`. *Stated*: it looks at every
second frame of a camera and averages the logits of the last 12 frames. *Our reading*:
so a clip has 12 frames and a stride of 2. How it was trained is not stated.
"""

from functools import partial

from stzoo.backbones.bn_inception import bn_inception
from stzoo.backbones.mobilenet_v2 import mobilenet_v2, torchvision_names
from stzoo.backbones.resnet import RESNET50, RESNET101, bottleneck, resnet
from stzoo.layers import FrameConv, TemporalShift
from stzoo.models import tsn
from stzoo.models.family import Architecture, Family, motions_entry, torchvision_entry
from stzoo.models.tsn import CLIPS, MIT, TINY_ARGUMENTS, averaged, imagenet, mmaction
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of


def tsm(config, name, backbone, shift, width=64, depth=None):
    """Builds the graph.

    Args:
        config, name, backbone, width, depth: see `stzoo.models.tsn.tsn`.
        shift: string, `"offline"` or `"online"`.
    """
    before = partial(_shift, online=shift == "online")
    networks = {
        "bn_inception": partial(bn_inception, before=before, depth=depth),
        "mobilenetv2": partial(mobilenet_v2, before=before),
        "resnet50": partial(
            resnet, branches=shifted(RESNET50, before), depths=RESNET50
        ),
        "resnet101": partial(
            resnet, branches=shifted(RESNET101, before), depths=RESNET101
        ),
    }
    return averaged(config, name, partial(networks[backbone], width=width))


def shifted(depths, before):
    """Returns the branches of TSM.

    Args:
        depths: tuple of ints, blocks in each stage.
        before: function `(x, name)` applied before the first convolution of a block.
    """

    def conv1(filters, name):
        return lambda x: FrameConv(filters, 1, name=name)(before(x, name))

    step = 2 if depths[2] >= 23 else 1
    plain, moved = bottleneck, partial(bottleneck, conv1=conv1)
    for depth in depths:
        for block in range(depth):
            yield plain if block % step else moved


def _shift(x, name, online):
    return TemporalShift(online=online, name=f"{name}_shift")(x)


def tsm_resnet50(
    classes=None, input_shape=None, pretrained=None, shift=None, name=None
):
    """ResNet-50 with a shift in each block: 24.3 M parameters."""
    options = dict(shift=shift)
    return FAMILY.build(tsm_resnet50, options, classes, input_shape, pretrained, name)


def tsm_resnet101(
    classes=None, input_shape=None, pretrained=None, shift=None, name=None
):
    """ResNet-101 with a shift in every second block: 43.3 M parameters."""
    options = dict(shift=shift)
    return FAMILY.build(tsm_resnet101, options, classes, input_shape, pretrained, name)


def tsm_bninception(
    classes=None, input_shape=None, pretrained=None, shift=None, name=None
):
    """BN-Inception with eleven shifts: 10.3 M parameters without the head."""
    options = dict(shift=shift)
    return FAMILY.build(
        tsm_bninception, options, classes, input_shape, pretrained, name
    )


def tsm_mobilenetv2(
    classes=None, input_shape=None, pretrained=None, shift=None, name=None
):
    """MobileNetV2 with ten shifts: 2.7 M parameters."""
    options = dict(shift=shift)
    return FAMILY.build(
        tsm_mobilenetv2, options, classes, input_shape, pretrained, name
    )


def tsm_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    shift=None,
    backbone=None,
    width=16,
    depth=11,
    name=None,
):
    """A small TSM for tests, demonstrations and studies."""
    options = dict(shift=shift, backbone=backbone, width=width, depth=depth)
    return FAMILY.build(tsm_tiny, options, classes, input_shape, pretrained, name)


# MobileNetV2 has the head of torchvision and of MIT's demo.
KEY_MAP = (*tsn.KEY_MAP, (r"^classifier\.(1\.)?", "fc."))


def prepare(checkpoints, options):
    """Returns the tensors of a checkpoint. Those of MobileNetV2 are renamed."""
    if len(checkpoints) > 1:
        raise ValueError(f"{len(checkpoints)} files are too many for one model")
    return torchvision_names(checkpoints[0])


_MMACTION = (
    # network, tag, configuration, date and hash, top-1, top-5, crops: mmaction2's table
    ("resnet50", "kinetics400", "1x1x8-50e", "20220831-64d69186", 73.18, 90.56, 10),
    ("resnet50", "kinetics400_16", "1x1x16-50e", "20220831-042b1748", 75.12, 91.55, 10),
    (
        *("resnet50", "kinetics400_dense", "dense-1x1x8-50e", "20220831-f55d3c2b"),
        *(73.38, 90.78, 10),
    ),
    (
        *("resnet50", "kinetics400_100e", "1x1x8-100e", "20220831-a6db1e5d"),
        *(73.22, 90.22, 10),
    ),
    ("resnet50", "something_v2", "1x1x8-50e", "20230317-be0fc26e", 62.72, 87.70, 3),
    ("resnet50", "something_v2_16", "1x1x16-50e", "20230317-ec6696ad", 64.16, 88.61, 3),
    ("resnet101", "something_v2", "1x1x8-50e", "20230320-efcc0d1b", 63.70, 88.28, 3),
    ("mobilenetv2", "kinetics400", "1x1x8-100e", "20230414-401127fd", 68.71, 88.32, 3),
)
_ONE, _TWO, _TEN = "1 crop", "2 clips x 3 crops", "10 clips x 3 crops"
# The tables of the authors. "segment8_e50" is the end of the name of the file.
_AUTHORS = (
    # network, tag, file, top-1, protocol
    ("resnet50", "kinetics400_mit", "segment8_e50", 71.2, _ONE),
    ("resnet50", "kinetics400_16_mit", "segment16_e50", 72.6, _ONE),
    ("resnet50", "kinetics400_dense_mit", "segment8_e100_dense", 74.1, _TEN),
    ("resnet50", "something_v1_mit", "segment8_e45", 45.6, _ONE),
    ("resnet50", "something_v1_16_mit", "segment16_e45", 47.2, _ONE),
    ("resnet50", "something_v2_mit", "segment8_e45", 61.2, _TWO),
    ("resnet50", "something_v2_16_mit", "segment16_e45", 63.1, _TWO),
    ("resnet101", "something_v1_mit", "segment8_e45", 46.9, _ONE),
    ("resnet101", "something_v2_mit", "segment8_e45", 63.3, _TWO),
    ("mobilenetv2", "kinetics400_dense_mit", "segment8_e100_dense", 69.5, _TEN),
)
_NAMES = {  # of data sets, in the names of the authors' files
    "kinetics400": "kinetics",
    "something_v1": "something",
    "something_v2": "somethingv2",
}


def _published(network, tag, **fields):
    """Returns the entry of weights whose tag says how frames are sampled."""
    dataset = next(name for name in _NAMES if tag.startswith(name))
    clip = ClipConfig(
        frames=16 if "_16" in tag else 8,
        sampling="dense" if "_dense" in tag else "segments",
    )
    known = dict(options={"shift": "offline"}, clip=clip, **classes_of(dataset))
    return ModelConfig(f"tsm_{network}", tag=tag, **known | fields)


def _mmaction(network, tag, configuration, version, top1, top5, crops):
    data = "sthv2" if tag.startswith("something_v2") else "kinetics400"
    name = f"{network.replace('resnet', 'r')}_8xb16-{configuration}_{data}-rgb"
    return _published(
        network,
        tag,
        licence="Apache-2.0",
        source="mmaction2",
        reported={"top1": top1, "top5": top5, "protocol": f"{crops} crops"},
        repository=mmaction(f"tsm_imagenet-pretrained-{name}", version),
    )


def _authors(network, tag, file, top1, protocol):
    data = next(name for dataset, name in _NAMES.items() if tag.startswith(dataset))
    return _published(
        network,
        tag,
        licence="MIT",
        source=f"Lin et al., {MIT}/TSM_{data}_RGB_{network}_shift8_blockres_avg_"
        f"{file}.pth",
        reported={"top1": top1, "protocol": protocol},
    )


def _tiny_clip(options):
    """Returns the clip of a small model. MobileNetV2 has that of ResNet."""
    resnet = options | {"backbone": "resnet50"}
    return tsn.tiny_clip(resnet if options["backbone"] == "mobilenetv2" else options)


_ONLINE = {"backbone": "mobilenetv2", "shift": "online"}

FAMILY = Family(
    architectures={
        tsm_resnet50: Architecture(
            partial(tsm, backbone="resnet50"), CLIPS["resnet50"]
        ),
        tsm_resnet101: Architecture(
            partial(tsm, backbone="resnet101"), CLIPS["resnet50"]
        ),
        tsm_bninception: Architecture(
            partial(tsm, backbone="bn_inception"), CLIPS["bn_inception"]
        ),
        tsm_mobilenetv2: Architecture(
            partial(tsm, backbone="mobilenetv2", width=32), CLIPS["resnet50"]
        ),
        tsm_tiny: Architecture(tsm, _tiny_clip, classes=12),
    },
    arguments={
        "shift": """`"offline"`, in both directions, or `"online"`, only from the
        previous frame. `None`: that of the weights, else `"offline"`.""",
        **TINY_ARGUMENTS,
        "backbone": """`"bn_inception"`, `"mobilenetv2"` or `"resnet50"`. `None`: that
        of the weights, else `"bn_inception"`.""",
    },
    choices={
        "shift": ("offline", "online"),
        "backbone": ("bn_inception", "mobilenetv2", "resnet50"),
    },
    defaults={"shift": "offline", "backbone": "bn_inception"},
    key_map=KEY_MAP,
    prepare=prepare,
    entries=(
        *(_mmaction(*row) for row in _MMACTION),
        *(_authors(*row) for row in _AUTHORS),
        ModelConfig(
            "tsm_mobilenetv2",
            tag="jester_mit",
            options={"shift": "online"},
            clip=ClipConfig(frames=12, stride=2),
            licence="MIT",
            source=f"Lin et al., {MIT}/mobilenetv2_jester_online.pth.tar",
            **classes_of("jester", sorted),
        ),
        *(
            torchvision_entry(
                f"tsm_resnet{depth}", f"resnet{depth}", clip=CLIPS["resnet50"]
            )
            for depth in (50, 101)
        ),
        torchvision_entry(
            "tsm_mobilenetv2",
            "mobilenet_v2",
            clip=CLIPS["resnet50"],
            repository="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        ),
        imagenet("tsm_bninception", "bn_inception"),
        motions_entry("tsm_tiny", _tiny_clip(_ONLINE), _ONLINE),
    ),
)
