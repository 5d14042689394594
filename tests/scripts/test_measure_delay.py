import measure_delay
import numpy as np

import stzoo
from stzoo.data import motions


class Online:
    """Knows the class of a frame from its first pixel, and averages two frames."""

    config = stzoo.tsm_tiny(width=4, depth=1, shift="online").stzoo

    def reset(self):
        self.seen = []

    def step(self, frame):
        self.seen.append(np.eye(12)[frame[0, 0, 0]])

    @property
    def probabilities(self):
        return np.add(0.9 * self.seen[-1], sum(self.seen[-3:-1]))


def test_answers_are_compared_after_each_frame_of_both_motions(monkeypatch):
    def render(seed, motion):
        number = motions.CLASSES.index(motion)
        return np.full((21, 80, 80, 3), number, "uint8"), motion, "disc"

    monkeypatch.setattr(motions, "render", render)
    expected = [[True] * 8, [False] + [True] * 7]
    np.testing.assert_array_equal(measure_delay.follow(Online(), 0), expected)


def test_a_table_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(stzoo, "online", lambda model, frames: Online())
    monkeypatch.setattr(stzoo, "load", lambda name: name)
    shares = np.array([[0, 1] * 4, [0.5] * 8])
    monkeypatch.setattr(measure_delay, "follow", lambda *_: shares)
    measure_delay.main(["--videos", "2", "--model", "mine"])
    title, _, first, *_, last = capsys.readouterr().out.splitlines()
    assert title == "mine, 2 videos"
    assert first.split() == ["0.22", "0.0", "%", "50.0", "%"]
    assert last.split() == ["1.75", "100.0", "%", "50.0", "%"]
