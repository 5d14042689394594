"""Plots of a training and of an evaluation, drawn by matplotlib as PNG."""

import io

import numpy as np

NUMBERED = 30  # most classes of a confusion matrix with counts in its cells
LISTED = 15  # largest confusions in the list beside it


def confusion(matrix, labels):
    """Draws a confusion matrix, with a list of the largest confusions beside it.

    Each class has a row and a column of a fixed size, so the names are readable even
    for hundreds of classes. Rows are normalised to 1. With at most 30 classes, the
    cells show the counts, if the largest one fits.

    Args:
        matrix: int array `(classes, classes)`, see `stzoo.inference.metrics.confusion`.
        labels: sequence of strings.

    Returns:
        Bytes.
    """
    counts = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, counts, np.zeros(matrix.shape), where=counts > 0)
    names = [label if len(label) <= 30 else label[:29] + "…" for label in labels]
    size = max(4, 0.2 * len(labels)) * (2 if len(labels) <= NUMBERED else 1) ** 0.5
    letters = max(8, size / 2)  # so that the list is readable beside a large matrix
    lines = _largest_confusions(matrix, names)
    widths = size + 2.5, 0.3 + 0.0085 * letters * max(map(len, lines))
    figure = _figure(sum(widths), size + 2)
    left, beside = figure.subfigures(1, 2, width_ratios=widths)
    axes = left.subplots()
    picture = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    right, total = np.trace(matrix), matrix.sum()
    axes.set_title(f"Confusion matrix: {right} of {total} right", fontsize=letters + 2)
    left.colorbar(picture, ax=axes, shrink=0.5, label="share of the class")
    digits = len(str(matrix.max()))
    if len(labels) <= NUMBERED and digits * len(labels) <= 3 * NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            style = dict(ha="center", va="center", color=colour, fontsize=7)
            axes.text(column, row, str(matrix[row, column]), **style)
    style = dict(va="top", fontsize=letters, linespacing=1.4)
    beside.text(0.02, 0.95, "\n".join(lines), **style)
    return _png(figure)


def _largest_confusions(matrix, names):
    """Returns the lines of the list beside a confusion matrix."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    lines = [
        f"{names[row]} → {names[column]}: {wrong[row, column]} of {matrix[row].sum()}"
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column]
    ]
    return ["Largest confusions (class → answer)", *(lines or ["none"])]


def curves(history, kept=None):
    """Draws the log of a training, with one panel for each metric.

    Args:
        history: list of dicts from the name of a metric to its value, one for each
            epoch. `"val_loss"` is drawn in the panel of `"loss"`.
        kept: int, the index of the epoch that was kept, which is marked, or `None`.

    Returns:
        Bytes.
    """
    names = [name for name in history[0] if not name.startswith("val_")]
    figure = _figure(4 * len(names), 3.2)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    epochs = range(1, len(history) + 1)
    for axes, name in zip(panels, names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history[0]:
                values = [row[key] for row in history]
                axes.plot(epochs, values, ".-", label=label)
        if kept is not None:
            style = dict(color="grey", linestyle="--", linewidth=1)
            axes.axvline(kept + 1, label=f"kept: epoch {kept + 1}", **style)
        axes.set_xlabel("epoch")
        axes.set_title(name)
        if f"val_{name}" in history[0] or kept is not None:
            axes.legend()
    return _png(figure)


def rates(found):
    """Draws the losses of a test of learning rates.

    Args:
        found: `stzoo.training.rate.Rates`.

    Returns:
        Bytes.
    """
    figure = _figure(6, 4)
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, ".", color="lightgrey", label="loss of a step")
    axes.plot(found.rates, found.smoothed, label="smoothed")
    style = dict(color="grey", linestyle="--", linewidth=1)
    axes.axvline(found.suggested, label=f"suggested: {found.suggested:.2g}", **style)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_title("loss")
    axes.legend()
    return _png(figure)


def _figure(width, height):
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def _png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
