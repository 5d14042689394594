import measure_events
import pytest
from measure_events import match, overlap, render

from stzoo.data import motions
from stzoo.inference.events import Event


def event(label, start, end):
    return Event(label, start, end, 1.0)


def test_overlap_is_intersection_over_union():
    assert overlap(event("a", 0, 4), event("a", 2, 6)) == pytest.approx(2 / 6)
    assert overlap(event("a", 0, 1), event("a", 2, 3)) == 0


def test_each_event_is_matched_once():
    truth = [event("a", 0, 4), event("b", 4, 8)]
    found = [event("a", 0, 3), event("a", 0, 4), event("c", 4, 8), event("b", 7, 8)]
    assert match(truth, found) == [(truth[0], found[1])]


def test_a_long_video_and_its_events(monkeypatch):
    monkeypatch.setattr(measure_events, "EVENTS", 2)
    frames, (first, second) = render(0)
    assert first.end == second.start and second.end == len(frames) / motions.FPS
    assert first.label != second.label
    assert 42 <= len(frames) <= 8 * 21


def test_a_model_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(measure_events, "EVENTS", 3)
    measure_events.main(["--model", "cost_tiny.motions", "--videos", "1"])
    found, right, *_ = capsys.readouterr().out.splitlines()
    assert " of 3 events are found" in found and "answers are right" in right
