import dataclasses
import gc
import time
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo
from stzoo.data.frames import scale
from stzoo.data.views import clip_views
from stzoo.data.writer import write_video
from stzoo.inference import shared
from stzoo.inference import stream as streams
from stzoo.inference.predict import classify
from stzoo.inference.shared import split
from stzoo.inference.stream import stream
from stzoo.inference.views import clips_at_once
from stzoo.layers import CoST, DepthwiseConv, FrameConv, TemporalShift
from stzoo.layers.concatenate import Concatenate
from stzoo.layers.conv import ClipConv
from stzoo.layers.ends import classifier, clip_input
from stzoo.layers.network import Network
from stzoo.layers.norm import BatchNorm
from stzoo.layers.pool import FrameAverage, MaxPool
from stzoo.weights.config import ModelConfig

RATE = 8  # frames per second


def network(builder="tsn", **options):
    """A tiny model whose answers differ between windows, and how its clips are cut."""
    keras.utils.set_random_seed(0)
    clip = {"frames": 4, "stride": 2, "sampling": "dense", "short_side": 32}
    clip |= options.pop("clip", {})
    model = untrained(builder, **options)
    clip = dataclasses.replace(model.stzoo.clip, **clip)
    model.stzoo = dataclasses.replace(model.stzoo, tag="known", clip=clip)
    most, head = np.abs(numpy(model(noise(4, 32)[None]))).max(), model.get_layer("fc")
    head.kernel.assign(head.kernel * 3 / most)
    return model


def untrained(builder, **options):
    options = {"depths": (1, 1)} | options if builder == "c2d" else {"depth": 2}
    return getattr(stzoo, f"{builder}_tiny")(3, (4, 32, 32, 3), width=8, **options)


def noise(count, width=40):
    frames = np.random.default_rng(0).integers(0, 256, (count, 32, width, 3), "u1")
    return (frames * np.linspace(0, 1, count)[:, None, None, None]).astype("u1")


def timed(frames):
    return [(index / RATE, frame) for index, frame in enumerate(frames)]


def single(model, frames, windows, view="1x1"):
    """The probabilities of windows, each computed alone."""
    starts = [(round(w.start * RATE), round(w.end * RATE)) for w in windows]
    clips = [clip_views(frames[a:b], model.stzoo.clip, view) for a, b in starts]
    return np.array([classify(model, clip).mean(0) for clip in clips])


@pytest.fixture
def computed(monkeypatch):
    """The batches of frames that first halves computed."""
    batches, features = [], shared.Shared._features

    def noted(self, frames):
        frames = list(frames)
        batches.append(np.array(frames))
        return features(self, frames)

    monkeypatch.setattr(shared.Shared, "_features", noted)
    return batches


@pytest.mark.parametrize(
    "builder, options",
    [
        ("tsn", {}),
        ("tsn", {"clip": {"sampling": "segments"}}),
        ("trn", {}),
        ("c2d", {}),
    ],
)
def test_answers_are_those_of_single_windows(builder, options, computed):
    model, frames = network(builder, **options), noise(30)
    windows = list(stream(model, timed(frames), 0.25, 1.0, sample_fps=RATE))
    assert len(windows) == 12 and computed
    found = np.array([window.probabilities for window in windows])
    close(found, single(model, frames, windows))
    assert np.ptp(found, axis=0).max() > 1e-3


def test_several_labels_a_video(computed):
    model, frames = network(), noise(30)
    model.stzoo = dataclasses.replace(model.stzoo, multi_label=True)
    windows = list(stream(model, timed(frames), 0.25, 1.0, sample_fps=RATE))
    found = np.array([window.probabilities for window in windows])
    assert computed and not np.allclose(found.sum(1), 1)
    close(found, single(model, frames, windows))


def test_three_views_of_a_file(tmp_path, computed):
    model, path = network(), str(tmp_path / "long.mp4")
    write_video(path, noise(30, width=64), RATE)
    clips = []
    windows = list(stream(model, path, 0.25, 1.0, views="1x3"))
    assert sum(map(len, computed)) == 3 * (30 // 2)
    with streams.open_source(path) as source:
        clips = np.array([picture(32) for _, picture in source])
    found = [window.probabilities for window in windows]
    close(np.array(found), single(model, clips, windows, "1x3"))


def test_a_live_source(computed):
    model, frames = network(), noise(30)

    class Live:
        is_live, fps = True, RATE

        def __iter__(self):
            for item in timed(frames):
                yield item
                time.sleep(0.02)

    windows = list(stream(model, Live(), 0.25, 1.0, sample_fps=RATE))
    assert computed and len(windows[0].probabilities)
    found = np.array([window.probabilities for window in windows])
    close(found, single(model, frames, windows))
    assert sum(map(len, computed)) <= 15 + 1  # one that builds the graph


def test_each_frame_is_computed_once(computed):
    frames = noise(50)
    windows = list(stream(network(), timed(frames), 0.25, 1.0, sample_fps=RATE))
    assert len(windows) == 22
    np.testing.assert_array_equal(np.concatenate(computed), frames[:50:2, :, 4:36])


def test_two_grids_of_frames_are_both_kept(computed):
    frames = noise(40)  # every second window shows the odd frames
    list(stream(network(), timed(frames), 1 / RATE, 1.0, sample_fps=RATE))
    assert sum(map(len, computed)) == 39


def test_features_are_kept_only_as_long_as_a_window_needs_them(monkeypatch):
    kept, classify_all = [], shared.Shared.classify

    def noted(self, windows):
        found = classify_all(self, windows)
        kept.append(len(self._known))
        return found

    monkeypatch.setattr(shared.Shared, "classify", noted)
    list(stream(network(), timed(noise(200)), 1 / RATE, 1.0, sample_fps=RATE))
    assert len(kept) > 20 and max(kept) == 7  # frames from the first to the last


def test_frames_of_another_size_are_not_confused(computed):
    model, frames = network(), [*noise(20), *noise(20, width=60)]
    windows = list(stream(model, timed(frames), 0.25, 1.0, sample_fps=RATE))
    assert computed
    for window in windows:
        part = frames[round(window.start * RATE) : round(window.end * RATE)]
        width = part[7].shape[1]  # that of the last frame of the clip
        part = np.stack([scale(frame, 32, width) for frame in part])
        expected = classify(model, clip_views(part, model.stzoo.clip)).mean(0)
        close(window.probabilities, expected)


def chosen(model, every=0.25, view="1x1", size=1, **clip):
    """What `stream` shares for these windows of 1 s."""
    config = dataclasses.replace(
        model.stzoo, clip=dataclasses.replace(model.stzoo.clip, **clip)
    )
    source = SimpleNamespace(fps=RATE)
    cutting = streams.Cutting.of(config, source, every, 1.0, view, None)
    return shared.sharing(model, cutting, RATE, size)


def test_features_are_shared_only_where_it_saves_work(monkeypatch):
    tsn = network()
    assert chosen(tsn).together == 1
    most = 4 * clips_at_once()
    assert chosen(tsn, every=0.5, view="1x3", size=2).together == min(12, most)
    assert chosen(tsn, every=1.0) is None  # no overlap
    assert chosen(tsn, every=3 / RATE, stride=4, frames=2) is None  # other frames
    assert chosen(tsn, every=3 / RATE, stride=4, frames=2, view="3x1")  # all the same
    size = 5 * 4 * 4 * 40 * 4  # bytes of 5 frames, 4x4 places, 40 channels
    monkeypatch.setattr(shared, "MOST", size)
    assert chosen(tsn)
    monkeypatch.setattr(shared, "MOST", size - 1)
    assert chosen(tsn) is None


def test_a_model_without_a_first_half_sees_whole_windows(computed):
    config = ModelConfig("mine", classes=3, clip=network().stzoo.clip, tag="known")
    inputs, x = clip_input(config.clip)
    x = ClipConv(2, (3, 1, 1))(x)
    model = Network(inputs, classifier(x, 3, 0.5))
    model.stzoo = config
    frames = noise(20)
    windows = list(stream(model, timed(frames), 0.25, 1.0, sample_fps=RATE))
    assert not computed
    found = np.array([window.probabilities for window in windows])
    close(found, single(model, frames, windows))


@pytest.mark.parametrize(
    "layer, is_by_frame",
    [
        (ClipConv(2, (1, 3, 3)), True),
        (ClipConv(2, (3, 1, 1)), False),
        (ClipConv(2, (1, 1, 1), (2, 1, 1)), False),
        (FrameConv(2, 3, 2), True),
        (DepthwiseConv(3), True),
        (MaxPool((1, 3, 3), (1, 2, 2)), True),
        (MaxPool((2, 1, 1), (2, 1, 1)), False),
        (MaxPool((2, 1, 1), (1, 1, 1)), False),
        (MaxPool((1, 1, 1), (2, 1, 1)), False),
        (MaxPool((1, 1, 1), (1, 1, 1), ((1, 0), (0, 0), (0, 0))), False),
        (BatchNorm(), True),
        (BatchNorm(axis=1), False),
        (FrameAverage(), True),
        (keras.layers.ReLU(), True),
        (keras.layers.Activation("softmax"), False),  # unknown layers are not trusted
        (CoST(3), False),
        (TemporalShift(), False),
    ],
)
def test_layers_that_see_one_frame(layer, is_by_frame):
    inputs = keras.Input((4, 8, 8, 3))
    model = Network(inputs, classifier(layer(inputs), 2, 0.5))
    found = split(model)
    assert bool(found) == is_by_frame
    if found:
        assert found[0].inner == [layer]


def test_the_cut_is_the_last_tensor_that_everything_needs():
    inputs = keras.Input((4, 8, 8, 3))
    stem = FrameConv(4, 3, name="stem")(inputs)  # 4 frames, 64 pixels, 108 weights
    x = FrameConv(4, 1, name="inner")(stem)
    x = ClipConv(4, (3, 1, 1), name="temporal")(x)  # 48 weights
    x = keras.layers.Add(name="add")([stem, x])
    model = Network(inputs, classifier(x, 2, 0.5))  # fc: 8 weights
    first, rest, share, size = split(model)
    assert [layer.name for layer in first.inner] == ["stem"]
    assert size == 4 * 64 * 4
    assert share == pytest.approx(108 * 256 / (256 * (108 + 16 + 48) + 8))
    x = noise(4, 8)[None, :, :8] / 255
    features = first.predict_on_batch(np.swapaxes(x, 0, 1))
    close(rest.predict_on_batch(np.swapaxes(features, 0, 1)), model(x))


@pytest.mark.parametrize(
    "join, last",
    [
        (Concatenate(name="both"), "both"),
        (keras.layers.Add(name="both"), "both"),
        (keras.layers.Concatenate(1, name="both"), "stem"),
    ],
)
def test_frames_that_are_joined_in_time_are_not_single_frames(join, last):
    inputs = keras.Input((4, 8, 8, 3))
    x = FrameConv(3, 1, name="stem")(inputs)
    sides = [FrameConv(2, 1, name=name)(x) for name in "ab"]
    x = join(sides)
    first, *_ = split(Network(inputs, classifier(x, 2, 0.5)))
    assert first.inner[-1].name == last


@pytest.mark.parametrize(
    "builder, options, last",
    [
        ("c2d", {}, "layer1_0_relu"),
        ("c2d", {"pooling": "paper"}, "conv1_relu"),
        ("c2d", {"pooling": "spatial"}, "layer2_0_relu"),
        ("tsn", {}, "inception_3b_output"),
        ("trn", {}, "feature"),
        ("tsm", {}, "pool1_3x3_s2"),
    ],
)
def test_where_networks_begin_to_look_along_time(builder, options, last):
    first, *_ = split(untrained(builder, **options))
    assert first.inner[-1].name == last


def test_halves_follow_a_model_that_changes_and_end_with_it():
    model = network()
    before = chosen(model)
    assert chosen(model).rest is before.rest
    model.get_layer("fc").enable_lora(2)
    assert chosen(model).rest is not before.rest
    rest = weakref.ref(chosen(model).rest)
    del model, before
    gc.collect()  # the model
    gc.collect()  # what was kept for it
    assert rest() is None
