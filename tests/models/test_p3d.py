import dataclasses
import hashlib
from functools import partial

import keras
import numpy as np
import pytest
import torch
import twins
from foreign import params, zipped
from harness import ask, check_model, close, numpy
from references import reference_resnet
from references_p3d import gluon, logits, reference_p3d
from safetensors.torch import save

import stzoo
from stzoo.models import p3d
from stzoo.models.p3d import KEY_MAP, pseudo3d
from stzoo.weights.checkpoint import check
from stzoo.weights.convert import convert

RNG = np.random.default_rng(0)
DEPTHS = (2, 2, 1, 1)
SEMANTICS = pytest.mark.parametrize("semantics", ["paper", "caffe", "port"])


def build(clip=(16, 64, 64, 3), **kwargs):
    return stzoo.p3d_tiny(input_shape=clip, **{"width": 8, "depths": DEPTHS, **kwargs})


def clips(*shape, channels=3):
    return RNG.integers(0, 256, (*shape, channels)).astype("uint8")


def load(model, reference):
    """Loads all weights of the reference into a model."""
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    tensors = convert(state, shapes, KEY_MAP)
    check(tensors, shapes)
    for variable in model.weights:
        variable.assign(tensors[variable.path])


@SEMANTICS
@pytest.mark.parametrize("block", "ABC")
def test_block_matches_figure_3(block, semantics):
    """One unit is compared with loops over its positions."""
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    inputs = keras.Input(x.shape[1:])
    unit = keras.Model(inputs, pseudo3d(inputs, 4, 2, "unit", block, semantics))
    for variable in unit.weights:
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape) - 0.7)
        if variable.path.endswith(("gamma", "variance")):
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))

    def conv(x, place, stride=1):
        kernel = numpy(unit.get_layer(f"unit_conv{place}").kernel)
        kernel = kernel if kernel.ndim == 5 else kernel[None]
        y = twins.convolution(x, kernel, (1, stride, stride))
        gamma, beta, mean, variance = map(
            numpy, unit.get_layer(f"unit_bn{place}").weights
        )
        return (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def relu(x):
        return np.maximum(x, 0)

    y = relu(conv(x, "1", stride=2))
    s = relu(conv(y, "2"))
    t = conv(y if block == "B" else s, "_temporal")
    if block == "A":
        y = relu(t)
    elif semantics == "port":
        y = s + relu(t)
    elif semantics == "caffe" and block == "C":
        y = relu(0.5 * s + 0.5 * t)
    else:
        y = relu(s + t)
    close(unit(x), conv(y, "3"))


@pytest.mark.parametrize(
    ("blocks", "semantics"),
    [
        ("A", "paper"),
        ("B", "paper"),
        ("C", "port"),
        ("ABC", "paper"),
        ("ABC", "caffe"),
        ("ABC", "port"),
    ],
)
def test_outputs_match_the_reference(blocks, semantics):
    reference = reference_p3d(DEPTHS, 8, 12, blocks, semantics=semantics)
    model = build(blocks=blocks, semantics=semantics)
    load(model, reference)
    x = clips(2, 16, 64, 64)
    close(ask(model, x), logits(reference, x, model.stzoo.clip))


@SEMANTICS
def test_other_sizes_and_lengths(semantics):
    """The sizes of the graph are known or unknown."""
    reference = reference_p3d(DEPTHS, 8, 12, semantics=semantics)
    free = build((None, None, None, 3), semantics=semantics)
    known = build((19, 49, 33, 3), semantics=semantics)
    load(free, reference)
    load(known, reference)
    for shape in ((16, 50, 72), (32, 64, 48), (19, 49, 33)):
        x = clips(2, *shape)
        expected = logits(reference, x, free.stzoo.clip)
        close(ask(free, x), expected)
    close(ask(known, x), expected)


@pytest.mark.parametrize("frames", [1, 5, 8])
def test_short_clips(frames):
    """Pools of Caffe keep the last frame. Those of the port need 16 frames."""
    reference = reference_p3d(DEPTHS, 8, 12)
    model = build((frames, 64, 64, 3))
    load(model, reference)
    x = clips(2, frames, 64, 64)
    close(ask(model, x), logits(reference, x, model.stzoo.clip))
    with pytest.raises(ValueError, match="needs 16 or more frames"):
        build((frames, 64, 64, 3), semantics="port")


@SEMANTICS
def test_flow(semantics):
    reference = reference_p3d(DEPTHS, 8, 12, channels=2, semantics=semantics)
    model = build((16, 64, 64, 2), modality="flow", semantics=semantics)
    load(model, reference)
    x = clips(2, 16, 64, 64, channels=2)
    close(ask(model, x), logits(reference, x, model.stzoo.clip))


@pytest.mark.parametrize(
    ("builder", "classes", "parameters", "layers"),
    [
        ("p3d_resnet50", 101, 25_132_581, 63),
        ("p3d_resnet50", 400, 25_745_232, 63),
        ("p3d_resnet101", 400, 48_088_400, 131),
        ("p3d_resnet152", 400, 66_492_240, 199),
        ("p3d_resnet152", 487, 66_670_503, 199),
    ],
)
def test_networks_match_those_of_the_authors(builder, classes, parameters, layers):
    """They have the same parameters and layers, and the blocks A, B, C in turn."""
    model = stzoo.create(builder, classes=classes)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    assert model.output_shape == (None, classes)
    assert model.get_layer("dropout").rate == 0.5
    names = [layer.name for layer in model.layers]
    counted = [n for n in names if "_conv" in n or n in ("conv1", "fc")]
    assert len(counted) == layers
    kinds = []
    for name in names:
        if name.endswith("_conv_temporal"):
            unit = name.removesuffix("_conv_temporal")
            source = model.get_layer(name).input
            after_s = source is model.get_layer(f"{unit}_relu2").output
            kinds.append("A" if f"{unit}_sum" not in names else "BC"[after_s])
    assert "".join(kinds) == ("ABC" * 16)[: len(kinds)]
    assert not any(n.startswith("layer4") and "temporal" in n for n in names)


def test_feature_maps_match_those_of_the_authors():
    model = stzoo.p3d_resnet50()
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers[1:]}
    assert shapes["conv1"] == (16, 80, 80, 64)
    assert shapes["pool1"] == (8, 40, 40, 64)
    assert shapes["pool2"] == (4, 40, 40, 256)
    assert shapes["layer2_0_conv1"] == (4, 20, 20, 128)
    assert shapes["pool3"] == (2, 20, 20, 512)
    assert shapes["layer3_5_relu"] == (2, 10, 10, 1024)
    assert shapes["pool4"] == (1, 10, 10, 1024)
    assert shapes["layer4_2_relu"] == (1, 5, 5, 2048)
    assert shapes["avgpool"] == (2048,)


@pytest.mark.parametrize("semantics", ["paper", "port"])  # "caffe" only adds a factor
def test_model_satisfies_the_contract_of_keras(semantics, tmp_path):
    check_model(partial(build, semantics=semantics), clips(2, 16, 64, 64), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": "D"}, "blocks must be one of 'ABC', 'A', 'B', 'C'. Received: 'D'"),
        ({"modality": "sound"}, "modality must be one of 'rgb', 'flow'"),
        ({"semantics": "code"}, "semantics must be one of 'paper', 'caffe', 'port'"),
        ({"modality": "flow"}, "has 3 channels, but the model has 2"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.fixture
def gluoncv(hub, monkeypatch):
    """A small network in the format of GluonCV, and an entry for it."""
    reference = reference_p3d(DEPTHS, 8, 9, semantics="port")
    data = params(gluon(reference.state_dict()))
    hub.repositories["gluon/models"] = {
        "p3d.zip": zipped({"p3d-671ba81c.params": data})
    }
    url = f"{hub.url}/gluon/models/resolve/main/p3d.zip"
    entry = dataclasses.replace(
        stzoo.zoo.ENTRIES["p3d_resnet50.kinetics400"],
        builder="p3d_tiny",
        classes=9,
        labels=(),
        repository=f"{url}#sha1={hashlib.sha1(data).hexdigest()}",
    )
    monkeypatch.setattr(
        p3d, "FAMILY", dataclasses.replace(p3d.FAMILY, entries=(entry,))
    )
    return reference


def test_weights_of_gluoncv_load_from_a_url(gluoncv, hub, tmp_path):
    """The model has the semantics and preprocessing of their training."""
    small = {"input_shape": (16, 64, 64, 3), "width": 8, "depths": DEPTHS}
    model = stzoo.p3d_tiny(pretrained="kinetics400", **small)
    assert model.stzoo.options["semantics"] == "port"
    assert model.stzoo.clip.order == "RGB"
    x = clips(2, 16, 64, 64)
    close(ask(model, x), logits(gluoncv, x, model.stzoo.clip))
    assert stzoo.p3d_tiny(pretrained=True, classes=5, **small).stzoo.classes == 5
    assert hub.fetched("p3d.zip") == 1
    stzoo.save(model, tmp_path)
    close(ask(stzoo.load(tmp_path), x), ask(model, x))
    with pytest.raises(ValueError, match="made with semantics='port'.*'paper'"):
        stzoo.p3d_tiny(pretrained="kinetics400", semantics="paper", **small)


def test_weights_that_do_not_fit_are_kept(gluoncv, hub):
    with pytest.raises(
        ValueError, match="p3d.zip.*has the shape.*The cache was not changed"
    ):
        stzoo.p3d_tiny(pretrained="kinetics400", width=4, depths=DEPTHS)
    stzoo.p3d_tiny(pretrained="kinetics400", width=8, depths=DEPTHS)
    assert hub.fetched("p3d.zip") == 1


def test_entries_of_gluoncv_have_the_names_of_their_files():
    entry = stzoo.zoo.ENTRIES["p3d_resnet50.kinetics400"]
    assert entry.repository == (
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models/"
        "p3d_resnet50_kinetics400-671ba81c.zip"
        "#sha1=671ba81c2b287ce3b9aa2393e15ff1562b705c4d"
    )
    assert entry.clip.shape == (16, 224, 224, 3)


@pytest.mark.parametrize(
    ("blocks", "semantics", "alike"),
    [
        ("A", "paper", True),
        ("ABC", "paper", True),
        ("ABC", "caffe", True),
        ("A", "port", True),
        ("ABC", "port", False),
    ],
)
def test_imagenet_weights_start_as_the_image_network(
    hub, monkeypatch, blocks, semantics, alike
):
    """Temporal convolutions initially change nothing, if the block allows it."""
    image = reference_resnet(DEPTHS, 8, 10)
    hub.repositories["timm/tiny"] = {"model.safetensors": save(image.state_dict())}
    entry = dataclasses.replace(
        stzoo.zoo.ENTRIES["p3d_resnet50.imagenet"],
        builder="p3d_tiny",
        classes=10,
        labels=(),
        repository="timm/tiny",
    )
    monkeypatch.setattr(
        p3d, "FAMILY", dataclasses.replace(p3d.FAMILY, entries=(entry,))
    )
    options = {"blocks": blocks, "semantics": semantics, "width": 8, "depths": DEPTHS}
    clip = (16, 64, 64, 3)
    model = stzoo.p3d_tiny(pretrained="imagenet", input_shape=clip, **options)
    assert model.stzoo.clip.order == "RGB"
    plain = resnet_with_stride_in_1x1(image, model.stzoo.clip, semantics)
    frame = clips(1, 64, 64)
    found = ask(model, np.repeat(frame[:, None], 16, axis=1))
    error = np.abs(found - plain(frame)).max() / np.abs(plain(frame)).max()
    assert (error < 1e-4) == alike  # a temporal norm divides by sqrt(1 + 1e-5)


def resnet_with_stride_in_1x1(image, clip, semantics):
    """Returns torchvision's network with the stride and the first pool of P3D."""
    for stage in (image.layer2, image.layer3, image.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)

    def answer(frame):
        x = (frame.astype("float64") - clip.mean) / clip.std
        x = torch.from_numpy(np.moveaxis(x, -1, 1).astype("float32"))
        x = torch.relu(image.bn1(image.conv1(x)))
        port = {"padding": 1} if semantics == "port" else {"ceil_mode": True}
        x = torch.nn.functional.max_pool2d(x, 3, 2, **port)
        x = image.layer4(image.layer3(image.layer2(image.layer1(x))))
        return image.fc(x.mean((2, 3))).detach().numpy()

    return answer


def test_flow_has_no_imagenet_weights():
    with pytest.raises(ValueError, match="made with modality='rgb'.*'flow'"):
        stzoo.p3d_resnet50(pretrained="imagenet", modality="flow")
