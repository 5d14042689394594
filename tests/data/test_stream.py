import contextlib
import io
from types import SimpleNamespace

import av
import numpy as np
import pytest

from stzoo.data import pictures, stream
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
    for source in (frames, tmp_path, str(tmp_path)):
        found = read(source)
        np.testing.assert_array_equal([frame for _, frame in found], frames)
        np.testing.assert_allclose([at for at, _ in found], np.arange(4) / 30)
        with open_source(source) as opened:
            later = [picture() for _, picture in list(opened)]  # after the next frame
        np.testing.assert_array_equal(later, frames)


def told(source):
    with open_source(source) as opened:
        return opened.name, opened.fps, opened.is_live, opened.close()


def test_what_is_known_of_a_source(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, film(5), 12)
    for source in (path, str(path)):
        assert told(source) == (str(path), 12.0, False, None)
    path.rename(tmp_path / "film")
    assert told(tmp_path / "film") == (str(tmp_path / "film"), 12.0, False, None)
    assert told(film(2))[1:] == (None, False, None)

    class Camera(list):
        is_live = True

    assert told([]) == ("The iterator of frames", None, False, None)
    assert told(Camera()) == ("The iterator of frames", None, True, None)


def test_a_live_source_is_closed_at_the_end(monkeypatch):
    closed = []
    live = SimpleNamespace(
        name="camera", frames=lambda: iter([1]), fps=5, close=lambda: closed.append(1)
    )
    monkeypatch.setattr(stream, "Live", lambda *args: args == ("a", "b") and live)
    monkeypatch.setattr(stream, "live_address", lambda source: ("a", "b"))
    with open_source(0) as opened:
        assert (opened.name, opened.fps, opened.is_live) == ("camera", 5, True)
        assert list(opened) == [1]
        opened.close()
        assert len(closed) == 1
    assert len(closed) == 2


def test_the_decoder_of_images_can_be_chosen(monkeypatch):
    asked = []

    @contextlib.contextmanager
    def open_video(*args):
        asked.append(args)
        yield SimpleNamespace(name="images")

    monkeypatch.setattr(stream, "open_video", open_video)
    frames = film(2)
    for args, decoder in (((frames, "torchcodec"), "torchcodec"), ((frames,), "av")):
        with open_source(*args):
            assert asked.pop() == (frames, decoder)


@pytest.mark.parametrize("rates", [(25, 1), (None, 25), (None, None)])
def test_a_file_is_closed_at_the_end(rates, monkeypatch, tmp_path):
    """FFmpeg guesses a rate where a file has none."""
    closed = []
    container = SimpleNamespace(
        demux=lambda stream: iter(()), close=lambda: closed.append(1)
    )
    found = SimpleNamespace(average_rate=rates[0], guessed_rate=rates[1])
    monkeypatch.setattr(stream, "open_container", lambda *args: (container, found))
    (tmp_path / "a.mp4").write_bytes(b"film")
    with open_source(tmp_path / "a.mp4") as opened:
        assert opened.fps == (25 if 25 in rates else None) and not closed
    assert len(closed) == 1


@pytest.mark.parametrize("end", ["empty packet", "no packet", "error"])
def test_frames_that_the_decoder_kept_come_at_the_end(end, caplog):
    full, empty = SimpleNamespace(size=1), SimpleNamespace(size=0)
    frames = {id(full): ["a", "b"], id(empty): ["c"], id(None): ["c"]}

    def demux(film):
        yield full
        if end == "error":
            raise av.error.InvalidDataError(1, "broken")
        yield from [empty] * (end == "empty packet")

    film = SimpleNamespace(decode=lambda packet: frames.pop(id(packet)))
    found = stream._decoded(SimpleNamespace(demux=demux), film, "x.mp4")
    assert list(found) == ["a", "b", "c"]
    messages = [("stzoo", "x.mp4 is damaged, so it ends early: [Errno 1] broken.")]
    found = [(record.name, record.message) for record in caplog.records]
    assert found == (messages if end == "error" else [])


def test_a_file_of_which_no_frame_can_be_decoded():
    codec = SimpleNamespace(name="h264")
    film = SimpleNamespace(decode=lambda packet: [], codec_context=codec)
    container = SimpleNamespace(demux=lambda film: iter(()))
    with pytest.raises(ValueError, match=r"x.mp4: no frame of its.*\(h264\)\. Copy"):
        list(stream._decoded(container, film, "x.mp4"))


def test_a_clock_that_starts_again_goes_on_after_the_last_frame():
    stamps = (5.0, 5.1, None, 0.0, 0.5, 0.6)
    size = dict(height=8, width=8, side_data={})
    frames = [SimpleNamespace(time=at, **size) for at in stamps]
    found = [seconds for seconds, _ in stream._timed(frames, 10)]
    np.testing.assert_allclose(found, (0.0, 0.1, 0.2, 0.3, 0.8, 0.9))


@pytest.mark.parametrize(
    "stamps, expected",
    [
        # A frame that a decoder returns after a hole, as in a damaged file.
        ((0, 1, 2, 5, 2.1, 5.1, 6), (0, 1, 2, 5, 5.1, 6)),
        ((0, 1, 2, 5, 2.1, 5.5, 1.0, 6, 7), (0, 1, 2, 5, 5.1, 5.5, 5.6, 6, 7)),
        ((0, 1, 1, 2, 1.9, 3), (0, 1, 2, 3)),  # the same time again,
        ((0, 0.1, 0.2, 0, 0.1, 0.2, 0, 0.1), np.arange(8) / 10),  # three parts
    ],
)
def test_a_frame_that_comes_too_late_does_not_move_those_after_it(stamps, expected):
    size = dict(height=8, width=8, side_data={})
    frames = [SimpleNamespace(time=at, **size) for at in stamps]
    found = [seconds for seconds, _ in stream._timed(frames, 10)]
    np.testing.assert_allclose(found, expected)


def test_a_frame_that_nobody_asks_for_is_not_converted(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", film(10), 12)
    converted = []
    original = pictures.to_rgb
    monkeypatch.setattr(
        pictures, "to_rgb", lambda *args: converted.append(1) or original(*args)
    )
    with open_source(tmp_path / "a.mp4") as opened:
        found = [picture for _, picture in opened]
        found[3](16)
    assert len(found) == 10 and len(converted) == 1


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
