"""Checkpoints of TSN, TSM and GSM in their original containers answer alike."""

import hashlib

import numpy as np
import pytest
import references_mobilenet
import torch
from converting import convert
from harness import ask, close
from references_inception import logits, reference_tsn

import stzoo
from stzoo.models.gsm import places

RNG = np.random.default_rng(0)


def gsm(reference):
    """What GSM's `main.py` saves."""
    state = {f"module.{name}": t for name, t in reference.state_dict().items()}
    return {"epoch": 60, "arch": "BNInception", "state_dict": state, "lr": 0.01}


def tsm(reference):
    """What TSM's `main.py` saves; old files do not count batches."""
    state = gsm(reference)["state_dict"]
    state = {name: t for name, t in state.items() if "num_batches" not in name}
    return {"epoch": 50, "arch": "resnet50", "state_dict": state, "best_prec1": 71.0}


def demo(reference):
    """What MIT's online demo downloads: no prefix, no shifts, the head of ImageNet."""
    state = {}
    for name, tensor in reference.state_dict().items():
        name = name.removeprefix("base_model.").replace(".net.", ".")
        state[name.replace("new_fc.", "classifier.")] = tensor
    return state


def mobilenet(reference):
    """mmaction2's MobileNetV2."""
    state = references_mobilenet.mmaction(without_prefix(reference))
    return {
        "meta": {"epoch": 100},
        "state_dict": renamed_head(state, "cls_head.fc_cls"),
    }


def torchvision(reference):
    """An image network of torchvision."""
    state = references_mobilenet.torchvision(without_prefix(reference))
    return renamed_head(state, "classifier.1")


def without_prefix(reference):
    state = reference.state_dict().items()
    return {name.removeprefix("base_model."): tensor for name, tensor in state}


def renamed_head(state, head):
    return {name.replace("new_fc.", f"{head}."): t for name, t in state.items()}


def mmaction(reference):
    """mmaction2's names: each convolution in a module with its batch norm."""
    renamed = {}
    for name, tensor in reference.state_dict().items():
        name = name.replace("base_model.", "backbone.")
        name = name.replace("downsample.0.", "downsample.conv.")
        name = name.replace("downsample.1.", "downsample.bn.")
        for index in "123":
            name = name.replace(f"conv{index}.", f"conv{index}.conv.")
            name = name.replace(f".bn{index}.", f".conv{index}.bn.")
        renamed[name.replace("new_fc.", "cls_head.fc_cls.")] = tensor
    return {"meta": {"epoch": 100}, "state_dict": renamed}


def imagenet(head):
    """The files of ImageNet: no prefix, another head, vectors of one row."""

    def save(reference):
        state = {}
        for name, tensor in reference.state_dict().items():
            name = name.replace("base_model.", "").replace("new_fc.", f"{head}.")
            if "_bn." in name and tensor.ndim == 1:
                tensor = tensor[None]
            state[name] = tensor
        return state

    return save


# As the reference calls it, as the builder does, width, height and width of frames.
RESNET50 = ((3, 4, 6, 3), "resnet50", 4, (64, 64))
BN_INCEPTION = ("bn_inception", "bn_inception", 8, (64, 64))
INCEPTION_V3 = ("inception_v3", "inception_v3", 4, (75, 75))
MOBILENET = ("mobilenetv2", "mobilenetv2", 16, (64, 48))
ONLINE = {"shifts": True, "online": True}


@pytest.mark.parametrize(
    ("builder", "network", "options", "save"),
    [
        ("gsm", BN_INCEPTION, {"gates": places("bn_inception")}, gsm),
        ("gsm", INCEPTION_V3, {"gates": places("inception_v3")}, gsm),
        ("tsm", RESNET50, {"shifts": range}, tsm),
        ("tsm", RESNET50, {"shifts": range}, mmaction),
        ("tsm", MOBILENET, {"shifts": True}, tsm),
        ("tsm", MOBILENET, {"shifts": True}, mobilenet),
        ("tsm", MOBILENET, {"shifts": True}, torchvision),
        ("tsm", MOBILENET, ONLINE, demo),
        ("tsn", RESNET50, {}, mmaction),
        ("tsn", BN_INCEPTION, {}, imagenet("last_linear")),
        ("tsn", INCEPTION_V3, {}, imagenet("top_cls_fc")),
    ],
    ids="gsm-bn gsm-v3 tsm-mit tsm-mm mobile-mit mobile-mm mobile-tv mobile-demo "
    "tsn-mm cadene cuhk".split(),
)
def test_an_official_checkpoint_answers_alike(
    tmp_path, builder, network, options, save
):
    original, backbone, width, size = network
    reference = reference_tsn(original, width, 7, **options)
    file, folder = tmp_path / "best.pth.tar", tmp_path / "out"
    torch.save(save(reference), file, _use_new_zipfile_serialization=False)
    chosen = ["--option", f"backbone={backbone}", "--option", f"width={width}"]
    chosen += ["--option", "shift=online"] if "online" in options else []
    arguments = [f"{builder}_tiny", str(file), "--out", str(folder), *chosen]
    convert(*arguments)
    model = stzoo.load(folder, input_shape=(3, *size, 3))
    assert model.stzoo.classes == 7
    x = RNG.integers(0, 256, (2, 3, *size, 3)).astype("uint8")
    close(ask(model, x), logits(reference, x))


def test_timms_inception_v3_is_another_graph(tmp_path):
    """The error says so, in a sentence."""
    state = {
        "Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3),
        "fc.weight": torch.zeros(7, 64),
        "fc.bias": torch.zeros(7),
    }
    torch.save(state, tmp_path / "timm.pth")
    chosen = ["--option", "backbone=inception_v3", "--option", "width=4"]
    with pytest.raises(SystemExit, match="this is torchvision's Inception v3, whose"):
        convert("tsn_tiny", tmp_path / "timm.pth", "--out", tmp_path / "out", *chosen)


def test_an_entry_says_where_its_file_is(hub):
    for builder, tag, where in (
        ("gsm_bninception", "something_v1", "drive.google.com/file/d/1rPma02"),
        ("tsm_resnet50", "kinetics400_mit", "TSM_kinetics_RGB_resnet50_shift8_block"),
    ):
        with pytest.raises(FileNotFoundError, match=where) as info:
            stzoo.create(f"{builder}.{tag}")
        assert f"stzoo convert {builder} FILE" in str(info.value)


def test_a_checkpoint_comes_from_a_url(tmp_path, hub):
    reference = reference_tsn((3, 4, 6, 3), 4, 7)
    torch.save(mmaction(reference), tmp_path / "tsn.pth")
    data = (tmp_path / "tsn.pth").read_bytes()
    name = f"tsn-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    hub.repositories["mm/models"] = {name: data}
    options = ["--option", "backbone=resnet50", "--option", "width=4"]
    out = ["--out", str(tmp_path / "out")]
    url = f"{hub.url}/mm/models/resolve/main/{name}"
    convert("tsn_tiny", url, *out, *options)
    assert stzoo.load(tmp_path / "out").stzoo.source == name
    gone = f"{hub.url}/mm/models/resolve/main/gone-0123abcd.pth"
    with pytest.raises(SystemExit, match="no file .*gone-0123abcd.pth"):
        convert("tsn_tiny", gone, *out, *options)
