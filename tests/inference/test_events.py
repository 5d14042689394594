import dataclasses

import numpy as np
import pytest

from stzoo.inference.events import Event, captions, find_events, spans, srt
from stzoo.inference.stream import Window


def windows(*rows, every=1.0, span=2.0):
    labels = ("run", "jump")
    return [
        Window(i * every, i * every + span, [], np.array(row, "float32"), labels, 0.0)
        for i, row in enumerate(rows)
    ]


def shares(*shares):
    return windows(*[(share, 1 - share) for share in shares])


def find(found, high=0.5, shortest=0.0, gap=0.0, **kwargs):
    return find_events(found, high, shortest=shortest, gap=gap, **kwargs)


def test_spans_cover_the_video_without_overlaps():
    found = spans(windows((1, 0), (1, 0), (1, 0)))
    assert found == [(0.0, 1.5), (1.5, 2.5), (2.5, 4.0)]


def test_events_and_captions_end_where_the_connection_is_lost():
    found = windows((1, 0), (1, 0), (1, 0), (1, 0))
    found[2] = dataclasses.replace(found[2], start=10.0, end=12.0, lost=7.0)
    found[3] = dataclasses.replace(found[3], start=11.0, end=13.0)
    assert spans(found) == [(0.0, 1.5), (1.5, 3.0), (10.0, 11.5), (11.5, 13.0)]
    apart = [("run", 0.0, 3.0), ("run", 10.0, 13.0)]
    assert [(event.label, event.start, event.end) for event in find(found)] == apart
    shown = captions(found)
    assert [(event.label, event.start, event.end) for event in shown] == apart
    (event,) = find(found, gap=7.5)
    assert (event.start, event.end) == (0.0, 13.0)


def test_an_event_reaches_high_and_stays_at_low():
    found = shares(0.1, 0.4, 0.8, 0.4, 0.2, 0.45, 0.1)
    (event,) = find(found, high=0.7, low=0.3, only=["run"])
    assert event == Event("run", 1.5, 4.5, pytest.approx((0.4 + 0.8 + 0.4) / 3))
    assert find(found, high=0.81, only=["run"]) == []
    (event,) = find(found, high=0.8, low=0.8 - 1e-6, only=["run"])
    assert (event.start, event.end) == (2.5, 3.5)
    (event,) = find(found, high=0.8, low=0.4, only=["run"])
    assert (event.start, event.end) == (1.5, 4.5)


def test_each_class_has_its_thresholds():
    found = windows((0.9, 0.6), (0.5, 0.4), (0.9, 0.1))
    events = find(found, high=(0.8, 0.6), low=(0.7, 0.3))
    assert [(event.label, event.start, event.end) for event in events] == [
        *(("run", 0.0, 1.5), ("jump", 0.0, 2.5), ("run", 2.5, 4.0))
    ]
    assert find(found, high=(1, 1), low=0) == []
    shown = captions(found, threshold=(0.95, 0.4))
    assert [(event.label, event.start, event.end) for event in shown] == [
        ("jump", 0.0, 2.5)
    ]


def test_low_is_a_share_of_high():
    found = shares(0.35, 0.7, 0.43)
    (event,) = find(found, high=0.7, only=["run"])
    assert (event.start, event.end) == (1.5, 4.0)


def test_short_events_are_left_out():
    found = shares(0.9, 0.9, 0.1, 0.9, 0.1)
    assert len(find(found, only=["run"])) == 2
    (event,) = find(found, shortest=2.5, only=["run"])
    assert (event.start, event.end) == (0.0, 2.5)


def test_events_with_a_short_gap_become_one():
    found = shares(0.9, 0.1, 0.5, 0.1, 0.1, 0.9)
    events = find(found, gap=1.5, only=["run"])
    assert [(event.start, event.end) for event in events] == [(0, 3.5), (5.5, 7)]
    assert events[0].score == pytest.approx(0.5)
    assert len(find(found, gap=1.0, only=["run"])) == 3


def test_the_first_windows_of_an_online_model_are_short():
    """They do not set the shortest event, which is the length of the longest window."""
    found = shares(0.9, 0.1, 0.1)
    found[0] = dataclasses.replace(found[0], end=0.1)
    assert find_events(found, only=["run"]) == []
    (event,) = find_events(found, shortest=0.1, only=["run"])
    assert event.end < 2.0


def test_events_of_all_classes_are_sorted_by_time():
    found = find(shares(0.9, 0.9, 0.1, 0.1))
    assert [(e.label, e.start) for e in found] == [("run", 0.0), ("jump", 2.5)]
    assert find([]) == []


def test_events_and_gaps_are_as_long_as_a_window_by_default():
    found = windows(*[(share, 0) for share in (0.9, 0, 0, 0.9, 0, 0.9, 0.9, 0)])
    events = find_events(found)
    assert [(event.start, event.end) for event in events] == [(3.5, 7.5)]


def test_wrong_thresholds_and_classes():
    with pytest.raises(ValueError, match="high=0.2, low=0.3"):
        find(shares(0.5), high=0.2, low=0.3)
    with pytest.raises(ValueError, match="has no class 'fly'. It has 2: 'run', 'jump'"):
        find(shares(0.5), only=["fly"])


def test_captions_change_with_the_best_class():
    found = captions(shares(0.9, 0.7, 0.4, 0.2), threshold=0.65)
    assert [(e.label, e.start, e.end) for e in found] == [
        ("run", 0.0, 2.5),
        ("jump", 3.5, 5.0),
    ]
    assert [event.score for event in found] == pytest.approx([0.8, 0.8])
    (one,) = captions(shares(0.7, 0.6), threshold=0.7)
    assert one.label == "run" and one.end == 1.5
    (one,) = captions(shares(0.9, 0.2), only=["run"])
    assert one.label == "run" and one.score == pytest.approx(0.55)


def test_subtitles():
    text = srt([Event("run", 0, 1.5, 0.996), Event("jump", 3661.0004, 86400, 0.5)])
    assert text == (
        "1\n00:00:00,000 --> 00:00:01,500\nrun (100 %)\n\n"
        "2\n01:01:01,000 --> 24:00:00,000\njump (50 %)\n"
    )
