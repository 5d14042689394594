"""Videos from other sources than one file, and videos at another frame rate."""

import numpy as np
import pytest
from PIL import Image

import stzoo
from stzoo.data import motions
from stzoo.data.decoders import open_video
from stzoo.data.frames import Frames, Resampled, as_video, resize, scale
from stzoo.data.views import clip_views
from stzoo.weights.config import ClipConfig


def shown(seconds, fps):
    """Returns the frames of a resampled video, by their indices in the original."""
    count = len(seconds)
    numbers = np.arange(count, dtype=np.uint8)[:, None, None, None]
    video = Frames("v", count, np.tile(numbers, (2, 2, 3)).__getitem__, 3, seconds)
    resampled = Resampled(video, fps)
    frames = resampled.read(range(len(resampled)))
    assert frames.shape[1:] == (2, 2, 3)
    return frames[:, 0, 0, 0].tolist(), resampled.seconds


def test_a_rate_that_divides_the_original_drops_frames():
    found, seconds = shown(np.arange(20) / 60, 12)
    assert found == [2, 7, 12, 17]  # the middle of each fifth
    np.testing.assert_allclose(seconds, np.arange(4) / 12)
    assert shown(np.arange(6) / 12, 24)[0] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert shown(np.arange(6) / 12, 12)[0] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("fps", [7.5, 10, 23.976, 25, 59.94])
def test_each_frame_is_the_one_that_is_shown_at_that_time(fps):
    """The result matches a search through all frames, with uneven times."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.2, 50))
    found, seconds = shown(times, fps)
    for number, second in zip(found, seconds, strict=True):
        before = [n for n, time in enumerate(times) if time <= second + 0.5 / fps]
        assert number == before[-1]
    assert seconds[-1] + 1 / fps == pytest.approx(
        times[-1] + (times[-1] - times[-2]), abs=0.5 / fps
    )


def test_the_last_frame_lasts_as_long_as_the_one_before():
    assert shown([0, 0.5], 10)[0] == [0] * 5 + [1] * 5


def test_a_frame_that_begins_in_the_middle_of_another_is_shown():
    assert shown([0, 0.5, 1, 1.5], 1)[0] == [1, 3]


def test_resampled_frames_are_resized():
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 12, 3), np.uint8)
    video = Resampled(Frames("v", 4, frames.__getitem__, 3, np.arange(4) / 4), 8)
    np.testing.assert_array_equal(video.read([7, 2], 6), resize(frames, 6)[[3, 1]])
    assert video.read([]).shape == (0, 8, 12, 3)


def test_a_video_without_times_cannot_be_resampled():
    for name in (None, "v"):
        assert refused(Resampled, Frames(name, 4, None), 25) == (
            f"{name or 'The video'} has no frame rate. Pass a video file, or remove "
            "sample_fps."
        )


def test_a_video_of_one_frame_keeps_it():
    assert shown(np.zeros(1), 25)[0] == [0]


def test_videos_without_a_frame_rate_are_refused():
    video = as_video(np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="The video has no frame rate"):
        Resampled(video, 25)
    model = stzoo.cost_tiny(pretrained="motions")
    with pytest.raises(ValueError, match="remove sample_fps"):
        stzoo.predict(model, np.zeros((4, 80, 80, 3), np.uint8), sample_fps=25)
    with pytest.raises(ValueError, match="sample_fps must be None, or a positive"):
        stzoo.predict(model, np.zeros((4, 80, 80, 3), np.uint8), sample_fps=-1)


def test_one_motion_at_several_rates_has_the_same_prediction(tmp_path):
    """Without resampling, a clip would span less of the motion at a higher rate."""
    model = stzoo.cost_tiny(pretrained="motions")
    assert model.stzoo.clip.fps == motions.FPS == 12
    frames = motions.render(11, "approaching")[0]
    times = np.arange(len(frames)) / 12
    answers, clips = {}, {}
    for fps in (12, 15, 30, 60):
        path = tmp_path / f"{fps}.mp4"
        moments = np.arange(round(len(frames) * fps / 12)) / fps
        at = np.searchsorted(times, moments + 1e-9, side="right") - 1
        motions.save(path, frames[at], quantiser=1, fps=fps)
        answers[fps] = stzoo.predict(model, path, top=1, sample_fps=12)[0]
        with open_video(path) as video:
            assert video.seconds == pytest.approx(moments, abs=1e-3)
            clip = ClipConfig(8, 2, 64, 64, 72, sample_fps=12)
            clips[fps] = clip_views(video, clip)[0].astype(int)
    label, probability = answers[12]
    assert label == "approaching"
    for fps in (15, 30, 60):
        assert answers[fps] == (label, pytest.approx(probability, abs=0.02))
        assert np.abs(clips[fps] - clips[12]).mean() < 3


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), np.uint8)


def refused(function, *args):
    with pytest.raises(ValueError) as error:
        function(*args)
    return str(error.value)


@pytest.mark.parametrize("channels", [3, 5])
def test_an_array_is_a_video_without_a_name(frames, channels):
    array = frames[..., [0, 1, 2, 0, 1][:channels]]
    video = as_video(array)
    assert (video.name, video.path, video.channels) == (None, None, channels)
    assert len(video) == 6
    np.testing.assert_array_equal(video.read([5, 0, 5]), array[[5, 0, 5]])
    assert as_video(video) is video


def test_arrays_that_are_not_videos_are_refused():
    for other in ([[1]], None, "video.mp4"):
        assert refused(as_video, other) == (
            "A video must be a Video or a NumPy array of its frames. Received: "
            f"{type(other).__name__}."
        )
    for shape, dtype in [
        ((6, 8, 12, 3), "float32"),
        ((6, 8, 12, 4), "uint8"),
        ((6, 8, 12), "uint8"),
        ((2, 6, 8, 12, 3), "uint8"),
        ((0, 8, 12, 3), "uint8"),
    ]:
        assert refused(as_video, np.zeros(shape, dtype)) == (
            "The frames of a video must be a uint8 array (frames, height, width, 3), "
            "or 5 with optical flow, of at least one frame and one pixel. Received: "
            f"{dtype} {shape}."
        )


def test_fetch_is_called_with_unique_sorted_indices(frames):
    asked = []

    def fetch(indices):
        asked.append(indices.tolist())
        return frames[indices]

    video = Frames("a.mp4", 6, fetch)
    assert (video.name, video.path, video.channels) == ("a.mp4", "a.mp4", 3)
    assert Frames("a.mp4", 6, fetch, 5).channels == 5
    np.testing.assert_array_equal(video.read([5, 1, 5, 0]), frames[[5, 1, 5, 0]])
    np.testing.assert_array_equal(video.read(((2, 1), (2, 3))), frames[[2, 1, 2, 3]])
    np.testing.assert_array_equal(video.read(4), frames[[4]])
    assert video.read([]).shape == (0, 8, 12, 3)
    assert asked == [[0, 1, 5], [1, 2, 3], [4], []]


def test_frames_are_resized_if_a_short_side_is_given(frames):
    video = as_video(frames)
    small = video.read([3, 0, 3], 6)
    assert small.shape == (3, 6, 9, 3)
    np.testing.assert_array_equal(small, resize(frames, 6)[[3, 0, 3]])
    np.testing.assert_array_equal(video.read([3, 0], short_side=None), frames[[3, 0]])


@pytest.mark.parametrize("name", [None, "a.mp4"])
def test_indices_out_of_range_are_refused(frames, name):
    video = Frames(name, 6, frames.__getitem__)
    assert len(video.read([0, 5])) == 2
    for indices in [(-1, 2), (2, 6), (-1, 6), (9, 9), (-3, -2)]:
        assert refused(video.read, indices) == (
            f"{name or 'The video'} has 6 frames, 0 to 5. Received indices from "
            f"{min(indices)} to {max(indices)}."
        )


def test_an_error_of_a_function_names_the_video():
    def fetch(indices):
        raise RuntimeError("no such frame")

    assert refused(Frames("a.mp4", 6, fetch).read, [0]) == (
        "a.mp4 cannot be read as a video: RuntimeError: no such frame"
    )
    with pytest.raises(RuntimeError, match="^no such frame$"):
        Frames(None, 6, fetch).read([0])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(8, 6), (4, 20), (5, 12), (8, 13)])
def test_each_channel_is_scaled_independently(channels, size):
    """It matches Pillow, except in the outermost pixels, see `test_transforms.py`."""
    rng = np.random.default_rng(channels)
    frames = rng.integers(0, 256, (2, 2, 8, 12, channels), np.uint8)
    found = scale(frames, *size)
    assert found.shape == (2, 2, *size, channels) and found.dtype == np.uint8
    for channel in range(channels):
        alone = scale(frames[..., channel : channel + 1], *size)[..., 0]
        np.testing.assert_array_equal(found[..., channel], alone)
        for index in np.ndindex(2, 2):
            plane = Image.fromarray(frames[*index, ..., channel])
            expected = plane.resize(size[::-1], Image.Resampling.BILINEAR)
            error = abs(alone[index].astype(int) - np.asarray(expected))
            assert error[1:-1, 1:-1].max() <= 1


def test_frames_of_the_right_size_are_not_changed(frames):
    assert scale(frames, 8, 12) is frames
    assert resize(frames, 8) is frames


def test_one_frame_is_scaled_like_several(frames):
    np.testing.assert_array_equal(scale(frames[0], 6, 9), scale(frames, 6, 9)[0])
    turned = frames.transpose(0, 2, 1, 3)  # not contiguous
    np.testing.assert_array_equal(resize(turned, 6), scale(turned.copy(), 9, 6))
