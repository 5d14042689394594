"""Reads frames in order, with their times, from any source.

`stzoo.data.video.Video` reads frames by their index, so it lists all packets of a file.
A stream is read only forwards, so its memory does not grow with its length.
"""

import contextlib
import logging
import os

import numpy as np

from stzoo.data import files
from stzoo.data.containers import open_container
from stzoo.data.decoders import open_video
from stzoo.data.frames import resize
from stzoo.data.live import Live, live_address
from stzoo.data.pictures import FPS, Pictures
from stzoo.data.video import check_source

logger = logging.getLogger("stzoo")
LATE = 1.5  # frames by which one can come too late, without a clock that starts again


class Source:
    """Frames in order.

    Iterating yields tuples `(seconds, picture)`. `picture` is a function of the pixels
    of the shorter side that returns the frame, uint8 `(height, width, 3)`, RGB. So only
    frames that are needed are converted. A live source yields `None` where its
    connection was lost or stood still.

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
    address = live_address(source)
    with contextlib.ExitStack() as stack:
        if address is not None:
            live = Live(*address)
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


def _from_file(source, stack):
    """Opens a file to decode it once, from beginning to end."""
    if not hasattr(source, "read") and files.is_url(os.fsdecode(source)):
        url = os.fsdecode(source)
        name, file = files.without_secrets(url), files.open_bytes(url)
        known = check_source(stack.enter_context(file))[1]
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
    pictures, clock = Pictures(), _Clock(1 / (fps or FPS))
    for frame in frames:
        seconds = clock.time_of(None if frame.time is None else float(frame.time))
        if seconds is not None:
            yield seconds, pictures.of(frame)


class _Clock:
    """Turns the timestamps of a file into times that start at 0 and increase.

    The clock of joined recordings starts again. In a damaged file, single frames come
    too late, so the next frame can be of the clock before.
    """

    def __init__(self, step):
        self._step, self._last = step, None
        self._origin, self._before = None, None  # of the clock, and of the one before

    def time_of(self, stamp):
        """Returns the seconds of the next frame, or `None` if another is shown then."""
        if self._last is None:
            self._last, self._origin = 0.0, stamp
            return self._last
        seconds = expected = self._last + self._step
        if stamp is not None and self._origin is not None:
            seconds, earliest = stamp - self._origin, self._last - LATE * self._step
            if self._before is not None:
                before = stamp - self._before
                closer = abs(before - expected) < abs(seconds - expected)
                if closer and before > earliest:
                    seconds = before
                    self._origin, self._before = self._before, self._origin
            if earliest < seconds <= self._last:
                return None
            if seconds <= self._last:
                seconds = expected
                self._before, self._origin = self._origin, stamp - expected
        self._last = seconds
        return seconds


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
