import dataclasses
import hashlib
import json

import keras
import numpy as np
import pytest
import torch
from converting import convert
from harness import ask, check_model, close, numpy
from references_inception import load as load_tsn
from references_inception import reference_tsn
from references_trn import load, logits, mmaction, reference_trn

import stzoo
from stzoo.layers.relation import even_subsets
from stzoo.models import trn
from stzoo.weights import labels

RNG = np.random.default_rng(0)
# Backbone: its name in the reference, height and width (even if possible).
BACKBONES = {
    "bn_inception": ("bn_inception", (64, 96)),
    "inception_v3": ("inception_v3", (101, 75)),
    "resnet50": ((3, 4, 6, 3), (50, 72)),
}


def even(frames):
    """The subsets of stzoo, each once."""
    return lambda scale, _: [(1, places) for places in even_subsets(frames, scale)]


def expected(scale, subsets):
    """The expected value of three random subsets."""
    return [(min(3, len(subsets)) / len(subsets), subset) for subset in subsets]


def clips(frames, height, width):
    return RNG.integers(0, 256, (2, frames, height, width, 3)).astype("uint8")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_outputs_match_the_original_network(backbone):
    original, size = BACKBONES[backbone]
    reference = reference_trn(original, 8, 5, 4, even(4))
    clip = (4, None, None, 3)
    model = stzoo.trn_tiny(5, clip, backbone=backbone, width=8)
    load(model, reference)
    x = clips(4, *size)
    answer = ask(model, x)
    close(answer, logits(reference, x))
    backwards = ask(model, x[:, ::-1])
    assert np.abs(backwards - answer).max() > 1e-3 * np.abs(answer).max()


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_the_expected_value_matches_all_subsets(frames):
    reference = reference_trn("bn_inception", 8, 5, frames, expected)
    small = dict(width=8, depth=11)
    model = stzoo.trn_tiny(5, (frames, 32, 32, 3), subsets="all", **small)
    load(model, reference)
    x = clips(frames, 32, 32)
    close(ask(model, x), logits(reference, x))


def test_random_subsets_differ_between_calls_around_the_expected_value():
    small = dict(input_shape=(6, 32, 32, 3), width=4, depth=1, units=8)
    models = {
        subsets: stzoo.trn_tiny(5, subsets=subsets, seed=3, **small)
        for subsets in ("even", "random", "all")
    }
    for model in models.values():
        model.set_weights(models["all"].get_weights())
    x = clips(6, 32, 32)
    frames = models["random"].get_layer("relation").input
    draw = keras.Model(frames, models["random"].output)
    features = keras.Model(models["random"].input, frames)(x)
    draws = np.stack([numpy(draw(features)) for _ in range(80)])
    assert np.ptp(draws, axis=0).max() > 0
    mean, error = draws.mean(0), draws.std(0) / len(draws) ** 0.5
    answer = numpy(models["all"](x))
    assert (np.abs(mean - answer) < 5 * error + 1e-5).all()
    even = [numpy(models["even"](x)) for _ in range(2)]
    np.testing.assert_array_equal(*even)
    # The seed decides the draws, also of a model that was copied from its config.
    again = keras.models.clone_model(models["random"])
    again.set_weights(models["all"].get_weights())
    close(numpy(again(x)), draws[0], 1e-4)


@pytest.mark.parametrize(
    ("builder", "size", "classes", "parameters"),
    [
        # The network, a dense layer to 256, relations of 35 frames with 7 biases, fc.
        ("trn_bninception", 224, 174, 10_270_240 + 1025 * 256),
        ("trn_inceptionv3", 299, 339, 21_802_784 + 2049 * 256),
        ("trn_resnet50", 224, 174, 23_508_032 + 2049 * 256),
    ],
)
def test_builders(builder, size, classes, parameters):
    """mmaction2 states 26.64 M parameters for ResNet-50, with seven biases of fc."""
    model = stzoo.create(builder)
    assert model.input_shape == (None, 8, size, size, 3)
    assert model.output_shape == (None, classes)
    assert model.get_layer("dropout").rate == 0.8
    kernel = numpy(model.get_layer("feature").kernel)
    assert kernel.std() == pytest.approx(0.001, rel=0.1)
    parameters += (35 * 256 + 7) * 256 + (7 * 256 + 1) * classes
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    if builder == "trn_resnet50":
        assert round((parameters + 6 * classes) / 1e6, 2) == 26.64


def test_model_satisfies_the_contract_of_keras(tmp_path):
    def build():
        small = dict(input_shape=(4, 64, 64, 3), width=8, depth=3)
        return stzoo.trn_tiny(5, subsets="all", **small)

    check_model(build, clips(4, 64, 64), tmp_path)


def original(state):
    """A file of the authors: old, of parallel training, batch norms of one row."""
    state = {
        f"module.{name}": tensor[None] if "_bn." in name else tensor
        for name, tensor in state.items()
        if "num_batches" not in name
    }
    return {"epoch": 60, "arch": "BNInception", "state_dict": state}


@pytest.mark.parametrize(
    ("backbone", "rename"),
    [("bn_inception", original), ("inception_v3", original), ("resnet50", mmaction)],
)
def test_a_foreign_checkpoint_answers_alike(tmp_path, backbone, rename):
    name, size = BACKBONES[backbone]
    reference = reference_trn(name, 8, 7, 8, even(8))
    file = tmp_path / "best.pth.tar"
    state = rename(reference.state_dict())
    torch.save(state, file, _use_new_zipfile_serialization=False)
    options = ["--option", f"backbone={backbone}", "--option", "width=8"]
    convert("trn_tiny", file, "--out", tmp_path / "out", *options)
    model = stzoo.load(tmp_path / "out", input_shape=(8, *size, 3))
    assert model.stzoo.classes == 7
    assert model.stzoo.options["subsets"] == "even"
    x = clips(8, *size)
    close(ask(model, x), logits(reference, x), 1e-4)


def offer(hub, monkeypatch, tmp_path, state, entry, **fields):
    """Makes a checkpoint the weights of an entry of `trn_tiny`."""
    torch.save(state, tmp_path / "file.pth")
    data = (tmp_path / "file.pth").read_bytes()
    name = f"trn-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    hub.repositories["some/files"] = {name: data}
    entry = dataclasses.replace(
        stzoo.zoo.ENTRIES[entry],
        builder="trn_tiny",
        repository=f"{hub.url}/some/files/resolve/main/{name}",
        **fields,
    )
    family = dataclasses.replace(trn.FAMILY, entries=(entry,))
    monkeypatch.setattr(trn, "FAMILY", family)


def test_weights_load_from_their_address(hub, monkeypatch, tmp_path):
    """The options of the caller are kept in the file."""
    reference = reference_trn((3, 4, 6, 3), 8, 9, 4, expected)
    state = mmaction(reference.state_dict())
    entry = "trn_resnet50.something_v2"
    offer(hub, monkeypatch, tmp_path, state, entry, classes=9, labels=())
    small = dict(input_shape=(4, 50, 72, 3), backbone="resnet50", width=8)
    tag = "something_v2"
    model = stzoo.trn_tiny(pretrained=tag, subsets="all", seed=5, **small)
    assert model.get_layer("relation").seed == 5
    x = clips(4, 50, 72)
    close(ask(model, x), logits(reference, x), 1e-4)
    stzoo.save(model, tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["options"]["subsets"] == "all" and config["options"]["seed"] == 5
    loaded = stzoo.load(tmp_path / "saved")
    close(ask(loaded, x), ask(model, x))
    other = stzoo.trn_tiny(4, pretrained=tag, **small)
    assert other.output_shape == (None, 4)
    kernel = "relation/scale_3/kernel"
    found, kept = (
        next(numpy(w) for w in one.weights if w.path == kernel)
        for one in (other, model)
    )
    np.testing.assert_array_equal(found, kept)


def test_an_image_network_gives_all_but_the_relations(hub, monkeypatch, tmp_path):
    image = reference_tsn("bn_inception", 8, 10)
    state = {
        name.replace("base_model.", "").replace("new_fc.", "last_linear."): tensor
        for name, tensor in image.state_dict().items()
    }
    offer(hub, monkeypatch, tmp_path, state, "trn_bninception.imagenet")
    small = dict(input_shape=(3, 64, 64, 3), width=8)
    model = stzoo.trn_tiny(pretrained="imagenet", **small)
    assert model.output_shape == (None, 12)
    plain = stzoo.tsn_tiny(classes=10, **small)
    load_tsn(plain, image)
    found = {weight.path: numpy(weight) for weight in model.weights}
    for weight in plain.weights:
        if not weight.path.startswith("fc/"):
            np.testing.assert_array_equal(found[weight.path], numpy(weight))


def test_orders_of_classes():
    """The authors sort names. mmaction2 has the official ids."""
    entries = stzoo.zoo.ENTRIES
    found = entries["trn_resnet50.something_v1"]
    assert found.labels[0] == "Holding something"
    assert found.labels[173] == "Poking a hole into some substance"
    assert found.dataset == "something_v1"
    known = labels.names("something_v1")
    assert entries["trn_bninception.something_v1"].labels == tuple(sorted(known))
    jester = entries["trn_bninception.jester"].labels
    assert jester == tuple(sorted(labels.names("jester")))


def test_preparation_is_that_of_the_sources():
    clip = stzoo.zoo.ENTRIES["trn_inceptionv3.moments_in_time"].clip
    assert (clip.shape, clip.short_side) == ((8, 299, 299, 3), 299 * 256 // 224)
    assert (clip.order, clip.sampling) == ("BGR", "segments")
    name = "trn_bninception.jester"
    (weights,) = stzoo.list_models(name, pretrained=True, unavailable=True)
    assert weights.where == (
        "download manually and convert: Zhou et al., "
        "http://relation.csail.mit.edu/models/"
        "TRN_jester_RGB_BNInception_TRNmultiscale_segment8_best.pth.tar"
    )
    entry = stzoo.zoo.ENTRIES["trn_resnet50.something_v1"]
    assert entry.repository.endswith("sthv1-rgb_20220815-e13db2e9.pth")


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="fixed number of frames, from 2 to 16"):
        stzoo.trn_tiny(input_shape=(None, 64, 64, 3))
    with pytest.raises(ValueError, match="subsets must be one of 'even', 'random', 'a"):
        stzoo.trn_tiny(subsets="some")
    state = reference_trn("bn_inception", 8, 7, 8, even(8)).state_dict()
    torch.save(state, tmp_path / "whole.pth")
    del state["consensus.fc_fusion_scales.3.1.bias"]
    torch.save(state, tmp_path / "part.pth")
    options = ["--out", tmp_path / "out", "--option", "width=8"]
    message = r"relations are incomplete: fc_fusion_scales.3.1.bias\."
    with pytest.raises(SystemExit, match=message):
        convert("trn_tiny", tmp_path / "part.pth", *options)
    files = [tmp_path / "whole.pth"] * 2
    with pytest.raises(SystemExit, match="2 files are too many for one model"):
        convert("trn_tiny", *files, *options)
