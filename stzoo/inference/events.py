"""Finds events, with their start and end, in the windows of a stream."""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """A class that is present for some time.

    Attributes:
        label: string.
        start: float, seconds.
        end: float, seconds.
        score: float, mean probability of the class during the event.
    """

    label: str
    start: float
    end: float
    score: float


def find_events(windows, high=0.5, low=None, shortest=None, gap=None, only=None):
    """Finds events: which class is present from when to when.

    An event lasts while the probability of its class is at least `low`, and reaches
    `high` at least once. The two thresholds (hysteresis) keep an event together if a
    few windows are less certain.

    Args:
        windows: iterable of `stzoo.inference.stream.Window`, in order.
        high: float from 0 to 1, the probability that an event must reach, or a sequence
            with one for each class, such as `model.stzoo.thresholds`.
        low: float, the probability below which an event ends. Defaults to 0.6 of
            `high`.
        shortest: float, seconds. Shorter events are dropped. Defaults to the length of
            the longest window, since a window with parts of two events can look like a
            third.
        gap: float, seconds. Events of one class with a shorter gap are merged. Defaults
            to the length of the longest window.
        only: sequence of strings, the classes to look for. `None`: all.

    Returns:
        List of `Event`, sorted by their start.

    Raises:
        ValueError: an argument is wrong, or `only` has an unknown class.

    Example:

    ```python
    windows = list(stzoo.stream(model, "match.mp4", every=0.5))
    stzoo.find_events(windows, high=0.7, shortest=1.0)
    ```
    """
    highs = np.asarray(high, float)
    lows = 0.6 * highs if low is None else np.asarray(low, float)
    if not np.all((lows >= 0) & (lows <= highs) & (highs <= 1)):
        raise ValueError(
            "high and low must be probabilities, low at most high. Received: "
            f"high={high!r}, low={low!r}."
        )
    windows = list(windows)
    if not windows:
        return []
    cells, labels = spans(windows), windows[0].labels
    highs, lows = (_of_each(values, labels) for values in (highs, lows))
    chosen = check_classes(only, labels)
    length = max(window.end - window.start for window in windows)
    shortest = length if shortest is None else shortest
    gap = length if gap is None else gap
    scores = np.stack([window.probabilities for window in windows])
    found, parts = [], _parts(windows)
    for index in chosen:
        # Python floats, so that 0.7 is reached by the float32 of 0.7.
        least = float(highs[index]), float(lows[index])
        for run in _merged(_runs(scores[:, index], *least, parts), cells, gap):
            start, end = cells[run[0]][0], cells[run[-1]][1]
            if end - start >= shortest:
                score = float(scores[run, index].mean())
                found.append(Event(labels[index], start, end, score))
    return sorted(found, key=lambda event: (event.start, event.end, event.label))


def _of_each(values, labels):
    """Returns one value for each class, from one for all or one for each."""
    if values.shape not in ((), (len(labels),)):
        raise ValueError(
            f"A sequence of probabilities must have one for each of the {len(labels)} "
            f"classes. Received: {len(values)}."
        )
    return np.broadcast_to(values, (len(labels),))


def check_classes(names, labels):
    """Returns the indices of classes, or of all for `None`.

    Raises:
        ValueError: there is no such class.
    """
    if names is None:
        return list(range(len(labels)))
    for name in names:
        if name not in labels:
            raise ValueError(
                f"The model has no class {name!r}. It has {len(labels)}: "
                f"{', '.join(map(repr, labels[:12]))}{', ...' * (len(labels) > 12)}."
            )
    return [labels.index(name) for name in names]


def spans(windows):
    """Returns the time span of each window, without overlaps.

    Spans meet halfway between the middles of two windows. The first span starts with
    its window, and the last one ends with its window. So do those before and after a
    lost connection.

    Args:
        windows: sequence of `stzoo.inference.stream.Window`, in order.

    Returns:
        List of tuples `(start, end)`, in seconds.
    """
    middles = [(window.start + window.end) / 2 for window in windows]
    between = [(one + other) / 2 for one, other in itertools.pairwise(middles)]
    starts, ends = [windows[0].start, *between], [*between, windows[-1].end]
    for at, window in enumerate(windows[1:], 1):
        if window.lost:
            starts[at], ends[at - 1] = window.start, windows[at - 1].end
    return list(zip(starts, ends, strict=True))


def captions(windows, threshold=0.0, only=None):
    """Returns the most probable class over time, as captions.

    Args:
        windows: sequence of `stzoo.inference.stream.Window`, in order.
        threshold: float, the minimum probability of a caption, or a sequence with one
            for each class.
        only: sequence of strings, the classes to show. `None`: all.

    Returns:
        List of `Event`.
    """
    if not windows:
        return []
    labels = windows[0].labels
    chosen = np.array(check_classes(only, labels))
    least = _of_each(np.asarray(threshold, np.float32), labels)  # 0.7 is reached by 0.7
    rows = []
    for window, cell in zip(windows, spans(windows), strict=True):
        reached = np.where(window.probabilities >= least, window.probabilities, -1)
        best = chosen[reached[chosen].argmax()]
        name = labels[best] if reached[best] >= 0 else None
        rows.append((name, *cell, float(window.probabilities[best])))
    found, parts = [], _parts(windows)
    names = [(part, name) for part, (name, *_) in zip(parts, rows, strict=True)]
    for (_, label), places in itertools.groupby(range(len(rows)), names.__getitem__):
        group = [rows[place] for place in places]
        if label is not None:
            score = float(np.mean([row[3] for row in group]))
            found.append(Event(label, group[0][1], group[-1][2], score))
    return found


def _parts(windows):
    """Returns for each window how often the connection was lost before it."""
    return list(itertools.accumulate(window.lost > 0 for window in windows))


def srt(found):
    """Returns subtitles in the SubRip format.

    Args:
        found: sequence of `Event`, see `captions`.

    Returns:
        String.
    """
    return "\n".join(
        f"{number}\n{_clock(event.start)} --> {_clock(event.end)}\n"
        f"{event.label} ({100 * event.score:.0f} %)\n"
        for number, event in enumerate(found, 1)
    )


def _clock(seconds):
    """A time in the notation of SubRip."""
    milliseconds = round(1000 * max(seconds, 0))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02}:{minutes:02}:{rest:02},{milliseconds:03}"


def _runs(scores, high, low, parts):
    """Lists of neighbouring windows that stay at `low` and reach `high`."""

    def place(index):
        return scores[index] >= low, parts[index]

    places = itertools.groupby(range(len(scores)), key=place)
    runs = [list(group) for (is_seen, _), group in places if is_seen]
    return [run for run in runs if scores[run].max() >= high]


def _merged(runs, cells, gap):
    """Joins runs with less than `gap` seconds between them."""
    merged = []
    for run in runs:
        if merged and cells[run[0]][0] - cells[merged[-1][-1]][1] < gap:
            run = [*range(merged.pop()[0], run[-1] + 1)]
        merged.append(run)
    return merged
