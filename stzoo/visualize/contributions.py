"""Plots of contributions, drawn by matplotlib as PNG.

They have the width of a column in a paper, and letters of 7 points. Colours are those
of Okabe and Ito (Color Universal Design, 2008), which the colour-blind can distinguish.
Each part also has its own marker.
"""

import functools
import io

import numpy as np

COLUMN = 3.25  # inches
_COLOURS, _MARKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), "os^D"
_NAMES = {"hw": "H×W", "tw": "T×W", "th": "T×H"}  # as in the CoST paper
_PAPER = {
    "font.size": 7,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "lines.linewidth": 1,
}


def _for_paper(draw):
    """Decorator that sets the sizes of a plot for a column."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context(_PAPER):
            return draw(*args, **kwargs)

    return drawn


def by_layer(*trainings):
    """Draws the shares by depth, as Figure 8 of CoST does.

    Args:
        *trainings: `stzoo.explain.contributions.Contributions` of one network. Several,
            of trainings with different seeds, give means and error bars of one standard
            deviation.

    Returns:
        Bytes.
    """
    first = trainings[0]
    shares = np.stack([found.by_layer for found in trainings])
    parts = {_name(part): shares[..., i] for i, part in enumerate(first.parts)}
    axis = "operator, from the input to the output"
    return lines(parts, first.layers, axis, "mean share, %", _title(trainings))


@_for_paper
def lines(shares, names, axis, measure, title):
    """Draws a line for each of up to four series of shares.

    Args:
        shares: dict from the name of a line to an array `(trainings, names)`, from 0 to
            1. For several trainings, the mean and one standard deviation are drawn.
        names: sequence of strings, tick labels of the x axis.
        axis: string, label of the x axis.
        measure: string, label of the y axis, in %.
        title: string.

    Returns:
        Bytes.
    """
    figure = _figure(2.5)
    axes = figure.subplots()
    for number, (name, values) in enumerate(shares.items()):
        means, bars = _summary(values)
        axes.errorbar(range(len(names)), means, bars, label=name, **_style(number))
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_xlabel(axis)
    axes.set_ylabel(measure)
    axes.set_ylim(0)
    return _png(figure, title)


@_for_paper
def by_class(*trainings, most=30):
    """Draws the shares by class, sorted by the first part, as Figure 7 of CoST does.

    Args:
        *trainings: see `by_layer`.
        most: int, maximum number of classes. Of more classes, only the first and the
            last `most / 2` are drawn.

    Returns:
        Bytes.

    Raises:
        ValueError: the data had no labels, so there are no classes.
    """
    first = trainings[0]
    if not first.classes:
        raise ValueError(
            f"There are no shares of {first.model} by class, since its videos had no "
            "labels. Pass videos with labels to `contributions`."
        )
    means, deviations = _summary([found.by_class.mean(1) for found in trainings])
    order = np.argsort(-means[:, 0], kind="stable")
    names = [f"{_short(first.classes[i])} ({first.videos[i]})" for i in order]
    rows = np.arange(len(order))
    if len(order) > most:
        half = most // 2
        names = [*names[:half], f"… {len(order) - 2 * half} classes …", *names[-half:]]
        order = np.concatenate([order[:half], order[-half:]])
        rows = np.delete(np.arange(2 * half + 1), half)
    figure = _figure(1 + 0.14 * len(names))
    axes = figure.subplots()
    for part in range(len(first.parts)):
        bars = None if deviations is None else deviations[order, part]
        style = dict(label=_name(first.parts[part]), linestyle="none", **_style(part))
        axes.errorbar(means[order, part], rows, xerr=bars, **style)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y")
    axes.set_ylabel("class (videos)")
    axes.set_xlabel("mean share, %")
    return _png(figure, _title(trainings))


@_for_paper
def by_channel(found, layer=None):
    """Draws the channels of one operator: in a triangle, or on a line for two parts.

    Args:
        found: `stzoo.explain.contributions.Contributions`.
        layer: string, one of `found.layers`. Defaults to the last one.

    Returns:
        Bytes.

    Raises:
        ValueError: there is no such operator.
    """
    layer = layer or found.layers[-1]
    if layer not in found.layers:
        raise ValueError(
            f"{found.model} has no coefficients in {layer!r}. Choose one of "
            f"{', '.join(found.layers)}."
        )
    shares = found.by_channel[layer]
    figure = _figure(2.9 if len(found.parts) == 3 else 2)
    axes = figure.subplots()
    if len(found.parts) == 3:
        _triangle(axes, shares, list(map(_name, found.parts)))
    else:
        axes.hist(100 * shares[:, 0], np.arange(0, 101, 5), color=_COLOURS[0])
        axes.set_xlabel(f"share of {found.parts[0]}, %; the rest: {found.parts[1]}")
        axes.set_ylabel("channels")
    return _png(figure, f"{_title([found])}\n{layer}, {len(shares)} channels")


def _triangle(axes, shares, names):
    """Draws points whose distance to each corner shows the share of a part."""
    height = 3**0.5 / 2
    corners = np.array([(0.5, height), (0, 0), (1, 0)])
    axes.fill(*corners.T, facecolor="none", edgecolor="0.2", linewidth=0.8)
    outwards = [(-0.045, 0.01), (0, -0.045), (0.045, 0.01)]
    for part, name in enumerate(names):
        # The share of the part is constant along a line. The edge from its corner to
        # the next one has the labels.
        here, after, before = corners[np.arange(part, part + 3) % 3]
        for share in (0.2, 0.4, 0.6, 0.8):
            told = share * here + (1 - share) * after
            line = np.stack([told, share * here + (1 - share) * before])
            axes.plot(*line.T, color="0.85", linewidth=0.5, zorder=0)
            text = dict(color=_COLOURS[part], ha="center", va="center", fontsize=6)
            axes.text(*(told + outwards[part]), f"{100 * share:.0f}", **text)
        middle = corners.mean(0)
        text = dict(color=_COLOURS[part], ha="center", va="center", weight="bold")
        axes.text(*(here + 0.17 * (here - middle)), f"{name}\n100 %", **text)
    size = max(2, min(14, 1500 / len(shares)))
    points = dict(s=size, color="0.35", alpha=0.5, linewidth=0, label="a channel")
    axes.scatter(*(shares @ corners).T, **points)
    mean = dict(s=40, marker="X", color="#E69F00", edgecolor="black", linewidth=0.6)
    axes.scatter(*(shares.mean(0) @ corners), **mean, label="mean")
    axes.set(aspect="equal", xlim=(-0.2, 1.2), ylim=(-0.15, height + 0.12))
    axes.axis("off")


def _summary(shares):
    """Returns mean and standard deviation over trainings, in %."""
    shares = 100 * np.stack(shares)
    return shares.mean(0), shares.std(0, ddof=1) if len(shares) > 1 else None


def _style(number):
    """Returns the style of a line, or of a part."""
    return dict(color=_COLOURS[number], marker=_MARKS[number], markersize=4, capsize=2)


def _name(part):
    return _NAMES.get(part, part)


def _title(trainings):
    """Returns the name of the model and the number of videos."""
    total = trainings[0].total
    source = f"{total} videos" if total else "from the weights"
    title = f"{trainings[0].model}, {source}"
    if len(trainings) > 1:
        title += f"\nmean ± standard deviation of {len(trainings)} trainings"
    return title


def _short(name):
    return name if len(name) <= 26 else name[:25] + "…"


def _figure(height):
    from matplotlib.figure import Figure

    return Figure((COLUMN, height), layout="constrained")


def _png(figure, title):
    (axes,) = figure.axes
    _, names = axes.get_legend_handles_labels()
    if names:
        columns = len(names) if len(names) < 4 else 2
        place = dict(loc="outside upper center", ncols=columns, frameon=False)
        legend = figure.legend(title=title, **place)
        legend.get_title().set_multialignment("center")
    else:
        axes.set_title(title)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=300)
    return file.getvalue()
