import dataclasses
import hashlib
import json

import keras
import numpy as np
import pytest
import torch
from converting import convert
from harness import ask, check_model, close
from references_s3d import kylemin, logits, reference_s3d

import stzoo
from stzoo.layers import SelfGating
from stzoo.models import s3d
from stzoo.weights.checkpoint import assign, check
from stzoo.weights.convert import convert as convert_names
from stzoo.weights.convert import dialect

RNG = np.random.default_rng(0)
GATES = (r"^gates\.(\w+)\.fc\.", r"\1_gate/fc.")


def load(model, reference):
    """Puts all weights of a reference into a model."""
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    key_map = (GATES, *dialect(s3d.KEY_MAP, state))
    tensors = convert_names(s3d.prepare([state], {}), shapes, key_map)
    check(tensors, shapes)
    assign(model, tensors)


def clips(*shape):
    return RNG.integers(0, 256, (2, *shape, 3)).astype("uint8")


# The last map is larger than the window of the head in time and space, is the window,
# or is smaller.
@pytest.mark.parametrize(
    "size", [(24, 256, 290), (16, 224, 224), (14, 64, 96), (8, 50, 32)]
)
def test_outputs_match_the_original_network(size):
    reference = reference_s3d(8, 5)
    model = stzoo.s3d_tiny(5, (None, None, None, 3), width=8)
    load(model, reference)
    x = clips(*size)
    close(ask(model, x), logits(reference, x, model.stzoo.clip))


def test_gates_match_those_of_the_original_network():
    reference = reference_s3d(8, 5, gating=True)
    model = stzoo.s3d_tiny(5, (16, 64, 64, 3), gating=True, width=8)
    load(model, reference)
    x = clips(16, 64, 64)
    close(ask(model, x), logits(reference, x, model.stzoo.clip))
    gates = [layer for layer in model.layers if isinstance(layer, SelfGating)]
    assert len(gates) == 1 + 9 * 4


@pytest.mark.parametrize(
    ("builder", "parameters", "gates"), [("s3d", 8_320_048, 0), ("s3dg", 9_545_056, 37)]
)
def test_builders(builder, parameters, gates):
    """torchvision states the number of parameters of S3D."""
    model = stzoo.create(builder)
    assert model.input_shape == (None, 64, 224, 224, 3)
    assert model.output_shape == (None, 400)
    assert model.get_layer("dropout").rate == 0.2
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    assert sum(isinstance(layer, SelfGating) for layer in model.layers) == gates
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers[1:]}
    assert shapes["stem_1a_relu_t"] == (32, 112, 112, 64)
    assert shapes["mixed_3c"] == (32, 28, 28, 480)
    assert shapes["mixed_4f"] == (16, 14, 14, 832)
    assert shapes["mixed_5c"] == (8, 7, 7, 1024)


@pytest.mark.parametrize("gating", [pytest.param(False, marks=pytest.mark.slow), True])
def test_model_satisfies_the_contract_of_keras(gating, tmp_path):
    def build():
        keras.utils.set_random_seed(0)
        return stzoo.s3d_tiny(5, (8, 64, 64, 3), gating=gating, width=8)

    # A larger step can overshoot, as the batch norms see few clips.
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 8, 64, 64, 3)).astype("uint8")
    check_model(build, x, tmp_path, rate=1e-4)


@pytest.mark.parametrize("rename", [dict, kylemin], ids=["torchvision", "kylemin"])
def test_a_foreign_checkpoint_answers_alike(tmp_path, rename):
    reference = reference_s3d(8, 7)
    state = rename(reference.state_dict())
    if rename is kylemin:  # its file is of parallel training
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / "s3d.pt")
    options = ["--option", "width=8", "--out", tmp_path / "out"]
    convert("s3d_tiny", tmp_path / "s3d.pt", *options)
    model = stzoo.load(tmp_path / "out", input_shape=(16, 64, 64, 3))
    assert model.stzoo.classes == 7
    x = clips(16, 64, 64)
    close(ask(model, x), logits(reference, x, model.stzoo.clip), 1e-4)


def test_weights_of_torchvision_load_from_their_address(hub, monkeypatch, tmp_path):
    """The entry decides the preparation. The model is saved and loaded unchanged."""
    reference = reference_s3d(8, 9)
    torch.save(reference.state_dict(), tmp_path / "file.pth")
    data = (tmp_path / "file.pth").read_bytes()
    name = f"s3d-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    hub.repositories["some/files"] = {name: data}
    entry = dataclasses.replace(
        stzoo.zoo.ENTRIES["s3d.kinetics400"],
        builder="s3d_tiny",
        classes=9,
        labels=(),
        repository=f"{hub.url}/some/files/resolve/main/{name}",
    )
    family = dataclasses.replace(s3d.FAMILY, entries=(entry,))
    monkeypatch.setattr(s3d, "FAMILY", family)
    small = dict(input_shape=(14, 64, 64, 3), width=8)
    model = stzoo.s3d_tiny(pretrained="kinetics400", **small)
    assert model.stzoo.clip.sample_fps == 15 and model.stzoo.clip.stride == 1
    x = clips(14, 64, 64)
    expected = logits(reference, x, stzoo.zoo.ENTRIES["s3d.kinetics400"].clip)
    close(ask(model, x), expected, 1e-4)
    stzoo.save(model, tmp_path / "saved")
    loaded = stzoo.load(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["options"] == {
        "gating": False,
        "width": 8,
    }
    close(ask(loaded, x), ask(model, x))
    other = stzoo.s3d_tiny(4, pretrained="kinetics400", **small)
    assert other.output_shape == (None, 4)


def test_preparation_is_that_of_the_sources():
    clip = stzoo.zoo.ENTRIES["s3d.kinetics400"].clip
    assert clip.shape == (128, 224, 224, 3) and clip.short_side == 256
    np.testing.assert_allclose(np.array(clip.mean) / 255, [0.43216, 0.394666, 0.37645])
    np.testing.assert_allclose(np.array(clip.std) / 255, [0.22803, 0.22145, 0.216989])
    clip = stzoo.zoo.ENTRIES["s3d.kinetics400_kylemin"].clip
    x = np.array([0, 255.0])  # its code: (2 x - 255) / 255
    np.testing.assert_allclose((x - clip.mean[0]) / clip.std[0], (2 * x - 255) / 255)
    (weights,) = stzoo.list_models("s3d.*kylemin", pretrained=True, unavailable=True)
    assert weights.where.startswith("download manually and convert: Kyle Min, ")


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="pool_5a is 2x2x2 .* its input is only 1x"):
        stzoo.s3d_tiny(input_shape=(4, 64, 64, 3))
    with pytest.raises(ValueError, match="is not a tag of s3dg .tags: none"):
        stzoo.s3dg(pretrained="kinetics400")
    torch.save(reference_s3d(8, 7).state_dict(), tmp_path / "s3d.pth")
    options = ["--option", "width=8", "--out", tmp_path / "out"]
    with pytest.raises(SystemExit, match="2 files are too many for one model"):
        convert("s3d_tiny", tmp_path / "s3d.pth", tmp_path / "s3d.pth", *options)
    with pytest.raises(SystemExit, match="Missing: .*gate/fc/bias"):
        convert("s3d_tiny", tmp_path / "s3d.pth", *options, "--option", "gating=true")
