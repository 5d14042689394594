"""Checkpoints of P3D, of three frameworks, become folders that answer alike."""

import sys

import numpy as np
import pytest
import torch
from converting import convert
from foreign import caffemodel, params
from harness import ask
from references_p3d import caffe, gluon, logits, reference_p3d

import stzoo
from stzoo.models import p3d
from stzoo.weights.convert import dialect, rename

DEPTHS = (2, 4, 2, 1)
SMALL = ["--option", "width=4", "--option", "depths=2,4,2,1"]
RNG = np.random.default_rng(0)


def write(folder, reference, kind):
    """The reference as a file of this kind."""
    state = reference.state_dict()
    if kind == "params":
        (folder / "p3d.params").write_bytes(params(gluon(state)))
        return folder / "p3d.params"
    if kind == "caffemodel":
        (folder / "p3d.caffemodel").write_bytes(caffemodel(caffe(state, DEPTHS)))
        return folder / "p3d.caffemodel"
    torch.save({"epoch": 9, "state_dict": state}, folder / "p3d.checkpoint.pth.tar")
    return folder / "p3d.checkpoint.pth.tar"


@pytest.mark.parametrize(
    ("kind", "semantics", "modality"),
    [
        ("pth", "paper", "rgb"),
        ("pth", "caffe", "rgb"),
        ("pth", "port", "rgb"),
        ("pth", "port", "flow"),
        ("caffemodel", "caffe", "rgb"),
        ("caffemodel", "caffe", "flow"),
        ("params", "port", "rgb"),
    ],
)
def test_a_checkpoint_answers_alike(tmp_path, kind, semantics, modality):
    channels = {"rgb": 3, "flow": 2}[modality]
    reference = reference_p3d(DEPTHS, 4, 5, "ABC", channels, semantics)
    file = write(tmp_path, reference, kind)
    options = ["--option", f"semantics={semantics}", "--option", f"modality={modality}"]
    convert("p3d_tiny", file, "--out", tmp_path / "out", *SMALL, *options)
    model = stzoo.load(tmp_path / "out", input_shape=(16, 64, 48, channels))
    assert model.stzoo.classes == 5
    x = RNG.integers(0, 256, (2, 16, 64, 48, channels), "uint8")
    expected = logits(reference, x, model.stzoo.clip)
    found = ask(model, x)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_tag_brings_options_and_preparation(tmp_path, monkeypatch):
    entry = stzoo.zoo.ENTRIES["p3d_resnet50.kinetics400"]
    monkeypatch.setitem(stzoo.zoo.ENTRIES, "p3d_tiny.kinetics400", entry)
    file = write(tmp_path, reference_p3d(DEPTHS, 4, 5, semantics="port"), "params")
    arguments = ["p3d_tiny", file, "--out", tmp_path / "out", *SMALL]
    convert(*arguments, "--tag", "kinetics400")
    config = stzoo.load(tmp_path / "out").stzoo
    assert config.options["semantics"] == "port"
    assert config.clip == entry.clip
    convert(*arguments, "--tag", "kinetics400", "--option", "semantics=caffe")
    assert stzoo.load(tmp_path / "out").stzoo.clip != entry.clip


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conv1.weight", "conv1/kernel"),
        ("bn_conv1.running_var", "bn1/moving_variance"),
        ("res2a_branch1.weight", "layer1_0_downsample_0/kernel"),
        ("bn2a_branch1.bias", "layer1_0_downsample_1/beta"),
        ("res3b7_branch2b_t.weight", "layer2_7_conv_temporal/kernel"),
        ("bn4b35_branch2b_t.weight", "layer3_35_bn_temporal/gamma"),
        ("res4f_branch2b.weight", "layer3_5_conv2/kernel"),
        ("res5c_branch2c.weight", "layer4_2_conv3/kernel"),
        ("fc_kinetics.bias", "fc/bias"),
        ("fc_sports1m.weight", "fc/kernel"),
    ],
)
def test_names_of_caffe(name, path):
    key_map = dialect(p3d.KEY_MAP, ["bn_conv1.weight"])
    assert rename(name, {path}, key_map) == path


def test_what_is_not_converted(tmp_path, monkeypatch):
    reference = reference_p3d(DEPTHS, 4, 5)
    for kind in ("params", "caffemodel"):
        file = write(tmp_path, reference, kind)
        (tmp_path / f"half.{kind}").write_bytes(file.read_bytes()[:10_000])
        (tmp_path / f"text.{kind}").write_text("no checkpoint")
    state = reference.state_dict()
    state["layer1.0.conv9.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "longer.pth.tar")
    cases = [
        ("none.params", "There is no file"),
        ("half.params", "half.params cannot be read as a checkpoint: at byte"),
        (
            "text.params",
            "text.params cannot be read as a checkpoint: it does not start like",
        ),
        (
            "half.caffemodel",
            "half.caffemodel cannot be read as a checkpoint: it is not a protobuf",
        ),
        (
            "text.caffemodel",
            "text.caffemodel cannot be read as a checkpoint: it is not a protobuf",
        ),
        ("longer.pth.tar", "Not in the model: layer1.0.conv9.weight."),
        ("p3d.params --option blocks=D", "blocks must be one of 'ABC', 'A'"),
        ("p3d.params --option modality=flow", "conv1/kernel has the shape (7, 7, 3,"),
    ]
    for line, message in cases:
        file, *options = line.split()
        arguments = ["p3d_tiny", tmp_path / file, "--out", tmp_path / "out", *SMALL]
        with pytest.raises(SystemExit) as info:
            convert(*arguments, *options)
        assert str(info.value).startswith("The conversion failed: "), line
        assert message in str(info.value), line
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(SystemExit, match=r'The conversion failed: .*"stzoo\[caffe\]"'):
        convert("p3d_tiny", tmp_path / "p3d.caffemodel", "--out", tmp_path / "out")
