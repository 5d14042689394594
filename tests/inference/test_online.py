import dataclasses

import keras
import numpy as np
import pytest
from harness import close, numpy, randomize

import stzoo
from stzoo.data.views import clip_views
from stzoo.inference.predict import softmax
from stzoo.layers import TemporalShift

RNG = np.random.default_rng(0)
WIDTHS = {"bn_inception": 8, "mobilenetv2": 16, "resnet50": 8}


def build(backbone="bn_inception", frames=3, **options):
    """A TSM with known weights: small, and deep enough for two shifts."""
    keras.utils.set_random_seed(0)
    options = {"shift": "online", "depth": 2, "width": WIDTHS[backbone]} | options
    if backbone != "bn_inception":
        options["depth"] = 11
    shape = (frames, 64, 64, 3)
    model = stzoo.tsm_tiny(5, shape, backbone=backbone, **options)
    model.stzoo = dataclasses.replace(model.stzoo, tag="known")
    return model


def vary(model):
    """Makes the batch norms non-trivial, and no answer certain."""
    head = model.get_layer("fc")
    head.kernel.assign(0.01 * head.kernel)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(RNG.uniform(0.8, 1.2, weight.shape))
        if weight.path.endswith(("beta", "moving_mean")):
            weight.assign(RNG.uniform(-0.2, 0.2, weight.shape))


def film(frames, *size):
    return RNG.integers(0, 256, (frames, *size, 3)).astype("uint8")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", WIDTHS)
def test_each_prefix_is_that_of_the_offline_run(backbone):
    """The features are compared after fusion, whose rounding a MobileNetV2 of random
    weights amplifies to 1.5e-5.
    """
    model = build(backbone, frames=None, depth=11)
    vary(model)
    fused = stzoo.fuse(model)
    offline = keras.Model(fused.input, fused.get_layer("avgpool").input)
    online, frames = stzoo.online(model, frames=9), film(4, 64, 64)
    step = online.network
    step = keras.Model(step.input, [step.get_layer("avgpool").input, *step.output])
    shifts = sum(isinstance(layer, TemporalShift) for layer in model.layers)
    states = [np.zeros((1, *x.shape[1:]), "float32") for x in step.input[1:]]
    assert len(states) == shifts >= 10
    features, found = [], []
    for count in range(1, 5):
        frame = frames[count - 1].astype("float32")[None, None]
        seen, logits, *states = map(numpy, step.predict_on_batch([frame, *states]))
        features.append(seen)
        prefix = frames[None, :count]
        close(np.concatenate(features, axis=1), offline.predict_on_batch(prefix))
        found.append(online.step(frames[count - 1]))
        close(found[-1], logits[0])
        mean = model.predict_on_batch(prefix)[0]
        close(np.mean(found, axis=0), mean)
        close(online.probabilities, softmax(mean))


def test_an_answer_is_the_mean_of_the_last_frames():
    model = build(frames=3)
    vary(model)
    online, frames = stzoo.online(model), film(5, 64, 64)
    found = [online(frame) for frame in frames]
    logits = np.array([answer.logits for answer in found])
    assert np.abs(np.diff(logits, axis=0)).max(1).min() > 1e-3 * np.abs(logits).max()
    for index, answer in enumerate(found):
        expected = softmax(logits[max(0, index - 2) : index + 1].mean(0))
        close(answer.probabilities, expected)
        best = np.argsort(-expected)
        assert [label for label, _ in answer.answers] == [f"class {i}" for i in best]
        assert [share for _, share in answer.answers] == pytest.approx(expected[best])
    last = stzoo.online(model, frames=1)
    for frame, answer in zip(frames, found, strict=True):
        close(last(frame).probabilities, softmax(answer.logits))


def test_reset_forgets_all_frames():
    online, (one, other) = stzoo.online(build()), film(2, 64, 64)
    first = online(other).probabilities
    online(one)
    online.reset()
    np.testing.assert_array_equal(online(other).probabilities, first)


def test_frames_are_prepared_as_clips_are():
    model = build(frames=1)
    frames = film(1, 90, 150)
    (prepared,) = clip_views(frames, model.stzoo.clip)
    online = stzoo.online(model)
    found = online(frames[0]).logits
    online.reset()
    np.testing.assert_array_equal(online.step(prepared[0]), found)


def test_the_model_is_not_changed_and_its_weights_are_copied():
    model, frames = build(), film(3, 64, 64)
    online = stzoo.online(model)
    before = online(frames[0]).logits
    names = [layer.name for layer in model.layers if len(layer._inbound_nodes) > 1]
    assert not names
    randomize(model)
    online.reset()
    np.testing.assert_array_equal(online(frames[0]).logits, before)


def test_a_fused_model_stays_as_it_is():
    model = build()
    fused, frame = stzoo.fuse(model), film(1, 64, 64)[0]
    expected = fused.predict_on_batch(np.stack([frame] * 3)[None])
    close(stzoo.online(fused)(frame).logits, stzoo.online(model)(frame).logits)
    close(fused.predict_on_batch(np.stack([frame] * 3)[None]), expected, 0)
    stzoo.online(fused)


def test_states_keep_the_precision_of_the_model():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(frames=None)
    finally:
        keras.config.set_dtype_policy(policy)
    online, frames = stzoo.online(model, frames=4), film(4, 64, 64)
    assert {state.dtype for state in online.network.input[1:]} == {"bfloat16"}
    for frame in frames:
        found = online(frame)
    expected = softmax(numpy(model.predict_on_batch(frames[None])))[0]
    close(found.probabilities, expected, 2e-2)
    assert found.logits.dtype == "float32"


def test_the_network_survives_a_file(tmp_path):
    online = stzoo.online(build())
    online.network.save(tmp_path / "frame.keras")
    copy = keras.models.load_model(tmp_path / "frame.keras")
    inputs = [RNG.normal(size=(2, *x.shape[1:])).astype("f4") for x in copy.input]
    expected = online.network.predict_on_batch(inputs)
    for found, value in zip(copy.predict_on_batch(inputs), expected, strict=True):
        close(found, value, 0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: build(shift="offline"), 'Build and train a TSM with shift="online"'),
        (lambda: stzoo.tsn_tiny(width=4, depth=1), "has no memory of earlier ones"),
        (lambda: build(frames=None), "the clips of the model have any number"),
        (
            lambda: stzoo.tsm_tiny(5, (2, None, None, 3), shift="online", depth=1),
            "takes frames of any size. Build or load it with input_shape=",
        ),
        (lambda: keras.Sequential(name="mine"), "'mine' was not built by stzoo"),
    ],
)
def test_models_that_cannot_take_frames_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        stzoo.online(make())


def test_an_exported_model_is_refused():
    model = build()
    model.stzoo = dataclasses.replace(model.stzoo, export={"format": "onnx"})
    with pytest.raises(ValueError, match="Pass the model that was exported"):
        stzoo.online(model)


@pytest.mark.parametrize("frames", [0, -1, 1.5, True, "3"])
def test_wrong_numbers_of_frames(frames):
    with pytest.raises(ValueError, match="frames must be an integer, at least 1"):
        stzoo.online(build(), frames=frames)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((64, 64, 3), "float32"),
        np.zeros((64, 64), "uint8"),
        np.zeros((64, 64, 4), "uint8"),
        np.zeros((1, 64, 64, 3), "uint8"),
        np.zeros((0, 64, 3), "uint8"),
        "frame.png",
    ],
)
def test_wrong_frames(frame):
    online = stzoo.online(build())
    with pytest.raises(ValueError, match="A frame must be a uint8 array"):
        online(frame)


def test_there_is_no_answer_before_the_first_frame():
    online = stzoo.online(build())
    with pytest.raises(ValueError, match="no answer before the first frame"):
        print(online.probabilities)
