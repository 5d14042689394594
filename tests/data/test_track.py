"""The attributes of `Track` and `Video`, compared with PyAV's."""

import av
import numpy as np
import pytest

from stzoo.data import motions
from stzoo.data.track import Track
from stzoo.data.video import Video


@pytest.fixture(params=[0, 2], ids=["in order", "with B-frames"])
def path(request, tmp_path):
    """Twenty uniform grey frames of 48x64 at 12.5 per second."""
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.options = {"bf": str(request.param), "g": "10"}
        for number in range(20):
            image = np.full((48, 64, 3), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = 2 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path):
    with av.open(str(path)) as container:
        return [
            (f.pts, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)
        ]


def test_the_attributes_of_a_track(path):
    expected = shown(path)
    track = Track(str(path), "mine")
    assert list(track.times) == [time for time, _ in expected]
    assert track.fps == pytest.approx(12.5, rel=1e-6)
    np.testing.assert_array_equal(
        track.first.to_ndarray(format="rgb24"), expected[0][1]
    )
    before = track.decoded
    assert before >= 1
    found = list(track.frames([0, 7, 19]))
    assert [index for index, _ in found] == [0, 7, 19]
    for index, frame in found:
        assert frame.pts == expected[index][0]
        np.testing.assert_array_equal(
            frame.to_ndarray(format="rgb24"), expected[index][1]
        )
    assert before + 3 <= track.decoded <= before + 30
    track.close()


def test_the_attributes_of_a_video(path):
    with Video(path) as video, path.open("rb") as file, Video(file) as other:
        assert len(video) == len(other) == 20
        assert video.size == other.size == (48, 64)
        assert video.fps == pytest.approx(12.5, rel=1e-6)
        assert (video.path, other.path) == (str(path), None)
        before = video.decoded
        frames = video.read(range(20))
        assert 20 <= video.decoded - before <= 30
        for frame, (_, image) in zip(frames, shown(path), strict=True):
            assert abs(frame.astype(int) - image).max() <= 2


def test_a_saved_motion_has_its_attributes(tmp_path):
    frames, _, _ = motions.render(4)
    motions.save(tmp_path / "video.mp4", frames)
    with Video(tmp_path / "video.mp4") as video:
        assert (len(video), video.size) == (len(frames), frames.shape[1:3])
        assert video.fps == pytest.approx(motions.FPS, rel=1e-6)
