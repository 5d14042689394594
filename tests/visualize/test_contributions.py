import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from stzoo.explain.contributions import Contributions
from stzoo.visualize import contributions as plots

RNG = np.random.default_rng(0)
DPI = 300


def found(classes=0, parts=("hw", "tw", "th"), layers=("layer1_1_conv2", "layer2_1")):
    """Returns random shares."""
    by_class = RNG.dirichlet(np.ones(len(parts)), (classes, len(layers)))
    by_channel = {name: RNG.dirichlet(np.ones(len(parts)), 16) for name in layers}
    return Contributions(
        "cost_tiny.motions",
        parts,
        layers,
        tuple(f"class {number}" for number in range(classes)),
        (5,) * classes,
        5 * classes,
        np.stack([shares.mean(0) for shares in by_channel.values()]),
        by_class,
        by_channel,
    )


@pytest.fixture
def drawn(monkeypatch):
    """The drawn figures of matplotlib."""
    figures, draw = [], plots._png
    monkeypatch.setattr(
        plots,
        "_png",
        lambda figure, *rest: figures.append(figure) or draw(figure, *rest),
    )
    return figures


def picture(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def lines(axes):
    """Returns the drawn points without error bars: a dict from the name of a part."""
    return {
        container.get_label(): container.lines[0].get_xydata()
        for container in axes.containers
    }


def text(figure):
    (legend,) = figure.legends
    return legend.get_title().get_text()


def test_by_layer_has_a_line_for_each_part(drawn):
    shares = found(3)
    image = picture(plots.by_layer(shares))
    assert image.shape[1] == plots.COLUMN * DPI
    (axes,) = drawn[0].axes
    for part, name in enumerate(("H×W", "T×W", "T×H")):
        assert np.allclose(lines(axes)[name][:, 1], 100 * shares.by_layer[:, part])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(shares.layers)
    assert text(drawn[0]) == "cost_tiny.motions, 15 videos"
    assert "%" in axes.get_ylabel()
    plots.by_layer(found())
    assert text(drawn[1]) == "cost_tiny.motions, from the weights"


def test_several_trainings_give_means_and_error_bars(drawn):
    first, second = found(2), found(2)
    plots.by_layer(first, second)
    (axes,) = drawn[0].axes
    mean = 50 * (first.by_layer + second.by_layer)
    apart = 100 * abs(first.by_layer - second.by_layer) / 2**0.5
    for part, container in enumerate(axes.containers):
        assert np.allclose(container.lines[0].get_ydata(), mean[:, part])
        (bars,) = container.lines[2]
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert np.allclose(np.ptp(ends, axis=1), 2 * apart[:, part])
    assert "standard deviation of 2 trainings" in text(drawn[0])


def test_classes_are_sorted(drawn):
    shares = found(8)
    plots.by_class(shares)
    (axes,) = drawn[0].axes
    drawn_shares = lines(axes)["H×W"][:, 0]
    assert (np.diff(drawn_shares) <= 0).all()
    order = np.argsort(-shares.by_class.mean(1)[:, 0])
    names = [f"{shares.classes[row]} (5)" for row in order]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    with pytest.raises(ValueError, match="no shares of cost_tiny.motions by class"):
        plots.by_class(found())


def test_of_many_classes_only_the_first_and_last_are_drawn(drawn):
    shares = found(400)
    image = picture(plots.by_class(shares))
    assert image.shape[0] / DPI < 6  # inches
    (axes,) = drawn[0].axes
    ends = np.sort(100 * shares.by_class.mean(1)[:, 0])[::-1]
    assert np.allclose(lines(axes)["H×W"][:, 0], [*ends[:15], *ends[-15:]])
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(names) == 31 and names[15] == "… 370 classes …"


def test_the_corners_of_the_triangle_are_the_parts(drawn):
    shares = found(2)
    shares.by_channel["layer2_1"][:3] = np.eye(3)
    image = picture(plots.by_channel(shares))
    (axes,) = drawn[0].axes
    points, mean = (np.array(drawing.get_offsets()) for drawing in axes.collections)
    top, left, right = points[:3]
    assert top[1] > 0 and left[1] == right[1] == 0 and left[0] < top[0] < right[0]
    assert np.allclose(points, shares.by_channel["layer2_1"] @ points[:3])
    assert np.allclose(mean, shares.by_channel["layer2_1"].mean(0) @ points[:3])
    assert "layer2_1, 16 channels" in text(drawn[0])
    assert (image != picture(plots.by_channel(shares, "layer1_1_conv2"))).any()
    with pytest.raises(ValueError, match="in 'fc'. Choose one of layer1_1_conv2"):
        plots.by_channel(shares, "fc")


def test_two_parts_are_drawn_on_a_line(drawn):
    shares = found(3, ("kept", "shifted"))
    plots.by_channel(shares)
    (axes,) = drawn[0].axes
    assert sum(bar.get_height() for bar in axes.patches) == 16
    assert axes.get_xlabel() == "share of kept, %; the rest: shifted"
    assert picture(plots.by_layer(shares)).any()
    assert picture(plots.by_class(shares)).any()


def test_long_names_leave_room_for_the_shares(drawn):
    shares = dataclasses.replace(found(2), classes=("a" * 99, "b"))
    plots.by_class(shares)
    (axes,) = drawn[0].axes
    assert axes.get_position().width > 0.3


def test_four_lines_fit_into_a_column(drawn):
    values = {
        f"CoST ({v}) on {labels}": RNG.random((3, 4))
        for v in "ab"
        for labels in ("motions", "shapes")
    }
    plots.lines(values, list("abcd"), "network", "top-1, %", "Motions")
    (legend,) = drawn[0].legends
    box = legend.get_window_extent()
    assert box.x0 > 0 and box.x1 < drawn[0].bbox.x1
