"""Reads cameras and network streams. A lost connection is opened again."""

import base64
import contextlib
import logging
import math
import os
import re
import sys
import threading
import time
import urllib.parse
import urllib.request

from stzoo.data import files
from stzoo.data.containers import open_container
from stzoo.data.pictures import FPS, Pictures

logger = logging.getLogger("stzoo")
CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
PATIENCE = 10.0  # seconds without data until a live source counts as lost
WAITS = (1, 2, 4, 8, 15, 30)  # seconds before each attempt to connect again
JUMP = 5.0  # seconds that the times of a live source may differ from the clock, or skip


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
    headers, parts = {"User-Agent": "stzoo"}, urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at:  # urllib takes it for a part of the host
        known = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
        headers["Authorization"] = f"Basic {known}"
    plain = urllib.parse.urlunsplit(parts._replace(netloc=host))
    request = urllib.request.Request(plain, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.headers.get("Content-Length") is not None
    except (OSError, ValueError) as error:
        name = files.without_secrets(url)
        raise ConnectionError(f"{name} cannot be reached: {error}.") from None


def _unreadable(name, error, waited):
    """Returns the message for a live source that cannot be opened."""
    cause = error.__cause__  # of FFmpeg, or `None` if there is no video in it
    if cause is None:
        return str(error)
    # FFmpeg's error for the time limit depends on the protocol.
    timed_out = waited >= PATIENCE
    reason = f"no video came for {PATIENCE:g} s" if timed_out else cause.strerror
    return (
        f"{name} cannot be read: {reason}. Check the address, and whether the camera "
        "or server sends video."
    )


class Live:
    """A camera or a network stream. A lost connection is opened again."""

    def __init__(self, address, kind):
        self.name = files.without_secrets(address)
        self._address, self._kind = address, kind
        self._stopped, self._started = threading.Event(), time.monotonic()
        self._container = None
        try:
            self._connect()
        except ValueError as error:
            waited = time.monotonic() - self._started
            raise ConnectionError(_unreadable(self.name, error, waited)) from None
        rate = self._stream.average_rate
        self.fps = float(rate) if rate and 1 <= rate <= 240 else None

    def close(self):
        """Ends the stream. The thread that reads it closes the connection."""
        self._stopped.set()

    def frames(self):
        """Yields `(seconds, picture)`, and `None` where frames are missing."""
        pictures, clock, last = Pictures(), _Clock(1 / (self.fps or FPS)), None
        try:
            while not self._stopped.is_set():
                for frame in self._received():
                    now = time.monotonic() - self._started
                    seconds = clock.time_of(frame.time, now)
                    if seconds is not None:
                        if last is not None and seconds - last > JUMP:
                            yield None
                        last = seconds
                        yield seconds, pictures.of(frame)
                if not self._stopped.is_set():
                    yield None
                    self._connect_again()
                    clock.begin_again()
        finally:
            if self._container is not None:
                self._container.close()

    def _received(self):
        """Yields frames until the connection is lost or the stream is closed."""
        import av

        # EOFError and timeouts are errors of FFmpeg too.
        with contextlib.suppress(av.FFmpegError):
            waiting = time.monotonic()
            for packet in self._container.demux(self._stream):
                # When its time is out, FFmpeg sends the packet that it held back.
                is_late = time.monotonic() - waiting > PATIENCE
                if is_late or self._stopped.is_set():
                    return
                with contextlib.suppress(av.FFmpegError):
                    yield from self._stream.decode(packet)
                waiting = time.monotonic()

    def _connect(self):
        options = {}
        if not self._address.startswith("http"):
            options["fflags"] = "nobuffer"  # drops what came while connecting
        if self._address.startswith("rtsp"):
            options["rtsp_flags"] = "prefer_tcp"  # which loses no packets
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
            try:
                self._connect()
                return logger.warning("Reconnected to %s.", self.name)
            except ValueError as error:
                reason = getattr(error.__cause__, "strerror", None) or error
                logger.warning("%s does not answer yet: %s.", self.name, reason)


class _Clock:
    """Turns the stamps of a live source into seconds since its start.

    Frames are as far apart as their stamps, also if they come late, or many at once
    after a delay. The clock begins again at the time of arrival where the stamps jump,
    and where frames stay late.
    """

    def __init__(self, step):
        self._step, self._last = step, -1.0
        self.begin_again()

    def begin_again(self):
        """Places the next frame at its time of arrival."""
        self._stamp, self._start = None, None  # of the last frame, and of stamps
        self._least, self._since = math.inf, None  # delay of late frames

    def time_of(self, stamp, now):
        """Returns the seconds of the next frame, or `None` if another is shown then.

        Args:
            stamp: number, the seconds of the frame by the clock of the source, or
                `None`.
            now: float, seconds of its arrival.
        """
        seconds = now
        if stamp is not None:
            stamp = float(stamp)
            if self._start is None or self._has_jumped(stamp, now):
                self.begin_again()
                self._start = max(now, self._last + self._step) - stamp
            self._stamp, seconds = stamp, stamp + self._start
        if seconds <= self._last:
            return None
        self._last = seconds
        return seconds

    def _has_jumped(self, stamp, now):
        late = now - (stamp + self._start)
        if late <= JUMP:
            self._least = math.inf
        elif late < self._least - self._step:  # it catches up
            self._least, self._since = late, now
        stays_late = late > JUMP and now - self._since > JUMP
        return late < -JUMP or stamp < self._stamp - JUMP or stays_late
