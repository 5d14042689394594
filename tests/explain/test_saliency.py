import keras
import measure_saliency
import numpy as np
import pytest
from harness import close, numpy

import stzoo
from stzoo.deploy.runtime import Exported
from stzoo.explain.saliency import _cut, overlay, saliency

RNG = np.random.default_rng(0)
SMALL = dict(input_shape=(4, 32, 32, 3), classes=5, width=8, depths=(2, 1, 1, 1))


def test_maps_match_the_equations():
    """After the last block, the gradient is the weights of the head, divided by the
    number of locations.
    """
    model = stzoo.cost_tiny(**SMALL)
    clips = RNG.integers(0, 256, (2, 4, 32, 32, 3)).astype("uint8")
    last_layer = model.get_layer("layer4_0_relu")
    assert last_layer.output is model.get_layer("avgpool").input
    maps = numpy(keras.Model(model.input, last_layer.output)(clips))
    head = model.get_layer("fc").kernel
    signs = np.array([1, -1, 1, 1, 0])  # there is no evidence for classes 1 and 4
    head.assign(signs * np.abs(RNG.normal(size=head.shape)))
    kernel = numpy(head)
    for classes in ([3, 1], [4, 2], [0, 3], None):
        found = saliency(model, clips, last_layer.name, classes)
        chosen = classes or numpy(model(clips)).argmax(-1)
        assert found.shape == (2, 4, 32, 32)
        for clip, number in enumerate(chosen):
            expected = np.maximum(maps[clip] @ kernel[:, number], 0)
            expected = expected / max(expected.max(), 1e-12)
            assert expected.shape == (2, 1, 1)  # so that only time is resized
            first, second = expected[:, 0, 0]
            line = [first, first + (second - first) / 4, second - (second - first) / 4]
            line = np.array([*line, second])
            assert (line.max() > 0) == (signs[number] > 0)
            line = np.broadcast_to(line[:, None, None], (4, 32, 32))
            close(found[clip], line / (line.max() or 1))


def test_gradients_match_finite_differences():
    model = stzoo.cost_tiny(**SMALL)
    clips = RNG.integers(0, 256, (1, 4, 32, 32, 3)).astype("uint8")
    name = "layer2_0_relu"
    maps = numpy(keras.Model(model.input, model.get_layer(name).output)(clips))
    tail = keras.Model(model.get_layer(name).output, model.output)
    steps = 0.01 * np.eye(maps.size, dtype="float32").reshape(-1, *maps.shape[1:])
    change = numpy(tail(maps + steps)) - numpy(tail(maps - steps))
    gradients = change.reshape(*maps.shape[1:], 5) / 0.02
    classes = np.maximum(np.einsum("thwc,thwcn->thwn", maps[0], gradients), 0)
    number = classes.max((0, 1, 2)).argmax()  # other classes may have no evidence
    expected = classes[..., number]
    found = saliency(model, clips, layer=name, classes=[number])
    coarse = found.reshape(2, 2, 4, 8, 4, 8).mean((1, 3, 5))
    places = expected.ravel() > 0.5 * expected.max()
    assert places.any() and expected.shape == coarse.shape
    assert coarse.ravel()[places].min() > coarse.ravel()[expected.ravel() == 0].max(
        initial=0
    )


def test_the_moving_shape_is_salient():
    """The shape has a larger share of the saliency than of the area."""
    model = stzoo.cost_tiny(pretrained="motions")
    mass, area = measure_saliency.measure(model, 24)  # at the default layer
    told = ~np.isnan(mass)
    assert np.mean(told) > 0.9  # the others have no evidence for the class
    assert np.mean(mass[told] / area[told]) > 2
    assert np.mean(mass[told] > area[told]) > 0.75


@pytest.mark.parametrize(
    ("side", "layer"),
    [(64, "layer2_0_relu"), (128, "layer3_0_relu"), (224, "layer4_0_relu")]
    + [(16, "conv1_relu"), (6, "layer4_0_relu")],  # no layer of the last has 7x7 places
)
def test_the_default_is_the_last_layer_with_enough_places(side, layer):
    model = stzoo.cost_tiny(5, (4, side, side, 3), width=4, depths=(1, 1, 1, 1))
    maps, _ = _cut(model, None)
    assert maps.output is model.get_layer(layer).output


def test_overlay_colours_the_salient_parts():
    frames = RNG.integers(0, 256, (3, 4, 6, 3)).astype("uint8")
    maps = np.zeros((3, 4, 6))
    maps[1, 2] = 1
    found = overlay(frames, maps)
    assert found.dtype == np.uint8
    grey = np.rint(frames.mean(-1))
    close(found[0], np.repeat(grey[0, ..., None], 3, -1))
    exact = frames[1, 2].mean(-1, keepdims=True)
    vermilion = np.array([213, 94, 0])  # #D55E00 of Okabe and Ito
    assert abs(found[1, 2] - (0.3 * exact + 0.7 * vermilion)).max() <= 0.51
    half = overlay(frames, maps / 2)[1, 2]
    assert abs(half - (0.65 * exact + 0.35 * vermilion)).max() <= 0.51


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("avgpool", "avgpool has no maps"),
        ("layer1_0_conv2", "A part of cost_tiny bypasses layer1_0_conv2"),
        (
            "layer9",
            "cost_tiny has no layer 'layer9'. The last ones are: .*layer4_0_relu",
        ),
    ],
)
def test_unsuitable_layers_are_refused(layer, message):
    clips = np.zeros((1, 4, 32, 32, 3), "uint8")
    with pytest.raises(ValueError, match=message):
        saliency(stzoo.cost_tiny(**SMALL), clips, layer)


def test_weights_with_nan_are_refused():
    model = stzoo.cost_tiny(**SMALL)
    model.get_layer("fc").bias.assign(np.full(5, np.nan))
    with pytest.raises(ValueError, match="logits of cost_tiny contain NaN"):
        saliency(model, np.zeros((1, 4, 32, 32, 3), "uint8"))


TINY = [name for name in stzoo.list_models("*_tiny") if name != "stpn_tiny"]


@pytest.mark.parametrize("builder", TINY)
def test_every_model_with_one_stream_has_maps(builder):
    frames = 16 if builder == "s3d_tiny" else 4
    clips = RNG.integers(0, 256, (1, frames, 64, 64, 3)).astype("uint8")
    width = 12 if builder in ("videomae_tiny", "vjepa2_tiny") else 8
    model = stzoo.create(builder, input_shape=clips.shape[1:], width=width)
    assert saliency(model, clips).shape == clips.shape[:-1]


def test_exported_models_have_no_gradients():
    model = object.__new__(Exported)
    model.folder = "runs/exported"
    problem = "^runs/exported is an exported model, which has no gradients"
    with pytest.raises(ValueError, match=problem):
        saliency(model, np.zeros((1, 8, 64, 64, 3), "uint8"))


def test_two_streams_have_no_layer_through_which_all_passes():
    model = stzoo.stpn_tiny(width=8)
    clips = np.zeros((1, *model.input_shape[1:]), "uint8")
    with pytest.raises(ValueError, match="stpn_tiny has two streams.*`attention`"):
        saliency(model, clips)
    with pytest.raises(ValueError, match="bypasses spatial_inception_5b_output"):
        saliency(model, clips, "spatial_inception_5b_output")
