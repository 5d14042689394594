import io

import numpy as np
import pytest
from PIL import Image

from stzoo.visualize import timeline as plots
from stzoo.visualize.timeline import clock, timeline


def test_a_picture_for_minutes_and_for_hours():
    rng = np.random.default_rng(0)
    labels = [f"playing instrument {number}" for number in range(40)]
    for seconds, every in ((180, 1), (3 * 3600, 1)):
        edges = np.arange(0, seconds + every, every)
        spans = list(zip(edges, edges[1:], strict=False))
        scores = rng.dirichlet(np.full(40, 0.05), len(spans))
        with Image.open(io.BytesIO(timeline(spans, scores, labels))) as image:
            assert image.size == (1200, 480)  # twelve rows of 30 pixels


def test_the_classes_seen_longest_are_shown_in_the_order_of_time():
    spans = np.array([(0, 1), (1, 2), (2, 5), (5, 6)])
    scores = np.array(
        [[0, 0.9, 0.1, 0], [0, 0.9, 0, 0.1], [0.6, 0, 0.4, 0], [0, 0, 1, 0]]
    )
    assert plots._most_seen(spans, scores, 12) == [1, 0, 2]
    assert plots._most_seen(spans, scores, 2) == [1, 0]
    assert plots._most_seen(spans[:1], scores[:1], 12) == [1, 2, 0]  # three at least


def test_a_column_shows_the_largest_probability_in_it(monkeypatch):
    monkeypatch.setattr(plots, "COLUMNS", 3)
    spans = np.array([(i, i + 1) for i in range(6)])
    scores = np.array([[0.1], [0.8], [0.2], [0.3], [0.0], [0.5]])
    assert plots._pooled(spans, scores).ravel().tolist() == [0.8, 0.3, 0.5]
    monkeypatch.setattr(plots, "COLUMNS", 12)
    assert plots._pooled(spans, scores).ravel().tolist() == scores.repeat(2).tolist()


def test_no_probability_is_shown_where_the_connection_was_lost(monkeypatch):
    monkeypatch.setattr(plots, "COLUMNS", 6)
    spans = np.array([(0, 1), (1, 2), (4, 5), (5, 6)])
    shown = plots._pooled(spans, np.array([[0.1], [0.8], [0.2], [0.3]])).ravel()
    np.testing.assert_array_equal(shown, [0.1, 0.8, np.nan, np.nan, 0.2, 0.3])


@pytest.mark.parametrize(
    "seconds, total, text",
    [(7.5, 15, "7.5 s"), (65, 180, "1:05"), (7265, 9000, "2:01:05"), (5, 9000, "0:05")],
)
def test_times_are_written_as_people_read_them(seconds, total, text):
    assert clock(seconds, total) == text
