"""Videos that are not one file, and videos at another frame rate."""

import numpy as np
import pytest

import stzoo
from stzoo.data import motions
from stzoo.data.decoders import open_video
from stzoo.data.frames import Frames, Resampled, as_video
from stzoo.data.transforms import clip_views
from stzoo.weights.config import ClipConfig


def shown(seconds, fps):
    """The frames of a resampled video, by their numbers in the original."""
    count = len(seconds)
    numbers = np.arange(count, dtype=np.uint8)[:, None, None, None]
    video = Frames("v", count, np.tile(numbers, (2, 2, 3)).__getitem__, 3, seconds)
    resampled = Resampled(video, fps)
    frames = resampled.read(range(len(resampled)))
    assert frames.shape[1:] == (2, 2, 3)
    return frames[:, 0, 0, 0].tolist(), resampled.seconds


def test_a_rate_that_divides_the_other_leaves_frames_out():
    found, seconds = shown(np.arange(20) / 60, 12)
    assert found == [2, 7, 12, 17]  # the middle of each fifth
    np.testing.assert_allclose(seconds, np.arange(4) / 12)
    assert shown(np.arange(6) / 12, 24)[0] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert shown(np.arange(6) / 12, 12)[0] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("fps", [7.5, 10, 23.976, 25, 59.94])
def test_each_frame_is_the_one_that_is_shown_at_that_time(fps):
    """Against a search through all frames, with times that are not even."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.2, 50))
    found, seconds = shown(times, fps)
    for number, second in zip(found, seconds, strict=True):
        before = [n for n, time in enumerate(times) if time <= second + 0.5 / fps]
        assert number == before[-1]
    assert seconds[-1] + 1 / fps == pytest.approx(
        times[-1] + (times[-1] - times[-2]), abs=0.5 / fps
    )


def test_one_frame_is_one_frame():
    assert shown(np.zeros(1), 25)[0] == [0]


def test_what_has_no_times_has_no_rate():
    video = as_video(np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="The video does not say how many frames per"):
        Resampled(video, 25)
    model = stzoo.cost_tiny(pretrained="motions")
    with pytest.raises(ValueError, match="Leave out sample_fps"):
        stzoo.predict(model, np.zeros((4, 80, 80, 3), np.uint8), sample_fps=25)
    with pytest.raises(ValueError, match="sample_fps must be a number above 0"):
        stzoo.predict(model, np.zeros((4, 80, 80, 3), np.uint8), sample_fps=-1)


def test_one_motion_at_several_rates_has_one_answer(tmp_path):
    """A clip of frames would span less and less of the motion, and answers differ."""
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
