import dataclasses
import hashlib
import sys

import numpy as np
import pytest
import torch
from harness import ask, check_model, close, numpy, open_gate
from references_inception import load, logits, reference_tsn

import stzoo
from stzoo.layers import ChannelAttention, GateShift
from stzoo.models.gsm import places

RNG = np.random.default_rng(0)
SIZES = {"bn_inception": (64, 96), "inception_v3": (75, 101)}


@pytest.mark.parametrize("backbone", SIZES)
def test_outputs_match_the_original_network(backbone):
    reference = reference_tsn(backbone, 8, 5, gates=places(backbone))
    clip = (None, None, None, 3)
    model = stzoo.gsm_tiny(classes=5, input_shape=clip, backbone=backbone, width=8)
    load(model, reference)
    x = RNG.integers(0, 256, (2, 4, *SIZES[backbone], 3)).astype("uint8")
    answer = ask(model, x)
    close(answer, logits(reference, x))
    backwards = ask(model, x[:, ::-1])
    assert np.abs(backwards - answer).max() > 1e-3 * np.abs(answer).max()


@pytest.mark.parametrize(
    ("builder", "size", "parameters"),
    [
        ("gsm_bninception", 224, 10_270_240 + 51_060 + 1025 * 174),
        ("gsm_inceptionv3", 229, 21_802_784 + 48_276 + 2049 * 174),
    ],
)
def test_builders(builder, size, parameters):
    model = stzoo.create(builder, input_shape=(16, size, size, 3))
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    assert sum(isinstance(layer, GateShift) for layer in model.layers) == 10
    assert model.output_shape == (None, 174)


def test_attention_follows_each_gate():
    model = stzoo.gsm_tiny(attention=True, width=8)
    found = [layer for layer in model.layers if isinstance(layer, ChannelAttention)]
    assert [layer.name for layer in found] == [
        f"gsm_{place}_attention" for place in places("bn_inception")
    ]
    gates = [model.get_layer(layer.name.removesuffix("_attention")) for layer in found]
    for gate, layer in zip(gates, found, strict=True):
        assert gate.output is layer.input


def test_model_satisfies_the_contract_of_keras(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")

    def build():
        model = stzoo.gsm_tiny(width=8, depth=3, input_shape=(4, 64, 64, 3))
        for layer in model.layers:
            if isinstance(layer, GateShift):
                open_gate(layer)
        return model

    check_model(build, x, tmp_path)


@pytest.mark.parametrize("builder", ["gsm", "tsm", "cstm"])
def test_a_network_starts_from_imagenet(hub, monkeypatch, tmp_path, builder):
    """All weights except the operators are loaded from the file at a URL."""
    image = reference_tsn("bn_inception", 8, 10)
    state = {
        name.replace("base_model.", "").replace("new_fc.", "last_linear."): tensor
        for name, tensor in image.state_dict().items()
    }
    torch.save(state, tmp_path / "file.pth")
    data = (tmp_path / "file.pth").read_bytes()
    name = f"bn_inception-{hashlib.sha256(data).hexdigest()[:9]}.pth"
    hub.repositories["some/files"] = {name: data}
    family = sys.modules[f"stzoo.models.{builder}"]
    entry = dataclasses.replace(
        stzoo.zoo.ENTRIES[f"{builder}_bninception.imagenet"],
        builder=f"{builder}_tiny",
        classes=10,
        labels=(),
        repository=f"{hub.url}/some/files/resolve/main/{name}",
    )
    monkeypatch.setattr(
        family, "FAMILY", dataclasses.replace(family.FAMILY, entries=(entry,))
    )
    small = dict(input_shape=(3, 64, 64, 3), width=8)
    model = stzoo.create(f"{builder}_tiny", pretrained="imagenet", **small)
    assert model.stzoo.clip.order == "BGR"
    plain = stzoo.tsn_tiny(classes=10, **small)
    load(plain, image)
    expected = {weight.path: numpy(weight) for weight in plain.weights}
    found = {weight.path: numpy(weight) for weight in model.weights}
    assert expected.keys() <= found.keys()
    for path, weight in expected.items():
        np.testing.assert_array_equal(found[path], weight)
    if builder == "tsm":
        assert expected.keys() == found.keys()
