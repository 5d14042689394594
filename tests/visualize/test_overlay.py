from fractions import Fraction

import av
import numpy as np
import pytest

from stzoo.data.video import Video
from stzoo.visualize.overlay import overlay

SPANS = [(0.0, 1.0), (1.0, 2.0)]
ANSWERS = [[("running", 0.9)], [("jumping", 0.2)]]


def film(path, size=(96, 128), seconds=2, sound=True):
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width = size
        video.pix_fmt = "yuv444p" if size[0] % 2 else "yuv420p"
        if sound:
            audio = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(10 * seconds):
            grey = np.full((*size, 3), 200, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        container.mux(video.encode())
        if sound:
            wave = np.sin(np.arange(16000 * seconds) / 10)[None].astype("float32")
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            frame.time_base = Fraction(1, 16000)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def test_answers_are_drawn_at_their_time(tmp_path):
    overlay(film(tmp_path / "a.mp4"), tmp_path / "b.mp4", SPANS, ANSWERS)
    with Video(tmp_path / "b.mp4") as video:
        assert len(video) == 20 and video.size == (96, 128)
        np.testing.assert_allclose(video.seconds, np.arange(20) / 10, atol=1e-3)
        frames = video.read(range(20)).astype(int)
    assert np.abs(frames[:, :70] - 200).max() < 20  # the film itself
    bars = frames[:, 90, :, 2] - frames[:, 90, :, 0] > 15  # blue
    assert bars[:10].mean() > 0.7 > 0.3 > bars[10:].mean()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.mp4", "b.mp4"]


def test_the_sound_is_kept(tmp_path):
    overlay(film(tmp_path / "a.mkv"), tmp_path / "b.mp4", SPANS, ANSWERS)
    with av.open(str(tmp_path / "b.mp4")) as container:
        (audio,) = container.streams.audio
        count = sum(frame.samples for frame in container.decode(audio))
    assert count == pytest.approx(32000, abs=2500)


def test_a_film_of_odd_size_without_sound(tmp_path):
    overlay(
        film(tmp_path / "a.mp4", (65, 97), sound=False),
        tmp_path / "b.mp4",
        SPANS,
        ANSWERS,
    )
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not container.streams.audio
        (video,) = container.streams.video
        assert (video.height, video.width) == (64, 96)


def test_nothing_is_lost_in_an_error(tmp_path):
    path = film(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is the video itself"):
        overlay(path, path, SPANS, ANSWERS)
    (tmp_path / "c.mp4").write_text("no video")
    (tmp_path / "old.mp4").write_text("old")
    with pytest.raises(ValueError, match="cannot be read"):
        overlay(tmp_path / "c.mp4", tmp_path / "old.mp4", SPANS, ANSWERS)
    assert path.read_bytes() == before
    assert (tmp_path / "old.mp4").read_text() == "old"
    assert not list(tmp_path.glob("*.part"))
