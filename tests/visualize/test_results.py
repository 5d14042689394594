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


def confusion(monkeypatch, matrix, labels):
    """The title, the numbers in the cells, and the list of a confusion matrix."""
    monkeypatch.setattr(plots, "_png", lambda figure: figure)
    matrix_part, beside = plots.confusion(np.array(matrix), labels).subfigs
    axes = matrix_part.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    return axes.get_title(), cells, beside.texts[0].get_text().split("\n")


def test_the_largest_confusions_are_listed_beside_the_matrix(monkeypatch):
    title, cells, lines = confusion(
        monkeypatch, [[4, 3, 0], [1, 2, 9], [0, 0, 5]], ["a", "b", "c" * 99]
    )
    assert title == "Confusion matrix: 11 of 24 right"
    expected = {(0, 0): "4", (1, 0): "3", (0, 1): "1", (1, 1): "2", (2, 1): "9"}
    assert cells == expected | {(2, 2): "5"}
    cut = "c" * 29 + "…"
    assert lines[1:] == [f"b → {cut}: 9 of 12", "a → b: 3 of 7", "b → a: 1 of 12"]


def test_without_mistakes_the_list_says_so(monkeypatch):
    assert confusion(monkeypatch, [[4, 0], [0, 0]], "ab")[2][1:] == ["none"]


def test_the_list_ends_after_the_largest_confusions(monkeypatch):
    matrix = np.arange(174 * 174).reshape(174, 174)
    lines = confusion(monkeypatch, matrix, list(map(str, range(174))))[2]
    assert len(lines) == 1 + plots.LISTED
    assert lines[1].startswith("173 → 172: 30274 of ")


def test_numbers_that_do_not_fit_in_the_cells_are_not_drawn(monkeypatch):
    few, many = ["a", "b"], list(map(str, range(30)))
    assert len(confusion(monkeypatch, 98765 * np.eye(2, dtype=int), few)[1]) == 2
    assert len(confusion(monkeypatch, 999 * np.eye(30, dtype=int), many)[1]) == 30
    assert not confusion(monkeypatch, 1000 * np.eye(30, dtype=int), many)[1]
    assert not confusion(monkeypatch, np.eye(31, dtype=int), [*many, "30"])[1]


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
