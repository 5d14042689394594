import contextlib
import dataclasses
import threading
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo
from stzoo.data import motions
from stzoo.data.stream import Source
from stzoo.data.video import Video
from stzoo.data.views import clip_views
from stzoo.data.writer import write_video
from stzoo.inference import stream as streams
from stzoo.inference.online import Online
from stzoo.inference.predict import softmax
from stzoo.inference.stream import SECONDS, stream
from stzoo.weights.config import ClipConfig, ModelConfig


def model(dataset="", seconds=0.0, **clip):
    """A network that keeps its clips, and answers with their first grey."""
    clip = {"frames": 4, "stride": 2, "height": 8, "width": 8, "short_side": 8} | clip
    seen = []

    def predict_on_batch(clips):
        time.sleep(seconds)
        seen.extend(clips)
        greys = clips[:, 0, 0, 0, 0].astype("float32")
        return np.stack([greys / 100, 1 - greys / 100], axis=1)

    config = ModelConfig(
        "fake",
        classes=2,
        tag="known",
        dataset=dataset,
        labels=("light", "dark"),
        clip=ClipConfig(**clip),
    )
    return SimpleNamespace(stzoo=config, predict_on_batch=predict_on_batch, seen=seen)


def film(count, height=8, width=12):
    greys = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (count, height, width, 3)).copy()


def timed(frames, fps=10, start=0.0):
    return [(start + index / fps, frame) for index, frame in enumerate(frames)]


def greys(clips):
    return [clip[:, 0, 0, 0].tolist() for clip in clips]


def test_windows_of_a_dense_clip():
    network, frames = model(), film(40)
    windows = list(stream(network, timed(frames), every=0.5, sample_fps=10))
    assert [w.start for w in windows] == pytest.approx(np.arange(7) * 0.5)
    assert [w.end - w.start for w in windows] == pytest.approx([0.8] * 7)
    starts = [0, 5, 10, 15, 20, 25, 30]
    assert greys(network.seen)[:7] == [[s, s + 2, s + 4, s + 6] for s in starts]
    for window, start in zip(windows, starts, strict=True):
        expected = softmax(np.array([start / 100, 1 - start / 100]))
        np.testing.assert_allclose(window.probabilities, expected, rtol=1e-5)
        label, probability = window.answers[0]
        assert label == window.labels[expected.argmax()]
        assert probability == pytest.approx(expected.max())
        assert 0 <= window.lag < 5 and window.dropped == 0


@pytest.mark.parametrize("views", ["1x1", "2x3"])
@pytest.mark.parametrize(
    "clip", [{"sampling": "segments"}, {"stride": 3, "snippet": 2}, {"frames": 2}]
)
def test_windows_are_fed_like_their_part_of_the_video(views, clip):
    network, frames = (
        model(**clip),
        np.random.default_rng(0).integers(0, 256, (50, 8, 20, 3), "u1"),
    )
    windows = stream(network, timed(frames), 0.7, 1.6, views, sample_fps=10)
    starts = [round(10 * window.start) for window in windows]
    assert starts == [0, 7, 14, 21, 28]
    parts = [frames[start : start + 16] for start in starts]
    expected = [clip_views(part, network.stzoo.clip, views) for part in parts]
    count = sum(map(len, expected))
    np.testing.assert_array_equal(network.seen[:count], np.concatenate(expected))


def test_the_times_of_frames_count_not_their_number():
    network = model(frames=2, stride=1)
    times = [0.0, 0.9, 1.0, 1.1, 2.5, 2.6]  # of frames 0 to 5
    frames = zip(times, film(6), strict=True)
    windows = list(stream(network, frames, every=1.0, sample_fps=2))
    assert [(w.start, w.end) for w in windows] == [(0, 1), (1, 2)]
    assert greys(network.seen)[:2] == [[0, 0], [3, 3]]  # shown at .25 .75, 1.25 1.75


def test_times_that_do_not_start_at_zero_are_kept():
    windows = list(stream(model(), timed(film(20), start=1e6), sample_fps=10))
    assert [window.start for window in windows] == [1e6, 1e6 + 1]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_short_video_is_one_window(count):
    network, frames = model(), film(count)
    (window,) = stream(network, timed(frames), sample_fps=10)
    assert window.end == pytest.approx(count / 10)
    np.testing.assert_array_equal(
        network.seen[0], clip_views(frames, network.stzoo.clip)[0]
    )


def test_a_video_without_frames_has_no_windows():
    assert list(stream(model(), [])) == []


def test_the_usual_length_of_the_data_set_is_a_window():
    for name, seconds in (("jester", 3.0), ("motions", 1.75), ("", 3.0)):
        network = model(name, sampling="segments")
        window = next(stream(network, timed(film(99)), sample_fps=20))
        assert window.end == seconds == SECONDS.get(name, 3.0)


def test_answers_are_those_of_predict_for_each_part(tmp_path):
    network = stzoo.cost_tiny(pretrained="motions")
    path, clip = tmp_path / "long.mp4", network.stzoo.clip
    frames = np.concatenate([motions.render([7, i])[0] for i in range(2)])
    write_video(path, frames, 12)
    with Video(path) as video:
        resized = video.read(range(len(video)), clip.short_side)
    windows = list(stream(network, path, every=0.5, top=12))
    assert len(windows) == 5
    for window in windows:
        start, end = round(12 * window.start), round(12 * window.end)
        expected = dict(stzoo.predict(network, resized[start:end], top=12))
        assert dict(window.answers) == pytest.approx(expected, abs=1e-5)
    window = next(stream(network, path, span=2.5, top=12, views="2x1"))
    part = resized[: round(12 * window.end)]
    expected = dict(stzoo.predict(network, part, top=12, views="2x1"))
    assert dict(window.answers) == pytest.approx(expected, abs=1e-5)


def test_optical_flow_is_that_of_the_part():
    cv2 = pytest.importorskip("cv2")
    assert cv2
    network = model(mean=(128.0, 128.0), std=(1.0, 1.0), height=24, short_side=24)
    frames = np.random.default_rng(1).integers(0, 256, (30, 24, 24, 3), "u1")
    windows = list(stream(network, timed(frames), 1.0, 1.2, sample_fps=10))
    parts = [frames[round(10 * w.start) :][:12] for w in windows]
    expected = [clip_views(part, network.stzoo.clip)[0] for part in parts]
    assert len(expected) == 2
    np.testing.assert_array_equal(network.seen[:2], expected)


def test_smooth_averages_the_latest_windows():
    plain = list(stream(model(), timed(film(60)), 0.5, sample_fps=10))
    smooth = list(stream(model(), timed(film(60)), 0.5, smooth=1.1, sample_fps=10))
    rows = np.array([window.probabilities for window in plain])
    for index, window in enumerate(smooth):
        expected = rows[max(0, index - 2) : index + 1].mean(0)
        np.testing.assert_allclose(window.probabilities, expected, rtol=1e-5)


def test_frames_are_kept_only_as_long_as_a_window_needs_them():
    cutting = streams.Cutting.of(
        model().stzoo, SimpleNamespace(fps=10), 0.5, None, "1x1", None
    )
    cutter, most, count = streams._Cutter(cutting), 0, 0
    picture = np.zeros((8, 8, 3), np.uint8)
    frames = ((index / 10, lambda short_side: picture) for index in range(5000))
    for _ in cutter.windows(frames):
        count += 1
        most = max(most, len(cutter._kept))
    assert count == 999 and most <= 10


def test_frames_that_no_window_needs_are_not_converted():
    cutting = streams.Cutting.of(
        model(frames=1, stride=1).stzoo, SimpleNamespace(fps=10), 1.0, None, "1x1", None
    )
    asked = []

    def frames():
        for index in range(50):
            yield index / 10, lambda side, i=index: asked.append(i) or film(1)[0]

    list(streams._Cutter(cutting).windows(frames()))
    assert asked == [0, 10, 20, 30, 40]


class Live:
    """Frames that come in real time."""

    is_live = True

    def __init__(self, count, fps):
        self.count, self.fps = count, fps

    def __iter__(self):
        for index, frame in enumerate(film(self.count)):
            time.sleep(1 / self.fps)
            yield index / self.fps, frame


def test_a_live_source_drops_windows_that_are_late():
    slow, quick = model(seconds=0.2), model()
    found = list(stream(slow, Live(100, 100), every=0.05, sample_fps=100))
    numbers = np.rint([window.start / 0.05 for window in found]).astype(int)
    gaps = np.diff(numbers, prepend=-1) - 1
    assert [window.dropped for window in found] == gaps.tolist()
    assert len(found) < 9 and sum(gaps) > 8
    found = list(stream(quick, Live(50, 100), every=0.1, sample_fps=100))
    assert len(found) == 5 and sum(window.dropped for window in found) == 0


class Interrupted:
    """A live source of 10 frames a second, whose connection was lost for some time."""

    def __init__(self, before, lost, after):
        self.name, self.fps, self.is_live = "interrupted", 10, True
        self._before, self._after = before, before + round(10 * lost)
        self._count = self._after + after

    def close(self):
        pass

    def __iter__(self):
        for index, frame in enumerate(film(self._count)):
            if index == self._before:
                yield None
                yield None  # the first attempt to connect was in vain
            if not self._before <= index < self._after:
                time.sleep(0.002)
                yield index / 10 + 0.001, lambda side, frame=frame: frame


def interrupt(monkeypatch, *lengths):
    opened = contextlib.nullcontext(Interrupted(*lengths))
    monkeypatch.setattr(streams, "open_source", lambda source: opened)


def test_no_window_spans_a_lost_connection(monkeypatch):
    interrupt(monkeypatch, 18, 5.33, 22)
    network = model()
    windows = list(stream(network, "rtsp://a/b", every=0.5))
    starts = [0.001, 0.501, 1.001, 7.501, 8.001, 8.501]  # in the same steps as before
    assert [window.start for window in windows] == pytest.approx(starts)
    assert [window.lost for window in windows] == pytest.approx([0, 0, 0, 5.4, 0, 0])
    assert not any(window.dropped for window in windows)
    firsts = [clip[0] for clip in greys(network.seen)[1:]]  # one builds the graph
    assert firsts == [0, 5, 10, 75, 80, 85]


def test_a_window_that_replaces_another_keeps_its_lost_seconds(monkeypatch):
    interrupt(monkeypatch, 18, 5.33, 22)
    windows = list(stream(model(seconds=0.2), "rtsp://a/b", every=0.5))
    assert len(windows) < 4
    assert sum(window.lost for window in windows) == pytest.approx(5.4)
    assert len(windows) + sum(window.dropped for window in windows) == 6


def test_a_slow_reader_of_a_file_misses_nothing():
    found = []
    for window in stream(model(), timed(film(60)), 0.1, sample_fps=10):
        time.sleep(0.005)
        found.append(window.start)
    assert found == pytest.approx(np.arange(53) / 10)


def test_a_stream_that_is_left_ends_its_thread():
    def endless():
        for index in range(10**9):
            yield index / 10, film(1)[0]

    windows = stream(model(), endless(), sample_fps=10)
    next(windows)
    windows.close()
    names = {thread.name for thread in threading.enumerate()}
    assert "stzoo-stream" not in names


def test_an_error_of_the_source_comes_after_the_windows_before_it():
    def broken():
        yield from timed(film(20))
        raise OSError("the cable was pulled")

    windows = stream(model(), broken(), 0.5, sample_fps=10)
    found = []
    with pytest.raises(OSError, match="the cable was pulled"):
        for window in windows:
            found.append(window.start)
    assert found == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"every": 0}, "every must be a number of seconds above 0. Received: 0"),
        ({"every": None}, "every must be"),
        ({"span": -1}, "span must be a number of seconds above 0 or None"),
        ({"smooth": "1"}, "smooth must be"),
        ({"sample_fps": float("nan")}, "sample_fps must be"),
        ({"views": "3"}, "clips x crops"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        next(stream(model(), timed(film(9)), **wrong))


def frame_by_frame(**clip):
    """An online TSM, and a function for its logits of each frame of a clip."""
    keras.utils.set_random_seed(0)
    known = stzoo.tsm_tiny(2, (None, 32, 32, 3), shift="online", width=8, depth=1)
    clip = dict(frames=4, short_side=32) | clip
    clip = dataclasses.replace(known.stzoo.clip, **clip)
    known.stzoo = dataclasses.replace(known.stzoo, tag="known", clip=clip)
    features = keras.Model(known.input, known.get_layer("avgpool").input)
    head = known.get_layer("fc")
    head.kernel.assign(0.01 * head.kernel)  # so that no answer is certain

    def offline(frames):
        found = features.predict_on_batch(frames[None])[0].mean((1, 2))
        return numpy(head(found))

    return known, offline


def noise(count):
    return np.random.default_rng(2).integers(0, 256, (count, 32, 32, 3), "u1")


def test_an_online_model_takes_frames_one_by_one(monkeypatch):
    network, offline = frame_by_frame(sampling="dense", stride=2)
    frames, steps = noise(26), []
    step = Online.step
    monkeypatch.setattr(
        Online, "step", lambda self, x: steps.append(x) or step(self, x)
    )
    windows = list(stream(network, timed(frames), every=0.6, sample_fps=10))
    np.testing.assert_array_equal(steps, frames[::2])  # each one once
    ends = [0.6, 1.2, 1.8, 2.4, 2.6]  # the last one with the source
    assert [window.end for window in windows] == pytest.approx(ends)
    starts = [0, 0.4, 1.0, 1.6, 1.8]
    assert [window.start for window in windows] == pytest.approx(starts)
    logits = offline(frames[::2])
    for window, count in zip(windows, (3, 6, 9, 12, 13), strict=True):
        expected = softmax(logits[max(0, count - 4) : count].mean(0))
        close(window.probabilities, expected)
        assert window.dropped == 0 and window.lag >= 0
        assert dict(window.answers)["class 1"] == pytest.approx(expected[1], rel=1e-5)


def test_span_is_the_time_that_an_online_model_averages():
    network, _ = frame_by_frame(sampling="dense", stride=2)
    for span, length in ((0.4, 0.4), (0.1, 0.2), (1.0, 1.0)):
        windows = list(stream(network, timed(noise(20)), 0.2, span, sample_fps=10))
        assert len(windows) == 10
        assert windows[-1].end - windows[-1].start == pytest.approx(length)


def test_frames_of_an_online_model_are_as_far_apart_as_its_segments(monkeypatch):
    network, _ = frame_by_frame(sampling="segments", frames=8)
    network.stzoo = dataclasses.replace(network.stzoo, dataset="motions")
    steps, frames = [], noise(42)  # twice the usual length, 21 frames
    step = Online.step
    monkeypatch.setattr(
        Online, "step", lambda self, x: steps.append(x) or step(self, x)
    )
    windows = list(stream(network, timed(frames, 12), every=5, sample_fps=12))
    expected = clip_views(frames[:21], network.stzoo.clip)[0]
    np.testing.assert_array_equal(steps[:8], expected)
    assert len(steps) == 16
    (window,) = windows  # shorter than `every`
    assert (window.start, window.end) == pytest.approx((1.75, 3.5))


def test_an_online_model_begins_again_after_a_lost_connection(monkeypatch):
    network, offline = frame_by_frame(sampling="dense", stride=1)
    frames = noise(14)

    def source():
        yield from timed(frames[:8], start=0.001)
        yield None
        yield from timed(frames[8:], start=5.001)

    pictures = (item and (item[0], lambda _, x=item[1]: x) for item in source())
    opened = Source("interrupted", pictures, 10)
    monkeypatch.setattr(
        streams, "open_source", lambda source: contextlib.nullcontext(opened)
    )
    windows = list(stream(network, "rtsp://a/b", every=0.4, span=1.0))
    ends = [0.401, 0.801, 5.201, 5.601]
    assert [window.end for window in windows] == pytest.approx(ends)
    assert [window.start for window in windows] == pytest.approx(
        [*2 * [0.001], *2 * [5.001]]
    )
    assert [window.lost for window in windows] == pytest.approx([0, 0, 4.3, 0])
    expected = softmax(offline(frames[8:]).mean(0))
    close(windows[-1].probabilities, expected)


def test_an_online_model_drops_frames_of_a_live_source_if_it_is_slow(monkeypatch):
    network, _ = frame_by_frame(sampling="dense", stride=1)
    step, taken = Online.step, []

    def slow(self, frame):
        time.sleep(0.1)
        taken.append(frame)
        return step(self, frame)

    monkeypatch.setattr(Online, "step", slow)
    found = list(stream(network, Live(60, 50), every=0.02, sample_fps=50))
    assert len(found) == len(taken) - 1  # without the one that builds the graph
    dropped = sum(window.dropped for window in found)
    assert dropped > 20 and 55 <= dropped + len(found) <= 60


def test_an_online_model_has_one_view_and_nothing_to_say_of_no_frames():
    network, _ = frame_by_frame()
    with pytest.raises(ValueError, match="views must be \"1x1\". Received: '2x1'"):
        next(stream(network, timed(noise(9)), views="2x1"))
    assert list(stream(network, [])) == []
