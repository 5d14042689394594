"""Checkpoints of one stream become the streams of STPN."""

import numpy as np
import pytest
import torch
from converting import convert
from harness import numpy
from references_inception import reference_tsn

import stzoo
from stzoo.models import stpn

WIDTH = ["--option", "width=4", "--option", "dim=16", "--option", "length=5"]


@pytest.fixture
def entries(monkeypatch):
    """Those of BN-Inception, for the tiny builder."""
    for tag in ("imagenet", "ucf101"):
        entry = stzoo.zoo.ENTRIES[f"stpn_bninception.{tag}"]
        monkeypatch.setitem(stzoo.zoo.ENTRIES, f"stpn_tiny.{tag}", entry)


def state(seed, stem, head="cls_head.fc_cls"):
    """BN-Inception as mmaction saved it, with a stem for these channels."""
    reference = reference_tsn("bn_inception", 4, 101)
    tensors = {
        name.replace("base_model.", "backbone.").replace("new_fc", head): tensor
        for name, tensor in reference.state_dict().items()
    }
    name = "backbone.conv1_7x7_s2.weight"
    generator = torch.Generator().manual_seed(seed)
    tensors[name] = torch.randn(4, stem, 7, 7, generator=generator)
    return tensors


def stem(tensors):
    return tensors["backbone.conv1_7x7_s2.weight"].numpy().transpose(2, 3, 1, 0)


def weights(model):
    return {weight.path: numpy(weight) for weight in model.weights}


def test_two_files_of_mmaction(entries, tmp_path):
    rgb, flow = state(1, 3), state(2, 10)
    for name, tensors in (("rgb", rgb), ("flow", flow)):
        torch.save({"state_dict": tensors}, tmp_path / f"{name}.pth")
    paths = [str(tmp_path / name) for name in ("rgb.pth", "flow.pth")]
    out = ["--tag", "ucf101", "--out", str(tmp_path / "out")]
    convert("stpn_tiny", *paths, *out, *WIDTH)
    model = stzoo.load(tmp_path / "out")
    assert model.stzoo.source == "rgb.pth flow.pth"
    assert model.stzoo.classes == 101
    assert model.stzoo.clip.snippet == 5 and model.stzoo.clip.flow == "tvl1"
    found = weights(model)
    np.testing.assert_array_equal(found["spatial_conv1_7x7_s2/kernel"], stem(rgb))
    np.testing.assert_array_equal(found["temporal_conv1_7x7_s2/kernel"], stem(flow))
    bn = "inception_5b_1x1_bn"
    np.testing.assert_array_equal(
        found[f"temporal_{bn}/moving_variance"],
        flow[f"backbone.{bn}.running_var"].numpy(),
    )


def test_a_users_file_of_images(entries, tmp_path):
    rgb = state(1, 3, "last_linear")
    plain = {name.removeprefix("backbone."): tensor for name, tensor in rgb.items()}
    torch.save(plain, tmp_path / "bn_inception.pth")
    out = ["--tag", "imagenet", "--out", str(tmp_path / "out")]
    file = str(tmp_path / "bn_inception.pth")
    convert("stpn_tiny", file, *out, *WIDTH)
    model = stzoo.load(tmp_path / "out", classes=3)
    found = weights(model)
    np.testing.assert_array_equal(found["spatial_conv1_7x7_s2/kernel"], stem(rgb))
    mean = np.repeat(stem(rgb).mean(2, keepdims=True), 10, axis=2)
    np.testing.assert_allclose(
        found["temporal_conv1_7x7_s2/kernel"], mean, rtol=0, atol=1e-6
    )


def test_files_that_do_not_fit():
    image = {name: tensor.numpy() for name, tensor in state(1, 3).items()}
    flow = {name: tensor.numpy() for name, tensor in state(1, 10).items()}
    options = {"streams": "both", "length": 5}
    assert "spatial.conv1_7x7_s2.weight" in stpn.prepare([image, flow], options)
    with pytest.raises(ValueError, match="3 files are too many for two streams"):
        stpn.prepare([image] * 3, options)
    with pytest.raises(ValueError, match="one convolution of 3 channels.*has none"):
        stpn.prepare([flow], options)
