"""A fused model has the outputs of the original."""

import logging

import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo
from stzoo.layers import BatchNorm, ClipConv, CoST

# Two blocks of CoST and C3D, one of them with a stride; A, B, C and a 2D block of P3D.
SMALL = {"width": 8, "depths": (2, 1, 1)}
ABC = {"width": 8, "depths": (1, 1, 1)}
FEW = {"width": 8, "depth": 2}
# Builder, options, frames, batch norms that are not folded.
FAMILIES = [
    ("c2d_tiny", SMALL, 2, 0),
    ("c3d_tiny", SMALL | {"kernel": "3x1x1"}, 4, 0),
    ("c3d_tiny", SMALL | {"kernel": "3x3x3"}, 4, 0),
    ("cost_tiny", SMALL | {"variant": "a"}, 5, 0),
    ("cost_tiny", SMALL | {"variant": "b"}, 5, 2),
    ("p3d_tiny", ABC | {"semantics": "paper"}, 6, 0),
    ("p3d_tiny", ABC | {"semantics": "caffe"}, 6, 0),
    ("p3d_tiny", ABC | {"semantics": "port"}, 16, 0),
    ("tsn_tiny", FEW | {"backbone": "inception_v3"}, 1, 0),
    ("stm_tiny", {"width": 16, "depths": (1, 1)}, 3, 0),
    ("tsm_tiny", FEW, 3, 0),
    ("tsm_tiny", {"backbone": "mobilenetv2", "shift": "online", "width": 8}, 3, 0),
    ("gsm_tiny", FEW | {"attention": True}, 3, 2),
    ("cstm_tiny", FEW, 3, 2),
    ("cstm_tiny", FEW | {"fusion": "sum", "shift": "tsm"}, 3, 2),
    ("s3d_tiny", {"width": 8, "gating": True}, 8, 0),
    ("trn_tiny", FEW | {"units": 16}, 3, 0),
    ("stpn_tiny", {"width": 4, "length": 2, "dim": 32}, 6, 0),
    ("videomae_tiny", {"width": 24, "depth": 1}, 4, 0),
    ("vjepa2_tiny", {"width": 24, "depth": 1}, 4, 0),
]
LARGE = ("s3d_tiny", "stpn_tiny")


def build(name, options, frames):
    """Returns a model with statistics far from 0 and 1, scales of both signs, and open
    gates.
    """
    side = 75 if options.get("backbone") == "inception_v3" else 32
    keras.utils.set_random_seed(0)
    channels = 5 if name == "stpn_tiny" else 3
    model = stzoo.create(name, input_shape=(frames, side, side, channels), **options)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = rng.normal(size=weight.shape)
        if weight.path.endswith("variance"):
            weight.assign(0.3 + noise**2)
        elif weight.path.endswith("gamma"):
            weight.assign(1 + 0.7 * noise)
        elif not weight.trainable and "mean" not in weight.path:
            continue  # a sketch
        elif len(weight.shape) == 1 or weight.path.endswith("alpha"):
            weight.assign(noise)
        elif not numpy(weight).any():
            weight.assign(0.02 * noise)
    return model


def clips(model):
    shape = (2, *model.input_shape[1:])
    return np.random.default_rng(1).integers(0, 256, shape).astype("uint8")


def answer(model):
    return numpy(model(clips(model)))


@pytest.fixture(scope="module")
def model():
    return build("cost_tiny", {"width": 4, "depths": (2, 1, 1), "variant": "a"}, 3)


@pytest.mark.parametrize(
    ("name", "options", "frames", "stay"),
    [
        pytest.param(*family, marks=pytest.mark.slow if family[0] in LARGE else ())
        for family in FAMILIES
    ],
    ids=str,
)
def test_a_loaded_fused_model_has_the_same_outputs(
    name, options, frames, stay, tmp_path
):
    model = build(name, options, frames)
    fused = stzoo.fuse(model)
    left = [layer for layer in fused.layers if isinstance(layer, BatchNorm)]
    assert len(left) == stay
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in fused.layers)
    for layer in fused.layers:
        if isinstance(layer, keras.layers.ReLU):  # follows a batch norm
            assert not isinstance(layer.input._keras_history.operation, ClipConv)
        if isinstance(layer, keras.layers.Add):  # without a convolution to add it
            made_by = [term._keras_history.operation for term in layer.input]
            assert not any(
                isinstance(one, ClipConv) and one.activation is None for one in made_by
            )
    stzoo.save(fused, tmp_path)
    loaded = stzoo.load(tmp_path)
    assert loaded.stzoo.fused
    assert loaded.stzoo.options == model.stzoo.options
    for weight, other in zip(fused.weights, loaded.weights, strict=True):
        assert weight.path == other.path
        np.testing.assert_array_equal(numpy(weight), numpy(other))
    close(answer(loaded), answer(model))


def test_a_compiled_model_is_fused(model):
    expected = answer(model)
    model.compile("sgd", "mse")
    close(answer(stzoo.fuse(model)), expected)


def test_the_model_is_unchanged_and_fusing_twice_has_no_effect(model):
    before = [numpy(weight) for weight in model.weights]
    fused = stzoo.fuse(model)
    assert stzoo.fuse(fused) is fused
    assert fused.name == model.name
    assert not model.stzoo.fused
    assert isinstance(model.get_layer("layer1_1_conv2"), CoST)
    assert isinstance(fused.get_layer("layer1_1_conv2"), ClipConv)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), old)


def test_keras_loads_a_fused_model(model, tmp_path):
    fused = stzoo.fuse(model)
    fused.save(tmp_path / "model.keras")
    close(answer(keras.saving.load_model(tmp_path / "model.keras")), answer(fused))


def test_predict_takes_a_fused_model():
    model = stzoo.cost_tiny(pretrained="motions")
    video = np.random.default_rng(0).integers(0, 256, (60, 72, 96, 3)).astype("uint8")
    expected = stzoo.predict(model, video)
    found = stzoo.predict(stzoo.fuse(model), video)
    assert [label for label, _ in found] == [label for label, _ in expected]
    np.testing.assert_allclose(
        [share for _, share in found], [share for _, share in expected], atol=1e-5
    )


def test_a_fused_model_loads_with_another_head_and_size(model, tmp_path, caplog):
    stzoo.save(stzoo.fuse(model), tmp_path, labels=[f"class {i}" for i in range(12)])
    other = stzoo.load(tmp_path, classes=5, input_shape=(6, 40, 48, 3))
    assert caplog.record_tuples == [
        ("stzoo", logging.WARNING, caplog.messages[0]),
    ]
    assert other.input_shape == (None, 6, 40, 48, 3)
    assert other.output_shape == (None, 5)
    assert other.stzoo.labels == ()
    assert stzoo.load(tmp_path).stzoo.labels[3] == "class 3"


def test_bad_models_are_refused(model, tmp_path):
    features = keras.Model(model.input, model.get_layer("avgpool").output)
    with pytest.raises(ValueError, match="Only a model from a builder of stzoo"):
        stzoo.fuse(features)
    stzoo.save(stzoo.fuse(model), tmp_path)
    with pytest.raises(ValueError, match="fused cost_tiny. Use `stzoo.load"):
        stzoo.cost_tiny(pretrained=tmp_path)
