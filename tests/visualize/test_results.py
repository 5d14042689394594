import io

import numpy as np
from PIL import Image

from stzoo.visualize import results as plots


def size(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def test_the_names_of_many_classes_are_readable():
    few = size(plots.confusion(np.eye(3, dtype=int), ["a", "b", "c" * 99]))
    labels = [f"playing instrument {number}" for number in range(60)]
    many = size(plots.confusion(np.eye(60, dtype=int), labels))
    assert few[1] > 300
    assert many[1] / 60 > 15  # pixels for a line of 8 points at 100 dpi


def test_a_class_without_videos_is_drawn():
    assert size(plots.confusion(np.zeros((2, 2), int), ["a", "b"]))


def test_curves_have_a_panel_for_each_metric():
    rows = [{"loss": 1.0, "val_loss": 2.0, "accuracy": 0.5}, {"loss": 0.5}]
    rows[1] |= {"val_loss": 1.5, "accuracy": 0.75}
    width, height = size(plots.curves(rows))
    assert width == 800 and height == 320


def test_curves_mark_the_kept_epoch(monkeypatch):
    monkeypatch.setattr(plots, "_png", lambda figure: figure)
    rows = [{"loss": 1.0, "accuracy": 0.5}] * 3
    for axes in plots.curves(rows, 1).axes:
        assert list(axes.lines[-1].get_xdata()) == [2, 2]
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == ["training", "kept: epoch 2"]
    assert all(len(axes.lines) == 1 for axes in plots.curves(rows).axes)
