"""Plots of a training and of an evaluation, drawn by matplotlib as PNG."""

import io

import numpy as np


def confusion(matrix, labels):
    """Draws a confusion matrix.

    Each class has a row and a column of a fixed size, so the names are readable even
    for hundreds of classes. Rows are normalised to 1. With at most 30 classes, the
    cells show the counts.

    Args:
        matrix: int array `(classes, classes)`, see `stzoo.inference.metrics.confusion`.
        labels: sequence of strings.

    Returns:
        Bytes.
    """
    counts = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, counts, np.zeros(matrix.shape), where=counts > 0)
    names = [label if len(label) <= 30 else label[:29] + "…" for label in labels]
    size = max(4, 0.2 * len(labels)) * (2 if len(labels) <= 30 else 1) ** 0.5
    figure = _figure(size + 2.5, size + 2)
    axes = figure.subplots()
    picture = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    figure.colorbar(picture, ax=axes, shrink=0.5, label="share of the class")
    if len(labels) <= 30:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = dict(ha="center", va="center", color=colour, fontsize=7)
            axes.text(column, row, str(matrix[row, column]), **text)
    return _png(figure)


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
