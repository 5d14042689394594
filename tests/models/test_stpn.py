import dataclasses
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from harness import check_model, close, numpy
from references import reference_resnet
from references_inception import load as load_tsn
from references_inception import logits as tsn_logits
from references_inception import reference_tsn
from references_stpn import logits, reference_stpn
from safetensors.torch import save

import stzoo
from stzoo.models import stpn
from stzoo.models.stpn import COMPACT, FUSIONS, KEY_MAP
from stzoo.weights.checkpoint import check, integers, read, read_tensors
from stzoo.weights.convert import convert

RNG = np.random.default_rng(0)
SMALL = {"backbone": "vgg16", "width": 4, "dim": 32, "length": 2}


def clips(frames=6, height=32, width=32, channels=5, batch=2):
    shape = (batch, frames, height, width, channels)
    return RNG.integers(0, 256, shape).astype("uint8")


def small(**kwargs):
    return stzoo.stpn_tiny(**{"input_shape": (6, 32, 32, 5), **SMALL, **kwargs})


def parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def load(model, reference):
    """Loads all weights of the reference into a model."""
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    tensors = convert(state, shapes, (*KEY_MAP, (r"^attention\.", "attention/")))
    check(tensors, shapes, whole=integers(model))
    for variable in model.weights:
        variable.assign(tensors[variable.path])


@pytest.mark.parametrize(
    ("backbone", "attention", "snippets", "size"),
    [
        ("resnet50", True, 3, (64, 96)),
        ("vgg16", True, 2, (96, 64)),
        ("vgg16", False, 4, (64, 64)),
    ],
    ids=str,
)
def test_outputs_match_the_reference(backbone, attention, snippets, size):
    depths = (3, 4, 6, 3) if backbone == "resnet50" else backbone
    reference = reference_stpn(depths, 4, 5, 2, snippets, 48, 64 * attention)
    options = {**SMALL, "backbone": backbone, "attention": attention, "dim": 48}
    model = small(classes=5, input_shape=(2 * snippets, None, None, 5), **options)
    load(model, reference)
    x = clips(2 * snippets, *size)
    close(model(x), logits(reference, x))


def test_the_spatial_stream_equals_tsn():
    """It has BN-Inception with its padding, BGR, and the mean over frames."""
    reference = reference_tsn("bn_inception", 8, 5)
    options = {"streams": "spatial", "width": 8, "input_shape": (2, 64, 64, 3)}
    model = stzoo.stpn_tiny(classes=5, **options)
    load_tsn(model, reference, ((r"^(?!fc\.)", "spatial_"),))
    x = clips(2, 64, 64, 3)
    close(model(x), tsn_logits(reference, x))


def test_the_temporal_stream_sees_flow_only():
    options = {"fusions": ("sum", *COMPACT[1:]), "streams": "temporal"}
    model = small(input_shape=(6, 32, 32, 2), **options)
    x = clips(channels=2)
    answer = numpy(model(x))
    # All snippets share a network: the order of frames matters, that of snippets not.
    swapped = x.reshape(2, 3, 2, 32, 32, 2)[:, ::-1].reshape(x.shape)
    close(model(swapped), answer)
    backwards = numpy(model(x[:, ::-1].copy()))
    assert np.abs(backwards - answer).max() > 1e-3 * np.abs(answer).max()


def test_rgb_is_taken_from_one_frame():
    model = small()
    x, other = clips(), clips()
    other[..., 3:] = x[..., 3:]
    other[:, 2] = x[:, 2]  # the start of the middle snippet
    close(model(other), model(x))


@pytest.mark.parametrize(
    ("fusions", "attention"),
    [*itertools.product([(f,) * 3 for f in FUSIONS], (True, False))],
    ids=str,
)
def test_ablations(fusions, attention):
    model = small(fusions=fusions, attention=attention)
    inputs = {"compact_bilinear": 32, "sum": 32, "concatenation": 32 * (4 + attention)}
    assert model.get_layer("fc").input.shape == (None, inputs[fusions[0]])
    assert np.isfinite(numpy(model(clips()))).all()


@pytest.mark.parametrize(
    ("builder", "body", "channels"),
    [
        ("stpn_bninception", 20_724_992, 1024),
        ("stpn_resnet50", 47_331_648, 2048),
        ("stpn_vgg16", 29_504_832, 512),
    ],
)
def test_builders(builder, body, channels):
    model = stzoo.create(builder)
    assert parameters(model) == body + 101 * 4097
    assert model.get_layer("dropout").rate == 0.5
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers[2:]}
    assert shapes["snippet_2"] == (1, 7, 7, channels)
    assert shapes["temporal_fusion"] == (1, 7, 7, channels)
    assert shapes["attention_fusion"] == (1, 7, 7, 2 * channels)
    assert shapes["attention"] == (channels,)
    assert shapes["top_fusion"] == (4096,)
    assert model.input_shape == (None, 30, 224, 224, 5)


def test_hidden_layer():
    assert parameters(small(hidden=10)) == (
        parameters(small()) + 33 * 10 + (10 - 32) * 12
    )


def test_the_tiny_model_has_few_parameters():
    assert parameters(stzoo.stpn_tiny()) < 1_500_000


def test_model_satisfies_the_contract_of_keras(tmp_path):
    def build():
        keras.utils.set_random_seed(0)
        return small(hidden=16, input_shape=(6, 64, 64, 5))  # four locations

    check_model(build, clips(6, 64, 64), tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_hashes_are_saved_exactly(dtype, tmp_path):
    """float16 cannot represent all integers above 2048."""
    model = small(dim=5000)
    stzoo.save(model, tmp_path, dtype=dtype)
    loaded = stzoo.load(tmp_path)
    for weight, twin in zip(model.weights, loaded.weights, strict=True):
        if "_fusion/" in weight.path:
            np.testing.assert_array_equal(numpy(weight), numpy(twin))
    assert {"temporal_fusion/hash0", "top_fusion/hash2"} <= integers(model)
    tensors = read_tensors(read(tmp_path))
    shapes = {path: tensor.shape for path, tensor in tensors.items()}
    check(tensors, shapes, whole=integers(model))
    tensors["top_fusion/hash2"] = tensors["top_fusion/hash2"].astype("float32")
    with pytest.raises(ValueError, match="hash2 has the type float32, not integers"):
        check(tensors, shapes, whole=integers(model))


def test_another_process_and_backend_has_the_same_outputs(tmp_path):
    model, x = small(), clips()
    stzoo.save(model, tmp_path)
    np.save(tmp_path / "x.npy", x)
    other = "torch" if keras.backend.backend() != "torch" else "tensorflow"
    code = f"""
import numpy as np, stzoo, keras
folder = {str(tmp_path)!r}
x = np.load(folder + "/x.npy")
np.save(folder + "/y.npy", keras.ops.convert_to_numpy(stzoo.load(folder)(x)))
"""
    env = {**os.environ, "KERAS_BACKEND": other}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    close(np.load(tmp_path / "y.npy"), model(x))


@pytest.mark.parametrize("streams", ["both", "spatial", "temporal"])
def test_both_streams_start_from_image_weights(streams, hub, monkeypatch):
    """The first convolution of flow is the mean over RGB, repeated."""
    image = reference_resnet((3, 4, 6, 3), 4, 10)
    hub.repositories["timm/tiny"] = {"model.safetensors": save(image.state_dict())}
    entry = stzoo.zoo.ENTRIES["stpn_resnet50.imagenet"]
    entry = dataclasses.replace(entry, builder="stpn_tiny", repository="timm/tiny")
    monkeypatch.setattr(
        stpn, "FAMILY", dataclasses.replace(stpn.FAMILY, entries=(entry,))
    )
    options = {**SMALL, "backbone": "resnet50", "streams": streams, "hidden": 8}
    model = stzoo.stpn_tiny(pretrained="imagenet", **options)
    channels = {"both": 5, "spatial": 3, "temporal": 2}[streams]
    assert model.stzoo.clip.shape[-1] == channels
    assert model.stzoo.clip.snippet == (1 if streams == "spatial" else 2)
    state = {name: value.numpy() for name, value in image.state_dict().items()}
    weights = {weight.path: numpy(weight) for weight in model.weights}
    stem = state["conv1.weight"].transpose(2, 3, 1, 0)
    if streams != "temporal":
        np.testing.assert_array_equal(weights["spatial_conv1/kernel"], stem)
    if streams != "spatial":
        for channel in range(4):
            close(weights["temporal_conv1/kernel"][:, :, channel], stem.mean(2))
        close(weights["temporal_layer4_2_bn3/gamma"], state["layer4.2.bn3.weight"])
    names = {"both": {"spatial", "temporal"}}.get(streams, {streams})
    kernels = {path.split("_")[0] for path in weights if path.endswith("conv1/kernel")}
    assert kernels - {"attention/conv1/kernel"} == names


def test_weights_of_other_kinds_are_refused(hub, tmp_path):
    stzoo.save(small(), tmp_path)
    with pytest.raises(ValueError, match="made with length=2, but this model has"):
        stzoo.stpn_tiny(pretrained=tmp_path, **{**SMALL, "length": 3})
    with pytest.raises(FileNotFoundError, match="tsn_2d_flow_bninception_seg3"):
        stzoo.stpn_bninception(pretrained="ucf101", length=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"streams": "sound"}, "streams must be one of 'both', 'spatial', 'temporal'"),
        ({"fusions": COMPACT[:2]}, "fusions must be three"),
        ({"fusions": ("sum", "sum", "mean")}, "each one of 'compact_bilinear', 'sum'"),
        ({"dim": 0}, "dim must be an integer, at least 1"),
        ({"hidden": -1}, "hidden must be an integer, at least 0"),
        ({"length": 0}, "length must be an integer, at least 1"),
        ({"backbone": "resnet18"}, "backbone must be one of 'bn_inception'"),
        ({"input_shape": (7, 32, 32, 5)}, "frames must be a multiple of snippet=2"),
        ({"input_shape": (2, 32, 32, 5)}, "needs 2 to 256 snippets of 2 frames"),
        ({"input_shape": (514, 32, 32, 5)}, "needs 2 to 256 snippets of 2 frames"),
        ({"input_shape": (None, 32, 32, 5)}, "a multiple of 2 frames"),
        (
            {"input_shape": (6, 32, 32, 3)},
            "has 3 channels, but the model has 5",
        ),
        (
            {"fusions": ("concatenation", "compact_bilinear", "sum")},
            "top_fusion cannot sum 32 and 32 and 96 channels",
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
