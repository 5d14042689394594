import http.server
import io
import logging
import threading
import time

import av
import numpy as np
import pytest

from stzoo.data import stream
from stzoo.data.stream import open_source
from stzoo.data.video import Video
from stzoo.data.writer import write_video


def film(count, height=32, width=48):
    """Frames, each of one grey that tells its number."""
    greys = np.arange(count, dtype=np.uint8) * 2
    return np.broadcast_to(greys[:, None, None, None], (count, height, width, 3)).copy()


def read(source, short_side=None):
    with open_source(source) as opened:
        return [(seconds, picture(short_side)) for seconds, picture in opened]


def check_like_video(path, short_side):
    found = read(path, short_side)
    with Video(path) as video:
        expected = video.read(range(len(video)), short_side)
        np.testing.assert_array_equal([frame for _, frame in found], expected)
        np.testing.assert_allclose([at for at, _ in found], video.seconds, atol=1e-4)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
@pytest.mark.parametrize("short_side", [None, 24])
def test_a_file_has_the_frames_and_times_of_a_video(tmp_path, name, short_side):
    write_video(tmp_path / name, film(30), 12)
    check_like_video(tmp_path / name, short_side)


def test_a_file_object_and_a_url(tmp_path):
    write_video(tmp_path / "a.mp4", film(5), 12)
    data = (tmp_path / "a.mp4").read_bytes()
    expected = [frame for _, frame in read(tmp_path / "a.mp4")]
    np.testing.assert_array_equal([f for _, f in read(io.BytesIO(data))], expected)
    url = f"file://{tmp_path}/a.mp4"
    np.testing.assert_array_equal([frame for _, frame in read(url)], expected)


def test_an_array_and_a_folder_of_images_have_thirty_frames_a_second(tmp_path):
    from PIL import Image

    frames = film(4)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number:05}.png")
    for source in (frames, tmp_path):
        found = read(source)
        np.testing.assert_array_equal([frame for _, frame in found], frames)
        np.testing.assert_allclose([at for at, _ in found], np.arange(4) / 30)


def test_a_frame_that_nobody_asks_for_is_not_converted(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", film(10), 12)
    converted = []
    original = stream.to_rgb
    monkeypatch.setattr(
        stream, "to_rgb", lambda *args: converted.append(1) or original(*args)
    )
    with open_source(tmp_path / "a.mp4") as opened:
        pictures = [picture for _, picture in opened]
        pictures[3](16)
    assert len(pictures) == 10 and len(converted) == 1


def test_the_size_can_change_on_the_way(tmp_path):
    for name, height in (("a.ts", 32), ("b.ts", 64)):
        write_video(tmp_path / name, film(6, height, 96), 12)
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join((tmp_path / f"{n}.ts").read_bytes() for n in "ab"))
    found = read(both)
    assert {frame.shape for _, frame in found} == {(32, 96, 3), (64, 96, 3)}
    times = np.array([at for at, _ in found])
    assert len(times) == 12 and np.all(np.diff(times) > 0)  # the clock starts again


def test_damage_in_the_middle_is_passed_over(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(
        path, np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), "u1"), 12
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    times = [at for at, _ in read(path)]
    assert 30 < len(times) <= 40 and times[-1] > 3.2
    assert np.all(np.diff(times) > 0)


def test_sources_that_are_not_videos(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(ValueError, match="notes.mp4 cannot be read as a video"):
        read(tmp_path / "notes.mp4")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="A source must be a path.*Received: 1.5"):
        read(1.5)


def test_frames_with_times():
    frames = film(3)
    found = read(zip([7.0, 7.5, 9.0], frames, strict=True))
    assert [at for at, _ in found] == [7.0, 7.5, 9.0]
    np.testing.assert_array_equal([frame for _, frame in found], frames)
    assert read([(0, frames[0])], 16)[0][1].shape == (16, 24, 3)


@pytest.mark.parametrize(
    "items, message",
    [
        ([(1.0, film(1)[0]), (1.0, film(1)[0])], r"after 1.0 s: \(1.0, uint8"),
        ([(0.0, film(1)[0].astype(float))], r"after the start: \(0.0, float64"),
        ([(0.0, film(1)[0][..., 0])], r"after the start: \(0.0, uint8 \(32, 48\)"),
        ([film(1)[0]], "after the start: ndarray"),
        ([None], "after the start: NoneType"),
    ],
)
def test_items_that_are_not_frames_with_times(items, message):
    with pytest.raises(ValueError, match=message):
        read(items)


def test_addresses_of_live_sources(monkeypatch):
    monkeypatch.setattr(stream.sys, "platform", "linux")
    address = stream._live_address
    assert address(0) == address("0") == ("/dev/video0", "v4l2")
    assert address("/dev/video2") == ("/dev/video2", "v4l2")
    assert address("rtsp://a/b") == ("rtsp://a/b", None)
    assert address("https://a/live.m3u8?key=1") == ("https://a/live.m3u8?key=1", None)
    assert address("a.mp4") is None and address("s3://a/b.mp4") is None
    assert address(True) is None and address(film(1)) is None
    monkeypatch.setattr(stream.sys, "platform", "darwin")
    assert address(1) == ("1", "avfoundation")
    monkeypatch.setattr(stream.sys, "platform", "win32")
    with pytest.raises(ValueError, match="Windows names its cameras"):
        address(0)


def test_a_camera_that_is_not_there():
    with pytest.raises(ConnectionError, match="/dev/video999 cannot be read"):
        read(999)
    with pytest.raises(ConnectionError, match="cannot be reached"):
        read("http://127.0.0.1:9/live")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An address without an end, which breaks off after a second of film."""
    monkeypatch.setattr(stream, "WAITS", (0.01,))
    data = io.BytesIO()
    with av.open(data, "w", format="mpegts") as container:
        video = container.add_stream(
            "libx264", rate=30, options={"tune": "zerolatency"}
        )
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        for frame in film(30):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(video.encode())
    calls = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            calls.append(time.monotonic())
            if len(calls) == 3:  # is away for once
                return self.send_error(503)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data.getvalue())

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/live", calls
    server.shutdown()
    server.server_close()


def test_a_live_stream_that_is_lost_is_connected_again(served, caplog):
    address, calls = served
    caplog.set_level(logging.WARNING)
    times = []
    with open_source(address) as opened:
        assert opened.is_live
        for seconds, picture in opened:
            assert picture(16).shape == (16, 24, 3)
            times.append(seconds)
            if len(times) == 50:
                opened.close()
    assert 50 <= len(times) < 60  # it ends where it is closed
    assert np.all(np.diff(times) > 0)
    assert len(calls) >= 4  # for the length, then at least twice, and once in vain
    assert "was lost" in caplog.text and "Reconnected to" in caplog.text
