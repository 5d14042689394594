"""Plots classes over time, drawn by matplotlib as PNG."""

import io

import numpy as np

COLUMNS = 1200  # pixels of a picture


def timeline(spans, probabilities, labels, rows=12, width=12):
    """Draws the probabilities of classes over time.

    Args:
        spans: sequence of tuples `(start, end)` in seconds, in order, see
            `stzoo.inference.events.spans`.
        probabilities: array `(spans, classes)`.
        labels: sequence of strings.
        rows: int, maximum number of classes. Those that are the most probable class
            for the longest time are shown.
        width: float, inches. The picture has 1200 pixels, so its text is larger if it
            is narrow.

    Returns:
        Bytes.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    probabilities = np.asarray(probabilities)
    spans = np.asarray(spans, float)
    shown = _most_seen(spans, probabilities, rows)
    start, end = spans[0, 0], spans[-1, 1]
    picture = _pooled(spans, probabilities[:, shown])
    figure = Figure((width, 1.2 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    extent = (start, end, len(shown) - 0.5, -0.5)
    image = axes.imshow(
        picture.T,
        "Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=extent,
        interpolation="nearest",
    )
    names = [_shortened(labels[i], int(40 * width / 12)) for i in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=9)
    axes.set_yticks(np.arange(len(shown) - 1) + 0.5, minor=True)
    axes.grid(axis="y", which="minor", color="0.85", linewidth=0.8)
    axes.tick_params(which="both", length=0, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(width, steps=[1, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: clock(x, end - start)))
    figure.colorbar(image, ax=axes, label="probability", pad=0.01, aspect=12)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=COLUMNS / width)
    return file.getvalue()


def _shortened(text, length):
    return text if len(text) <= length else text[: length - 1] + "…"


def clock(seconds, total):
    """Formats a time as 7.5 s, 1:05 or 2:01:05, by the total length."""
    if total < 20:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _most_seen(spans, probabilities, rows):
    """Returns the classes that are most probable for longest, in order of time."""
    best = probabilities.argmax(1)
    seconds = np.bincount(best, np.diff(spans)[:, 0], probabilities.shape[1])
    order = np.argsort(-(seconds + 1e-6 * probabilities.max(0)), kind="stable")
    few = min(rows, max(int((seconds > 0).sum()), min(3, len(order))))
    return sorted(order[:few], key=lambda index: probabilities[:, index].argmax())


def _pooled(spans, probabilities):
    """Returns the maximum probability in each column, `(columns, classes)`.

    Columns between two spans, where a connection was lost, are NaN, so they are empty.
    """
    edges = np.linspace(spans[0, 0], spans[-1, 1], COLUMNS + 1)
    first = np.searchsorted(spans[:, 1], edges[:-1], side="right")
    last = np.searchsorted(spans[:, 0], edges[1:], side="left")
    first = np.minimum(first, len(spans) - 1)  # edges are rounded
    empty = np.full(probabilities.shape[1], np.nan)
    return np.stack(
        [
            probabilities[a:b].max(0) if a < b else empty
            for a, b in zip(first, last, strict=True)
        ]
    )
