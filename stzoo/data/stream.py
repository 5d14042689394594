"""Reads frames in order, with their times: long files, cameras, network streams.

`stzoo.data.video.Video` reads frames by their index, so it lists all packets of a file.
A stream is read only forwards, so its memory does not grow with its length.
"""

import contextlib
import logging
import os
import re
import sys
import threading
import time
import urllib.request

import numpy as np

from stzoo.data import files
from stzoo.data.containers import open_container
from stzoo.data.decoders import open_video
from stzoo.data.frames import resize
from stzoo.data.video import check_source, scaled_size, to_rgb, turn_of

logger = logging.getLogger("stzoo")
CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
PATIENCE = 10.0  # seconds without data until a live source counts as lost
WAITS = (1, 2, 4, 8, 15, 30)  # seconds before each attempt to connect again
JUMP = 5.0  # seconds that the times of a live source may differ from the clock
FPS = 30.0  # of a source without a frame rate


class Source:
    """Frames in order.

    Iterating yields tuples `(seconds, picture)`. `picture` is a function of the pixels
    of the shorter side that returns the frame, uint8 `(height, width, 3)`, RGB. So only
    frames that are needed are converted.

    Args:
        name: string, the name in messages.
        frames: iterable of such tuples.
        fps: float, frames per second, or `None` if it is not known.
        is_live: bool, whether frames are lost if they are not read in time.
        close: function that ends the iteration. It can be called from any thread.
    """

    def __init__(self, name, frames, fps=None, is_live=False, close=lambda: None):
        self.name, self.fps, self.is_live = name, fps, is_live
        self.close = close
        self._frames = frames

    def __iter__(self):
        return iter(self._frames)


@contextlib.contextmanager
def open_source(source, decoder="av"):
    """Context manager that opens a source of frames.

    Args:
        source: one of

            * the path or URL of a video file, or of a folder of images, a binary file
              object, or a uint8 array `(frames, height, width, 3)`;
            * the number or the path of a camera: `0`, `"/dev/video0"`;
            * the address of a live stream: `"rtsp://..."`, `"udp://..."`, an `.m3u8`,
              or an HTTP address that sends no length;
            * an iterable of tuples `(seconds, frame)`, with times that increase and
              frames as uint8 `(height, width, 3)`, RGB. It is live if it has a true
              attribute `is_live`.

    Yields:
        `Source`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read.
        ConnectionError: a live source cannot be reached.
    """
    address = _live_address(source)
    with contextlib.ExitStack() as stack:
        if address is not None:
            live = _Live(*address)
            stack.callback(live.close)
            yield Source(live.name, live.frames(), live.fps, True, live.close)
        elif _is_file(source):
            yield _from_file(source, stack)
        elif isinstance(source, str | os.PathLike | np.ndarray):
            video = stack.enter_context(open_video(source, decoder))
            yield Source(video.name, _indexed(video))
        elif hasattr(source, "__iter__"):
            is_live = bool(getattr(source, "is_live", False))
            yield Source("The iterator of frames", _given(source), None, is_live)
        else:
            raise ValueError(
                "A source must be a path, a URL, the number of a camera, a binary file "
                "object, a uint8 array (frames, height, width, 3), or an iterable of "
                f"(seconds, frame). Received: {source!r}."
            )


def _is_file(source):
    if hasattr(source, "read"):
        return True
    if not isinstance(source, str | os.PathLike):
        return False
    path = os.fsdecode(source)
    return files.is_video(path) or not files.listing(path)


def _live_address(source):
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


def _from_file(source, stack):
    """Opens a file to decode it once, from beginning to end."""
    if not hasattr(source, "read") and files.is_url(os.fsdecode(source)):
        name = os.fsdecode(source)
        file = stack.enter_context(files.open_bytes(name))
        known = check_source(file)[1]
    else:
        name, known = check_source(source)
    container, stream = open_container(known, name)
    stack.callback(container.close)
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else None
    return Source(name, _timed(_decoded(container, stream, name), fps), fps)


def _decoded(container, stream, name):
    """Yields the frames of a file. Damaged frames are skipped."""
    import av

    packets, count = container.demux(stream), 0
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            logger.warning("%s is damaged, so it ends early: %s.", name, error)
            packet = None
        with contextlib.suppress(av.FFmpegError):  # a damaged packet has no frames
            for frame in stream.decode(packet):
                count += 1
                yield frame
        if packet is None or not packet.size:
            break
    if not count:
        raise ValueError(
            f"{name}: no frame of its video can be decoded "
            f"({stream.codec_context.name}). Copy or convert it again."
        )


def _timed(frames, fps):
    """Yields `(seconds, picture)`, with times that start at 0 and increase."""
    pictures, origin, last, step = _Pictures(), None, None, 1 / (fps or FPS)
    for frame in frames:
        stamp = None if frame.time is None else float(frame.time)
        if last is None:
            seconds, origin = 0.0, stamp
        elif stamp is None or origin is None:
            seconds = last + step
        else:
            seconds = stamp - origin
            if seconds <= last:  # a clock that starts again
                seconds, origin = last + step, stamp - last - step
        last = seconds
        yield seconds, pictures.of(frame)


class _Pictures:
    """Converts decoded frames and turns them upright. Their size can change."""

    def __init__(self):
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._size, self._turn = None, None

    def of(self, frame):
        if self._size != (frame.height, frame.width):
            self._size, self._turn = (frame.height, frame.width), turn_of(frame)
        turn = self._turn

        def picture(short_side=None):
            size = (frame.height, frame.width)[:: -1 if turn[0] else 1]
            return to_rgb(self._reformatter, frame, turn, scaled_size(size, short_side))

        return picture


def _indexed(video):
    """Yields `(seconds, picture)` of an array or of a folder of images."""
    if video.seconds is None:
        logger.info("%s has no frame rate, so %g is used.", video.name, FPS)
    for index in range(len(video)):
        seconds = index / FPS if video.seconds is None else float(video.seconds[index])

        def picture(short_side=None, index=index):
            return video.read([index], short_side)[0]

        yield seconds, picture


def _given(frames):
    """Yields `(seconds, picture)` of frames that were given with their times."""
    last = None
    for item in frames:
        try:
            seconds, frame = item
            frame = np.asarray(frame)
            is_frame = (
                frame.dtype == np.uint8 and frame.shape[2:] == (3,) and frame.size
            )
            seconds = float(seconds)
        except (TypeError, ValueError):
            is_frame, seconds = False, 0.0
        if not is_frame or (last is not None and not seconds > last):
            raise ValueError(
                "An iterator must yield tuples (seconds, frame), with increasing times "
                "and uint8 frames (height, width, 3), RGB. Received after "
                f"{'the start' if last is None else f'{last} s'}: {_shortly(item)}."
            )
        last = seconds

        def picture(short_side=None, frame=frame):
            return resize(frame, short_side) if short_side else frame

        yield seconds, picture


def _shortly(item):
    if isinstance(item, tuple | list) and len(item) == 2 and hasattr(item[1], "shape"):
        return f"({item[0]!r}, {item[1].dtype} {item[1].shape})"
    return type(item).__name__


class _Live:
    """A camera or a network stream. A lost connection is opened again."""

    def __init__(self, address, kind):
        self.name, self._address, self._kind = address, address, kind
        self._stopped, self._started = threading.Event(), time.monotonic()
        self._container = None
        try:
            self._connect()
        except ValueError as error:
            raise ConnectionError(f"{address} cannot be read: {error}") from None
        rate = self._stream.average_rate
        self.fps = float(rate) if rate and 1 <= rate <= 240 else None

    def close(self):
        """Ends the stream. The thread that reads it closes the connection."""
        self._stopped.set()

    def frames(self):
        """Yields `(seconds, picture)` until the stream is closed."""
        pictures, last, step = _Pictures(), -1.0, 1 / (self.fps or FPS)
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
        options = {"fflags": "nobuffer"}
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
