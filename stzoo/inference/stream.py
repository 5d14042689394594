"""Classifies each moment of a long video, a camera or a live stream."""

import contextlib
import dataclasses
import math
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from stzoo.data.frames import Frames, scale
from stzoo.data.pictures import FPS
from stzoo.data.sampling import parse_views
from stzoo.data.stream import open_source
from stzoo.data.views import Views, clip_indices
from stzoo.deploy.runtime import Exported
from stzoo.inference.online import Online, is_online
from stzoo.inference.predict import (
    classify,
    decode_predictions,
    record_of,
    warn_without_weights,
)
from stzoo.inference.views import clips_at_once

# Seconds of a window for models that see a whole video: the mean length of the videos
# of their data set.
SECONDS = {
    **{"kinetics400": 10.0, "moments": 3.0, "motions": 1.75},
    **{"something_v1": 4.0, "something_v2": 4.0, "jester": 3.0},
    **{"ucf101": 7.2, "hmdb51": 3.1},
}
UNKNOWN = 3.0  # seconds, for other data sets
WAIT = 0.1  # seconds between checks whether the stream was closed


@dataclass(frozen=True)
class Window:
    """The prediction of a model for one window of a stream.

    Attributes:
        start: float, where the window starts, in seconds of the source.
        end: float, where it ends, in seconds.
        answers: list of tuples `(label, probability)`, the most probable first, see
            `stzoo.predict`.
        probabilities: float32 array `(classes,)`.
        labels: sequence of strings, the names of the classes.
        lag: float, seconds from the arrival of the last frame to the prediction.
        dropped: int, number of windows before this one that were dropped, because a
            newer one of a live source was complete. For an online model, number of
            frames.
        lost: float, seconds without frames before this window, because the connection
            to a live source was lost or stood still.
    """

    start: float
    end: float
    answers: list
    probabilities: np.ndarray = dataclasses.field(repr=False)
    labels: tuple = dataclasses.field(repr=False)
    lag: float
    dropped: int = 0
    lost: float = 0.0


def stream(
    model,
    source,
    every=1.0,
    span=None,
    views="1x1",
    smooth=None,
    top=None,
    sample_fps=None,
    threshold=None,
):
    """Predicts the most probable classes of each window of a video.

    Each frame is decoded once and kept only while a window needs it, so memory does not
    grow with the length of the video. Windows of a file are computed in batches. For a
    live source there is no backlog: late windows are dropped and counted. A lost
    connection is opened again, and no window contains frames from before and after.

    Layers that treat each frame by itself compute a frame once for all windows that
    show it, if that saves enough work, see `stzoo.inference.shared`.

    A TSM with `shift="online"` takes frames one by one, see `stzoo.online`, so each
    frame goes through the network once. Frames are as far apart as in its clips: for
    dense clips, `stride` frames of the source, or of `sample_fps`; for clips of
    segments, the mean length of the videos of its data set, divided by the number of
    segments. Its windows end `every` seconds apart, and the last one with the source.
    They begin with the first of the averaged frames, so those at the start of a source
    are shorter.

    Args:
        model: a model of the zoo. Its `stzoo` record says how videos are prepared.
        source: path or URL of a video, folder of frames, binary file object, uint8
            array, camera (`0`, `"/dev/video0"`), live stream (`"rtsp://..."`), or an
            iterable of tuples `(seconds, frame)`; see `stzoo.data.stream.open_source`.
        every: float, seconds from the start of one window to the next.
        span: float, seconds of a window. Defaults to the length of a clip at the frame
            rate of the source, or, for models that sample frames from a whole video, to
            the mean length of the videos of their data set. An online model averages
            the frames of this time.
        views: string, clips x crops of each window, whose probabilities are averaged.
            An online model takes `"1x1"` only.
        smooth: float, seconds. The probabilities of a window are averaged with those of
            the windows that ended at most this long before it. `None`: no averaging.
        top, threshold: see `stzoo.predict`, for `answers`.
        sample_fps: float, resample the source to this number of frames per second.

    Yields:
        `Window`, in order. A video that is shorter than a window has one window.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an argument is wrong, or the source cannot be read.
        ConnectionError: a live source does not answer.

    Example:

    ```python
    for window in stzoo.stream(model, "match.mp4", every=0.5):
        print(f"{window.start:.1f} s: {window.answers[0]}")
    ```
    """
    config, online = record_of(model), is_online(model)
    if not online:  # `Online` does it
        warn_without_weights(model)
    for name, value in dict(every=every, span=span, smooth=smooth).items():
        _check_seconds(name, value, optional=name != "every")
    labels, recent = tuple(config.class_names), deque()
    with open_source(source) as opened:
        length = None if online else span
        cutting = Cutting.of(config, opened, every, length, views, sample_fps)
        if online:
            found = _followed(model, opened, cutting, span)
        else:
            found = _classified(model, opened, cutting)
        for window, probabilities, lag in found:
            recent.append((window.end, probabilities))
            while recent[0][0] <= window.end - (smooth or 0) and len(recent) > 1:
                recent.popleft()
            mean = np.mean([row for _, row in recent], axis=0)
            answers = decode_predictions(mean, config, top, threshold)
            place, missing = (window.start, window.end), (window.dropped, window.lost)
            yield Window(*place, answers, mean, labels, lag, *missing)


def _check_seconds(name, value, optional):
    if value is None and optional:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(
            f"{name} must be a number of seconds above 0"
            f"{' or None' if optional else ''}. Received: {value!r}."
        )


@dataclass(frozen=True)
class Cutting:
    """How a stream is cut into windows.

    Args:
        clip: `ClipConfig` of the model.
        views: string, clips x crops.
        every: float, seconds from one window to the next.
        rate: float, frames per second at which a window is sampled.
        count: int, frames of a window at this rate.
    """

    clip: object
    views: str
    every: float
    rate: float
    count: int

    @classmethod
    def of(cls, config, source, every, span, views, sample_fps):
        """Returns the windows for a model and a source."""
        clip = config.clip
        rate = sample_fps or clip.sample_fps or source.fps or clip.fps or FPS
        _check_seconds("sample_fps", rate, optional=False)
        clip = dataclasses.replace(clip, sample_fps=None)
        if span is None and clip.sampling == "dense" and clip.frames:
            snippets = clip.frames // clip.snippet
            count = (snippets - 1) * clip.stride + max(clip.stride, clip.snippet)
        else:
            count = max(1, round((span or SECONDS.get(config.dataset, UNKNOWN)) * rate))
        clip_indices(count, clip, parse_views(views)[0])  # checks both
        return cls(clip, views, every, rate, count)

    @property
    def one_by_one(self):
        """The same frames, each in a window of its own."""
        clip = dataclasses.replace(self.clip, frames=1)
        if self.clip.sampling == "dense":
            count, rate = self.clip.stride, self.rate
        else:
            count, rate = 1, self.rate * self.clip.frames / self.count
        return Cutting(clip, self.views, count / rate, rate, count)

    @property
    def span(self):
        """Seconds of a window."""
        return self.count / self.rate

    def needed(self):
        """Returns the times at which a window needs a frame, in seconds, sorted."""
        indices = clip_indices(self._read, self.clip, parse_views(self.views)[0])
        if self.clip.uses_flow:
            indices = np.union1d(indices, np.minimum(indices + 1, self._read))
        return (np.unique(indices) + 0.5) / self.rate

    @property
    def _read(self):
        """Number of frames that a clip can use. Flow also needs the next frame."""
        return max(1, self.count - self.clip.uses_flow)


@dataclass
class _Cut:
    """A window that has not been classified."""

    start: float
    end: float
    views: Views
    names: list  # for each view, those of its frames: equal names are equal pixels
    complete: float  # clock
    dropped: int = 0
    lost: float = 0.0  # seconds


class _Cutter:
    """Collects the frames of windows, and drops those that no window needs."""

    def __init__(self, cutting):
        self.cutting, self._needed = cutting, cutting.needed()
        self._kept, self._next, self._origin = deque(), 0, None
        self._lost = 0.0  # seconds before the next window

    def windows(self, source):
        """Yields a `_Cut` for each complete window."""
        before, last, step = None, None, 1 / self.cutting.rate
        for item in source:
            if item is None:  # the connection was lost
                yield from self._finish(before, step)
                before = None
                continue
            seconds, picture = item
            if last is None:
                self._origin = seconds
            elif before is None:
                self._begin_again(seconds, seconds - last)
            else:
                step = seconds - last
                self._keep(*before, until=seconds)
                yield from self._complete(seconds)
            before, last = item, seconds
        yield from self._finish(before, step)
        if last is not None and not self._next:  # shorter than one window
            count = round((last + step - self._origin) * self.cutting.rate)
            yield self._cut(self._origin, max(1, min(count, self.cutting.count)))

    def _finish(self, before, step):
        """Yields the windows up to the last frame, whose end is not known."""
        if before is not None:
            end = before[0] + step
            self._keep(*before, until=end)
            yield from self._complete(end + 0.5 * step)  # times are rounded

    def _start(self, number):
        return self._origin + number * self.cutting.every

    def _begin_again(self, seconds, lost):
        """Continues with the first window that starts after a lost connection."""
        self._kept.clear()
        self._next = math.ceil((seconds - self._origin) / self.cutting.every - 1e-6)
        self._lost += lost

    def _keep(self, seconds, picture, until):
        """Keeps a frame that is shown from `seconds` to `until`, if it is needed."""
        every, needed = self.cutting.every, self._needed
        first = math.floor((seconds - self._origin - needed[-1]) / every)
        last = math.ceil((until - self._origin - needed[0]) / every)
        starts = self._start(np.arange(max(first, self._next), last + 1))
        times = starts[:, None] + needed
        # All frames of the first window are kept, since a video that is shorter than a
        # window is sampled differently.
        is_first = seconds < self._origin + self.cutting.span and not self._next
        if is_first or np.any((times >= seconds) & (times < until)):
            self._kept.append((seconds, picture(self.cutting.clip.short_side)))

    def _complete(self, seconds):
        """Yields the windows that end by this time."""
        while self._start(self._next) + self.cutting.span <= seconds:
            start = self._start(self._next)
            self._next += 1
            yield self._cut(start, self.cutting.count)
            first = self._start(self._next) + self._needed[0]
            while len(self._kept) > 1 and self._kept[1][0] <= first:
                self._kept.popleft()

    def _cut(self, start, count):
        kept, cutting = list(self._kept), self.cutting
        times = np.array([seconds for seconds, _ in kept])

        def shown(indices):
            middles = start + (indices + 0.5) / cutting.rate
            return np.maximum(np.searchsorted(times, middles, "right") - 1, 0)

        def fetch(indices):
            pictures = [kept[place][1] for place in shown(indices)]
            size = pictures[-1].shape[:2]  # it can change within a video
            return np.stack([scale(picture, *size) for picture in pictures])

        views = Views(Frames(None, count, fetch), cutting.clip, cutting.views)
        clips, crops = parse_views(cutting.views)
        places = shown(clip_indices(views.total, cutting.clip, clips))
        size = kept[places.max()][1].shape[:2]
        names = [
            [(seconds, crop, size) for seconds in times[row].tolist()]
            for row in places
            for crop in range(crops)
        ]
        end, lost, self._lost = start + count / cutting.rate, self._lost, 0.0
        return _Cut(start, end, views, names, time.monotonic(), lost=lost)


def _classified(model, source, cutting):
    """Yields `(window, probabilities, lag)` for each window."""
    count = math.prod(parse_views(cutting.views))
    size = max(1, clips_at_once() // count)
    if source.is_live or cutting.clip.height is None:
        size = 1
    shared = _sharing(model, cutting, source.fps, size)
    if source.is_live:  # the first call builds the graph, which takes seconds
        shape = [side or cutting.clip.short_side for side in cutting.clip.shape]
        clips = np.zeros((count, *shape), np.uint8)
        shared.build(clips) if shared else classify(model, clips)
    with _reading(source, cutting, size) as windows:
        for batch in windows:
            full = batch + batch[-1:] * (size - len(batch))  # batches have one size
            if shared:
                found = shared.classify(full)
            else:
                found = classify(model, np.concatenate([w.views[:] for w in full]))
            found = found.reshape(size, count, -1)
            now = time.monotonic()
            for window, probabilities in zip(batch, found.mean(1), strict=False):
                yield window, probabilities, now - window.complete


def _sharing(model, cutting, fps, size):
    """Returns how windows share the features of frames. Exports need no Keras."""
    if isinstance(model, Exported):
        return None
    from stzoo.inference.shared import sharing

    return sharing(model, cutting, fps, size)


def _followed(model, source, cutting, span):
    """Yields `(window, probabilities, lag)` each `every` seconds of an online model."""
    if cutting.views != "1x1":
        raise ValueError(
            f'{model.name} takes frames one by one, so views must be "1x1". Received: '
            f"{cutting.views!r}."
        )
    steps = cutting.one_by_one
    frames = max(1, round((span or cutting.span) / steps.every))
    online = _online(model, frames, source, steps)
    origin, number, dropped, lost = None, 1, 0, 0.0
    with _reading(source, steps, 1) as batches:
        for (frame,) in batches:
            if origin is None:
                origin = begun = frame.start
            if frame.lost:
                online.reset()
                begun = frame.start
                number = math.floor((begun - origin) / cutting.every + 1e-6) + 1
            online.step(frame.views[:][0, 0])
            start = max(begun, frame.end - frames * steps.every)
            dropped, lost = dropped + frame.dropped, lost + frame.lost
            window = dataclasses.replace(frame, start=start, dropped=dropped, lost=lost)
            found = window, online.probabilities, time.monotonic() - frame.complete
            is_due = frame.end - origin >= number * cutting.every - 1e-6
            if is_due:
                number = math.floor((frame.end - origin) / cutting.every + 1e-6) + 1
                dropped, lost = 0, 0.0
                yield found
    if origin is not None and not is_due:
        yield found


def _online(model, frames, source, steps):
    """Returns an `Online` that averages a number of frames."""
    online = Online(model, frames)
    if source.is_live:  # the first call builds the graph, which takes seconds
        online.step(np.zeros(steps.clip.shape[1:]))
        online.reset()
    return online


@contextlib.contextmanager
def _reading(source, cutting, size):
    """Context manager that yields batches of windows, which a thread reads."""
    ready = _Newest() if source.is_live else queue.Queue(2 * size)
    stopped = threading.Event()

    def put(item):
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                return ready.put(item, timeout=WAIT)

    def read():
        try:
            for window in _Cutter(cutting).windows(source):
                put(window)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # for the thread that waits
            put(error)

    thread = threading.Thread(target=read, name="stzoo-stream", daemon=True)
    thread.start()
    try:
        yield _batches(ready, size)
    finally:
        stopped.set()
        source.close()
        # A live source may be connecting, which takes longer and is not waited for.
        thread.join(timeout=1 if source.is_live else 5)


def _batches(ready, size):
    """Yields lists of windows until there are no more."""
    batch = []
    while True:
        item = ready.get()
        if isinstance(item, _Cut):
            batch.append(item)
        if batch and (len(batch) == size or not isinstance(item, _Cut)):
            yield batch
            batch = []
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return


class _Newest:
    """A queue of one window. A newer window replaces one that waits."""

    def __init__(self):
        self._items, self._changed = deque(), threading.Condition()

    def put(self, item, timeout=None):
        with self._changed:
            if isinstance(item, _Cut) and self._items:
                late = self._items.pop()
                item.dropped = late.dropped + 1
                item.lost += late.lost
            self._items.append(item)
            self._changed.notify()

    def get(self):
        with self._changed:
            while not self._items:
                self._changed.wait()
            return self._items.popleft()
