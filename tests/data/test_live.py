import contextlib
import http.server
import io
import logging
import socket
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from stzoo.data import live
from stzoo.data.stream import open_source


def test_addresses_of_live_sources(monkeypatch):
    monkeypatch.setattr(live.sys, "platform", "linux")
    address = live.live_address
    assert address(0) == address("0") == ("/dev/video0", "v4l2")
    assert address("/dev/video2") == ("/dev/video2", "v4l2")
    assert address("rtsp://a/b") == ("rtsp://a/b", None)
    assert address("https://a/live.m3u8?key=1") == ("https://a/live.m3u8?key=1", None)
    for scheme in ("RTSPS", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp"):
        assert address(f"{scheme}://a/b") == (f"{scheme}://a/b", None)
    assert address("shows/LIVE.M3U8") == ("shows/LIVE.M3U8", None)
    assert address(Path("/dev/video3")) == ("/dev/video3", "v4l2")
    for file in ("rtsp.mp4", "rtsp", "1234", "/dev/video", "live.m3u8.mp4"):
        assert address(file) is None, file
    assert address("a.mp4") is None and address("s3://a/b.mp4") is None
    assert address(True) is None and address(np.zeros(3)) is None
    monkeypatch.setattr(live.sys, "platform", "darwin")
    assert address(1) == ("1", "avfoundation")
    monkeypatch.setattr(live.sys, "platform", "win32")
    assert address("/dev/video0") == ("/dev/video0", "dshow")
    with pytest.raises(ValueError, match="Windows names its cameras"):
        address(0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_http_address_without_a_length_is_live(scheme, monkeypatch):
    asked, sent = [], []

    @contextlib.contextmanager
    def urlopen(request, timeout):
        asked.append((request.full_url, request.get_header("User-agent"), timeout))
        yield SimpleNamespace(headers=sent.pop())

    monkeypatch.setattr(live.urllib.request, "urlopen", urlopen)
    url = f"{scheme}://a/b.mp4"
    for headers, expected in (({}, (url, None)), ({"Content-Length": "0"}, None)):
        sent.append(headers)
        assert live.live_address(url) == expected
        assert asked.pop() == (url, "stzoo", 10)


def test_a_camera_that_is_not_there():
    problem = "^/dev/video999 cannot be read: No such file or directory. Check the"
    with pytest.raises(ConnectionError, match=problem):
        with open_source(999):
            pass
    with pytest.raises(ConnectionError, match="^rtsp.* read: Connection refused. Che"):
        with open_source("rtsp://127.0.0.1:9/live"):
            pass
    with pytest.raises(ConnectionError, match="cannot be reached"):
        with open_source("http://127.0.0.1:9/live"):
            pass


def test_a_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        for scheme in ("rtsp", "tcp"):
            problem = f"^{scheme}://{address} cannot be read: no video came for 0.3 s"
            with pytest.raises(ConnectionError, match=problem):
                with open_source(f"{scheme}://{address}"):
                    pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An address without an end, which breaks off after a second of film."""
    monkeypatch.setattr(live, "WAITS", (0.01,))
    data = io.BytesIO()
    with av.open(data, "w", format="mpegts") as container:
        video = container.add_stream(
            "libx264", rate=30, options={"tune": "zerolatency"}
        )
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        for grey in range(0, 60, 2):
            frame = np.full((32, 48, 3), grey, "uint8")
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(video.encode())
    calls = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            calls.append(self.headers["Authorization"])
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
    times, breaks = [], []
    with open_source(address) as opened:
        assert opened.is_live
        for item in opened:
            if item is None:  # where it was lost
                breaks.append(len(times))
                continue
            seconds, picture = item
            assert picture(16).shape == (16, 24, 3)
            times.append(seconds)
            if len(times) == 50:
                opened.close()
    assert breaks == [30]
    assert 50 <= len(times) < 60  # it ends where it is closed
    assert np.all(np.diff(times) > 0)
    # One for the length, one in vain, and two that send 30 frames, none of them lost.
    assert len(calls) == 4
    assert "was lost" in caplog.text and "Reconnected to" in caplog.text


@pytest.fixture
def opened(monkeypatch):
    """What FFmpeg is asked to open, and what it has: a rate, or an error."""
    found = SimpleNamespace(asked=[], rates=[])

    def open_container(*args, **options):
        found.asked.append((args, options))
        rate = found.rates.pop(0)
        if isinstance(rate, ValueError):
            raise rate
        container = SimpleNamespace(close=lambda: found.asked.append("closed"))
        return container, SimpleNamespace(average_rate=rate)

    monkeypatch.setattr(live, "open_container", open_container)
    return found


def test_options_of_connections(opened):
    for address, kind, expected in (
        ("http://a/b", None, {}),
        ("/dev/video0", "v4l2", {"fflags": "nobuffer"}),
        ("udp://a", None, {"fflags": "nobuffer"}),
        ("rtsps://a", None, {"fflags": "nobuffer", "rtsp_flags": "prefer_tcp"}),
    ):
        opened.rates = [25]
        source = live.Live(address, kind)
        assert source.name == address
        args, options = opened.asked.pop()
        assert args == (address, address)
        assert options == {"format": kind, "timeout": 10, **expected}


@pytest.mark.parametrize(
    "rate, fps",
    [(Fraction(30000, 1001), 30000 / 1001), (1, 1), (240, 240)]
    + [(rate, None) for rate in (None, 0, Fraction(1, 2), 241, 90_000)],
)
def test_rates_that_no_camera_has_are_unknown(opened, rate, fps):
    opened.rates = [rate]
    assert live.Live("udp://a", None).fps == fps


def test_waits_grow_until_the_source_is_back_or_closed(opened, caplog):
    unreadable = ValueError("udp://a has no video stream.")
    unreadable.__cause__ = OSError(111, "Connection refused")
    opened.rates = [25, unreadable, *[ValueError("no video")] * 6, 25]
    source, waits = live.Live("udp://a", None), []
    source._stopped = SimpleNamespace(wait=lambda seconds: waits.append(seconds))
    source._connect_again()
    assert waits == [1, 2, 4, 8, 15, 30, 30, 30]
    assert len(opened.asked) == 1 + 1 + 8 and opened.asked[1] == "closed"
    assert {record[:2] for record in caplog.record_tuples} == {
        ("stzoo", logging.WARNING)
    }
    assert caplog.messages == [
        "The connection to udp://a was lost. Reconnecting.",
        "udp://a does not answer yet: Connection refused.",
        *["udp://a does not answer yet: no video."] * 6,
        "Reconnected to udp://a.",
    ]
    source._stopped = SimpleNamespace(wait=lambda seconds: True)  # it is closed
    source._connect_again()
    assert opened.asked[-1] == "closed" and source._container is None


def test_no_message_shows_a_password(opened, caplog):
    address = "rtsp://bob:s3cret@a:554/live?key=s3cret&channel=1"
    opened.rates = [ValueError("no"), 25, ValueError("no"), 25]
    with pytest.raises(ConnectionError):
        live.Live(address, None)
    source = live.Live(address, None)
    source._stopped = SimpleNamespace(wait=lambda seconds: False)
    source._connect_again()
    assert source.name == "rtsp://***@a:554/live?key=***&channel=***"
    shown = [asked[0][1] for asked in opened.asked if asked != "closed"]
    assert set(shown) == {source.name} and source.name in caplog.text
    assert opened.asked[0][0][0] == address  # FFmpeg gets it
    with pytest.raises(ConnectionError, match=r"http://\*\*\*@127.0.0.1:9/a cannot be"):
        live.live_address("http://bob:s3cret@127.0.0.1:9/a")
    assert "s3cret" not in caplog.text


def test_a_user_and_a_password_are_sent_by_http(served):
    address, calls = served
    live.live_address(address.replace("//", "//bob:s%33cret@"))
    assert calls == ["Basic Ym9iOnMzY3JldA=="]  # bob:s3cret


def test_the_connection_is_closed_with_the_stream(opened):
    opened.rates = [25]
    source = live.Live("udp://a", None)
    source.close()
    assert list(source.frames()) == [] and opened.asked[-1] == "closed"


class Played(live.Live):
    """Frames with the given times of arrival and stamps, 10 a second."""

    def __init__(self, rows):
        self.name, self.fps, self._rows = "played", 10, rows
        self._stopped, self._started, self._container = threading.Event(), 50, None
        self.now = None

    def _received(self):
        for now, stamp in self._rows:
            self.now = 50 + now
            yield SimpleNamespace(time=stamp, height=8, width=8, side_data={})
        self._stopped.set()


def test_times_follow_the_stream_until_its_clock_jumps(monkeypatch):
    rows = [(1.0, 100.0), (1.5, 100.4)]
    rows += [(1.6, 0.0), (1.8, 0.3)]  # starts again
    rows += [(1.85, 50.0), (2.2, 50.0), (2.3, 50.3)]  # again, with a frame twice
    played = Played(rows)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: played.now))
    found = [seconds for seconds, _ in played.frames()]
    np.testing.assert_allclose(found, [1.0, 1.4, 1.6, 1.9, 2.0, 2.3])


def played(rows, monkeypatch, fps=None):
    """Returns the times of frames, and `None` for each gap."""
    source = Played(rows)
    source.fps = fps
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: source.now))
    return [item and item[0] for item in source.frames()]


def test_frames_that_come_late_keep_their_times(monkeypatch):
    # Twice, it stands still for 8 seconds, and then sends what it has kept.
    stamps = np.arange(300) / 10
    arrivals = 1 + stamps
    for begin in (2, 15):
        late = (stamps >= begin) & (stamps < begin + 8)
        arrivals[late] = 1 + begin + 8 + np.arange(80) / 1000
    found = played(list(zip(arrivals, stamps, strict=True)), monkeypatch)
    np.testing.assert_allclose(found, 1 + stamps)


def test_a_clock_that_stood_still_is_set_again(monkeypatch):
    # Its stamps go on after 8 seconds as if no time had passed.
    before = [(1 + i / 10, i / 10) for i in range(20)]
    after = [(11 + i / 10, 2 + i / 10) for i in range(70)]
    found = played([*before, *after], monkeypatch)
    gap = found.index(None)
    late = 51  # frames, of which one is the first: for 5 seconds it could catch up
    assert gap == 20 + late
    np.testing.assert_allclose(found[:gap], 1 + np.arange(gap) / 10)
    np.testing.assert_allclose(found[gap + 1 :], 11 + np.arange(late, 70) / 10)


@pytest.mark.parametrize(
    "rows, expected",
    [
        # Frames come up to 5 seconds late, or the source skips more than 5.
        ([(20, 3.0), (21, 3.5), (26, 4.5), (26.1, 8.5)], [20, 20.5, 21.5, 25.5]),
        ([(20, 3.0), (26, 9.0), (26.1, 9.1)], [20, None, 26, 26.1]),
        # It is fast, and then it jumps: 1/30 s after the last frame.
        ([(1, 0.0), (2, 4.5), (2.5, 20.0)], [1, 5.5, 5.5 + 1 / 30]),
        ([(1, 0.0), (2, 8.0), (2.5, 8.5)], [1, 2, 2.5]),
        ([(1, None), (1.5, None), (1.5, None), (2, None)], [1, 1.5, 2]),
    ],
)
def test_times_of_live_frames(rows, expected, monkeypatch):
    found = played(rows, monkeypatch)
    assert found == [one and pytest.approx(one) for one in expected]


def test_a_frame_that_was_held_back_does_not_hide_a_loss(monkeypatch):
    """FFmpeg sends its last packet when its time is out."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(live, "time", clock)

    def demux(stream):
        for now in (1, 10.9, 21.0, 21.1):
            clock.now = now
            yield now

    source = Played([])
    source._container = SimpleNamespace(demux=demux)
    source._stream = SimpleNamespace(decode=lambda packet: [packet])
    assert list(live.Live._received(source)) == [1, 10.9]
