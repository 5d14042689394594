"""Reads cameras and network streams. A lost connection is opened again."""

import contextlib
import logging
import os
import re
import sys
import threading
import time
import urllib.request

from stzoo.data.containers import open_container
from stzoo.data.pictures import FPS, Pictures

logger = logging.getLogger("stzoo")
CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
PATIENCE = 10.0  # seconds without data until a live source counts as lost
WAITS = (1, 2, 4, 8, 15, 30)  # seconds before each attempt to connect again
JUMP = 5.0  # seconds that the times of a live source may differ from the clock


def live_address(source):
    """Returns the address and the format for FFmpeg, or `None` if not live."""
    if isinstance(source, int) and not isinstance(source, bool):
        source = str(source)
    if not isinstance(source, str | os.PathLike):
        return None
    address = os.fsdecode(source)
    if re.fullmatch(r"\d{1,3}|/dev/video\d+", address):
        return _camera(address)
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme in LIVE or address.partition("?")[0].lower().endswith(".m3u8"):
        return address, None
    if scheme in ("http", "https") and not _has_length(address):
        return address, None
    return None


def _camera(address):
    """Returns how FFmpeg names a camera on this system."""
    kind = CAMERAS.get(sys.platform)
    if address.isdecimal() and kind == "v4l2":
        address = f"/dev/video{address}"
    elif address.isdecimal() and kind == "dshow":
        raise ValueError(
            "Windows names its cameras. Pass an iterator of (seconds, frame), for "
            f"example from OpenCV. Received: {address}."
        )
    return address, kind


def _has_length(url):
    """Returns whether an HTTP server sends a length, as it does for files."""
    request = urllib.request.Request(url, headers={"User-Agent": "stzoo"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.headers.get("Content-Length") is not None
    except (OSError, ValueError) as error:
        raise ConnectionError(f"{url} cannot be reached: {error}.") from None


def _unreadable(address, error, waited):
    """Returns the message for a live source that cannot be opened."""
    cause = error.__cause__  # of FFmpeg, or `None` if there is no video in it
    if cause is None:
        return str(error)
    # FFmpeg's error for the time limit depends on the protocol.
    timed_out = waited >= PATIENCE
    reason = f"no video came for {PATIENCE:g} s" if timed_out else cause.strerror
    return (
        f"{address} cannot be read: {reason}. Check the address, and whether the "
        "camera or server sends video."
    )


class Live:
    """A camera or a network stream. A lost connection is opened again."""

    def __init__(self, address, kind):
        self.name, self._address, self._kind = address, address, kind
        self._stopped, self._started = threading.Event(), time.monotonic()
        self._container = None
        try:
            self._connect()
        except ValueError as error:
            waited = time.monotonic() - self._started
            raise ConnectionError(_unreadable(address, error, waited)) from None
        rate = self._stream.average_rate
        self.fps = float(rate) if rate and 1 <= rate <= 240 else None

    def close(self):
        """Ends the stream. The thread that reads it closes the connection."""
        self._stopped.set()

    def frames(self):
        """Yields `(seconds, picture)`, and `None` where the connection was lost."""
        pictures, last, step = Pictures(), -1.0, 1 / (self.fps or FPS)
        try:
            while not self._stopped.is_set():
                anchor = None
                for frame in self._received():
                    now = time.monotonic() - self._started
                    stamp = now if frame.time is None else float(frame.time)
                    if anchor is None or abs(stamp + anchor - now) > JUMP:
                        anchor = max(now, last + step) - stamp
                    if stamp + anchor > last:
                        last = stamp + anchor
                        yield last, pictures.of(frame)
                if not self._stopped.is_set():
                    yield None
                    self._connect_again()
        finally:
            if self._container is not None:
                self._container.close()

    def _received(self):
        """Yields frames until the connection is lost or the stream is closed."""
        import av

        # EOFError and timeouts are errors of FFmpeg too.
        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if self._stopped.is_set():
                    return
                with contextlib.suppress(av.FFmpegError):
                    yield from self._stream.decode(packet)

    def _connect(self):
        options = {}
        if not self._address.startswith("http"):
            options["fflags"] = "nobuffer"  # drops what came while connecting
        if self._address.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # loses no packets
        self._container, self._stream = open_container(
            self._address, self.name, format=self._kind, timeout=PATIENCE, **options
        )

    def _connect_again(self):
        """Waits and connects, until it succeeds or the stream is closed."""
        logger.warning("The connection to %s was lost. Reconnecting.", self.name)
        self._container.close()
        self._container = None
        for attempt in range(sys.maxsize):
            if self._stopped.wait(WAITS[min(attempt, len(WAITS) - 1)]):
                return
            with contextlib.suppress(ValueError):
                self._connect()
                logger.warning("Reconnected to %s.", self.name)
                return
