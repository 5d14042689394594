"""How models and weights are fed, by what their papers and sources state."""

import dataclasses
import re

import pytest

from stzoo import zoo
from stzoo.weights.config import ClipConfig

TORCHVISION = dict(  # in the unit of its transforms, and 0 to 255 here
    mean=tuple(255 * x for x in (0.485, 0.456, 0.406)),
    std=tuple(255 * x for x in (0.229, 0.224, 0.225)),
)
CAFFE = dict(mean=(128, 117, 104), std=(1,) * 3, order="BGR")
SIXTEEN = {"frames": 16}
# The frames, the stride or "segments", the crop, and the shorter side.
MODELS = {
    "(c2d|c3d|cost)_resnet": (8, 8, 224, 256),
    "p3d_resnet": (16, 1, 160, 182),
    "s3dg?$": (64, 1, 224, 256),
    "stpn_": (30, 10, 224, 256),
    "trn_inceptionv3": (8, "segments", 299, 341),
    "(tsn|gsm|cstm)_inceptionv3": (8, "segments", 229, 261),
    "(tsn|tsm|gsm|cstm|trn|stm)_(resnet|bnin|mobile)": (8, "segments", 224, 256),
    "videomae_(small|base|large)": (16, 4, 224, 224),
    "vjepa2_vit": (16, 4, 256, 292),
    "(c2d|c3d|cost)_tiny": (8, 2, 64, 72),
    "(p3d|s3d|videomae|vjepa2)_tiny": (16, 1, 64, 72),
    "(tsn|tsm|gsm|cstm|trn|stm)_tiny": (8, "segments", 64, 72),
}
# Of entries, what differs from their model without weights.
STATED = {
    r"(gsm|cstm|tsm|tsn)_\S*_16(_mit)?": SIXTEEN,
    r"gsm_inceptionv3.diving48": SIXTEEN,
    r"c2d_resnet50.kinetics400_16": {**SIXTEEN, "stride": 4},
    r"c2d_resnet50.kinetics400_pytorchvideo": dict(
        mean=(255 * 0.45,) * 3, std=(255 * 0.225,) * 3
    ),
    r"p3d_resnet(50|101).kinetics400": dict(
        TORCHVISION, order="RGB", stride=2, height=224, width=224, short_side=256
    ),
    r"p3d_resnet(50|101|152).imagenet": dict(TORCHVISION, order="RGB"),
    r"p3d_resnet152.kinetics400_flow": dict(mean=(128, 128), std=(1, 1), order="RGB"),
    r"p3d_tiny.motions": {"frames": 20},
    r"s3d.kinetics400": dict(
        mean=tuple(255 * x for x in (0.43216, 0.394666, 0.37645)),
        std=tuple(255 * x for x in (0.22803, 0.22145, 0.216989)),
        frames=128,
        sample_fps=15,
    ),
    r"stpn_bninception.ucf101": dict(
        frames=15, stride=5, snippet=5, flow="tvl1", fps=25
    ),
    r"tsm_mobilenetv2.jester_mit": dict(frames=12, stride=2, sampling="dense"),
    r"tsm_tiny.motions": dict(TORCHVISION, order="RGB"),
    r"tsm_\S*_dense(_mit)?": dict(stride=8, sampling="dense"),
    r"tsn_resnet50.kinetics400_dense": dict(frames=5, stride=12, sampling="dense"),
    r"tsn_resnet50.kinetics400_3": {"frames": 3},
    r"tsn_resnet50.kinetics400_5": {"frames": 5},
    r"videomae_base.something_v2": dict(stride=8, sampling="segments"),
    r"vjepa2_vitl.diving48": dict(frames=32, stride=2),
    r"vjepa2_vitg.something_v2": dict(frames=64, stride=2, height=384),
    r"vjepa2_vitg.diving48": dict(frames=32, stride=2, height=384),
}


def record(name, **options):
    """The record of a builder without weights."""
    family, builder = zoo.family(name), zoo.BUILDERS[name]
    known = {k: family.defaults.get(k, v) for k, v in zoo.default_options(name).items()}
    return family.architectures[builder].config(name, known | options)


def assert_same(clip, other, name):
    for field in dataclasses.fields(ClipConfig):
        found, expected = getattr(clip, field.name), getattr(other, field.name)
        if field.name in ("mean", "std"):
            expected = pytest.approx(expected, abs=1e-2)
        assert found == expected, (name, field.name)


def test_clips_of_models():
    for name in zoo.BUILDERS:
        clip = record(name).clip
        if name == "stpn_tiny":
            expected = (18, "segments", 64, 72)
        else:
            (expected,) = (v for k, v in MODELS.items() if re.match(k, name))
        time = clip.stride if clip.sampling == "dense" else clip.sampling
        assert (clip.frames, time, clip.height, clip.short_side) == expected
        assert clip.width == clip.height
        assert clip.snippet == {"stpn_tiny": 6}.get(name, 10 if "stpn" in name else 1)
        assert clip.fps == (12 if re.match("(videomae|vjepa2)_tiny", name) else None)


def test_colours_of_models():
    """Inceptions and P3D come from Caffe. Their means are in the order R, G, B."""
    for name in zoo.BUILDERS:
        clip = record(name).clip
        expected = {"order": "RGB", **TORCHVISION}
        if re.search("inception|(tsn|tsm|gsm|cstm|trn|stpn)_tiny", name):
            expected = CAFFE
        elif name.startswith("p3d"):
            expected = CAFFE | {"mean": (123, 117, 104)}
        elif name.startswith("s3d"):
            expected = {"order": "RGB", "mean": (127.5,) * 3, "std": (127.5,) * 3}
        assert clip.mean[:3] == pytest.approx(expected["mean"], abs=1e-2)
        assert clip.std[:3] == pytest.approx(expected["std"], abs=1e-2)
        assert clip.order == expected["order"]
        if name.startswith(
            "stpn"
        ):  # and flow, whose deviation is the mean of the others
            assert clip.mean[3:] == (128, 128)
            expected = sum(expected["std"]) / 3
            assert clip.std[3:] == pytest.approx((expected, expected), abs=1e-3)


def test_classes_of_models():
    for name in zoo.BUILDERS:
        expected = 12 if name.endswith("_tiny") else 400
        for start, classes in {
            **{"gsm_bn": 174, "gsm_inc": 174, "cstm_bn": 174, "cstm_inc": 174},
            **{"trn_bn": 174, "trn_res": 174, "trn_inc": 339},
            **{"stpn_bn": 101, "stpn_res": 101, "stpn_vgg": 101},
        }.items():
            expected = classes if name.startswith(start) else expected
        assert record(name).classes == expected


def test_weights_are_fed_like_their_model_but_for_what_is_stated():
    for name in zoo.ENTRIES:
        entry = zoo.ENTRIES[name]
        changes = [v for k, v in STATED.items() if re.fullmatch(k, name)]
        stated = changes[0] if changes else {}
        if stated.get("height") == 384:
            stated = stated | {"width": 384, "short_side": 384 * 256 // 224}
        expected = dataclasses.replace(record(entry.builder).clip, **stated)
        assert_same(entry.clip, expected, name)
        assert len(changes) < 2


def test_the_stated_weights_exist():
    for pattern in STATED:
        assert any(re.fullmatch(pattern, name) for name in zoo.ENTRIES)


OPTIONS = {
    r"c2d_resnet50.kinetics400(_16)?": {"pooling": "unpadded"},
    r"c2d_resnet50.kinetics400_nopool|c2d_resnet101.kinetics400": {
        "pooling": "spatial"
    },
    r"c2d_resnet50.kinetics400_pytorchvideo": {"pooling": "code"},
    r"p3d_resnet(50|101).kinetics400": dict(
        blocks="ABC", modality="rgb", semantics="port"
    ),
    r"p3d_resnet152.(kinetics400|sports1m)": dict(
        blocks="ABC", modality="rgb", semantics="caffe"
    ),
    r"p3d_resnet152.kinetics400_flow": dict(
        blocks="ABC", modality="flow", semantics="caffe"
    ),
    r"p3d_\S+.imagenet": {"modality": "rgb"},
    r"cstm_\S+.(some\S+|jester\S*)": dict(
        fusion="attention", shift="gate", kernel_size=(3, 3, 3), reduction=4
    ),
    r"gsm_\S+.(something_v1\S*|diving48)": {"attention": False},
    r"tsm_\S+.(kinetics|something)\S+": {"shift": "offline"},
    r"tsm_mobilenetv2.jester_mit": {"shift": "online"},
    r"tsm_tiny.motions": {"backbone": "mobilenetv2", "shift": "online"},
    r"stpn_\S+.imagenet": {"streams": "both", "length": 10},
    r"stpn_bninception.ucf101": {"streams": "both", "length": 5},
    r"stpn_tiny.motions": {"streams": "both", "length": 6},
}


def test_options_of_weights():
    for name, entry in zoo.ENTRIES.items():
        found = [v for k, v in OPTIONS.items() if re.fullmatch(k, name)]
        assert [entry.options] == (found or [{}]), name


SORTED = ("kinetics400", "jester", "diving48", "something_v1", "something_v2")


def test_the_order_of_the_classes_of_weights():
    """mmaction2 alone has the official order of Something-Something v1."""
    for name, entry in zoo.ENTRIES.items():
        if entry.labels:
            expected = entry.dataset in (*SORTED, "motions")
            if name == "trn_resnet50.something_v1":
                expected = False
            found = entry.labels == tuple(sorted(entry.labels))
            assert found == expected, name


def test_nothing_of_an_image_network_may_be_missing():
    of_images = ("conv1/kernel", "layer1_0_conv2/kernel", "inception_3a_1x1/kernel")
    of_images += ("layer1_0_bn2/gamma", "layer_0_query/kernel", "features_0/kernel")
    for name, entry in zoo.ENTRIES.items():
        for pattern in entry.allow_missing:
            assert not any(re.search(pattern, path) for path in of_images), name


def test_heads_of_attention_have_the_widths_of_their_papers():
    for name, builder in zoo.BUILDERS.items():
        if re.match("videomae_[sbl]|vjepa2_vit", name):
            known = zoo.family(name).architectures[builder].graph.keywords
            expected = 80 if name == "vjepa2_vith" else 64
            assert known["width"] == expected * known["heads"], name


@pytest.mark.parametrize("semantics", ["paper", "caffe", "port"])
def test_clips_of_p3d(semantics):
    rgb = record("p3d_resnet50", semantics=semantics).clip
    flow = record("p3d_resnet50", semantics=semantics, modality="flow").clip
    assert (rgb.order, flow.order) == ("RGB" if semantics == "port" else "BGR", "RGB")
    if semantics == "port":  # it computes the flow's from those of ImageNet
        assert rgb.mean == pytest.approx(TORCHVISION["mean"], abs=1e-2)
        assert flow.mean == (127.5, 127.5)
        assert flow.std == pytest.approx((sum(TORCHVISION["std"]) / 3,) * 2, abs=1e-2)
    else:
        assert (flow.mean, flow.std) == ((128, 128), (1, 1))
