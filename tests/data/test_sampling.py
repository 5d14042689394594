import numpy as np
import pytest

from stzoo.data.sampling import dense, parse_views, segments


@pytest.mark.parametrize("total", [64, 65, 90, 300, 301])
@pytest.mark.parametrize("clips", [1, 2, 10])
def test_dense_is_the_test_sampling_of_mmaction(total, clips):
    """MMAction2 0.24, `SampleFrames` in test mode, in plain numbers."""
    interval = (total - 8 * 8 + 1) / clips
    expected = [
        [int(clip * interval + interval / 2) + 8 * frame for frame in range(8)]
        for clip in range(clips)
    ]
    indices = dense(total, 8, 8, clips)
    np.testing.assert_array_equal(indices, expected)
    assert indices.max() < total


def test_dense_of_short_videos_goes_round():
    assert dense(20, 8, 8).tolist() == [[0, 8, 16, 4, 12, 0, 8, 16]]
    assert dense(1, 4, 2, clips=3).tolist() == [[0] * 4] * 3
    # The span does not fit, but the frames do.
    assert dense(60, 8, 8).tolist() == [list(range(0, 64, 8))]


def test_dense_at_random_starts_anywhere():
    rng = np.random.default_rng(0)
    drawn = [dense(20, 4, 4, rng=rng)[0] for _ in range(300)]
    assert {indices[0] for indices in drawn} == {0, 1, 2, 3, 4}
    assert all((np.diff(indices) == 4).all() for indices in drawn)


@pytest.mark.parametrize("total", [8, 9, 50, 300])
def test_segments_are_the_test_sampling_of_tsn(total):
    """TSM, `ops/dataset.py`: middles of the segments; twice: also their beginnings."""
    tick = total / 8
    middles = [int(tick / 2 + tick * count) for count in range(8)]
    beginnings = [int(tick * count) for count in range(8)]
    assert segments(total, 8).tolist() == [middles]
    assert segments(total, 8, clips=2).tolist() == [middles, beginnings]


def test_snippets_of_dense_clips_are_stride_apart():
    """STPN: neighbouring frames, then the next ones `stride` later."""
    # Three snippets of two frames span 2 * 5 + 2 frames, or 3 * 5: 6 starts of 20.
    assert dense(20, 6, 5, snippet=2).tolist() == [[3, 4, 8, 9, 13, 14]]
    assert dense(20, 6, 5, clips=2, snippet=2)[:, 0].tolist() == [1, 4]
    # A stride below the snippet: the last snippet has to fit as well.
    assert dense(8, 6, 1, snippet=3).tolist() == [[2, 3, 4, 3, 4, 5]]
    assert dense(4, 6, 1, snippet=3).tolist() == [[0, 1, 2, 1, 2, 3]]
    # Snippets of frames 0 to 2 and 2 to 4 span 5 frames: 5 starts of 9.
    assert dense(9, 6, 2, snippet=3).tolist() == [[2, 3, 4, 4, 5, 6]]
    drawn = [dense(8, 6, 1, rng=np.random.default_rng(n), snippet=3) for n in range(99)]
    assert {int(indices[0, 0]) for indices in drawn} == set(range(5))


def test_random_dense_clips_start_in_their_parts():
    rng = np.random.default_rng(0)
    drawn = np.stack([dense(40, 2, 5, clips=3, rng=rng)[:, 0] for _ in range(500)])
    starts = np.arange(31) * 3 // 31  # which third of the 31 starts each one begins
    for number in range(3):
        seen = set(drawn[:, number].tolist())
        assert seen >= set(np.flatnonzero(starts == number).tolist()[1:])
        assert max(seen) - min(seen) <= 11
    assert (np.diff(drawn, axis=1) >= 0).all()
    gaps = {tuple(row) for row in np.diff(drawn, axis=1).tolist()}
    assert len(gaps) > 50, "each clip is drawn by itself"


@pytest.mark.parametrize("total", [5, 8, 30])
def test_snippets_of_segments(total):
    """One snippet of 5 frames for each third of the starts that leave room for it."""
    room = max(total - 5 + 1, 1)
    expected = [
        min(int((count + 0.5) * room / 3) + frame, total - 1)
        for count in range(3)
        for frame in range(5)
    ]
    assert segments(total, 15, snippet=5).tolist() == [expected]


def test_a_snippet_longer_than_the_video_ends_with_its_last_frame():
    assert segments(3, 10, snippet=5).tolist() == [[0, 1, 2, 2, 2] * 2]


def test_segments_of_more_clips_are_evenly_spread():
    assert segments(80, 2, clips=4)[:, 0].tolist() == [20, 30, 0, 10]
    # Fifths of a segment of 10 frames are whole, and stay so.
    assert segments(10, 1, clips=5)[:, 0].tolist() == [5, 7, 9, 1, 3]


def test_segments_of_short_videos_repeat_in_order():
    assert segments(1, 4).tolist() == [[0, 0, 0, 0]]
    assert segments(3, 6).tolist() == [[0, 0, 1, 1, 2, 2]]


def test_segments_at_random_stay_in_their_segments():
    rng = np.random.default_rng(0)
    drawn = np.concatenate([segments(10, 3, clips=5, rng=rng) for _ in range(100)])
    ends = np.arange(4) * 10 / 3
    assert (drawn >= np.floor(ends[:-1])).all() and (drawn <= ends[1:]).all()
    assert set(drawn.ravel()) == set(range(10))
    within = segments(300, 3, clips=50, rng=rng) - [0, 100, 200]
    assert (np.ptp(within, axis=1) > 5).mean() > 0.8, "each frame is drawn by itself"


@pytest.mark.parametrize("sample", [dense, segments])
def test_counts_below_one_are_errors(sample):
    stride = (8,) if sample is dense else ()
    for total, frames, clips, name in [
        (0, 8, 1, "total"),
        (9, 0, 1, "frames"),
        (9, 8, 0, "clips"),
    ]:
        message = f"^{name} must be an integer, at least 1. Received: 0.$"
        with pytest.raises(ValueError, match=message):
            sample(total, frames, *stride, clips)
    if stride:
        with pytest.raises(ValueError, match="^stride must be .* Received: 0.$"):
            sample(9, 8, 0)


def test_views():
    assert parse_views("10x3") == (10, 3)
    assert parse_views("1x1") == (1, 1)
    assert parse_views("123x45") == (123, 45)
    for views in ("10", "0x3", "3x", "axb", "10x3x2", "-1x3", "", None, (10, 3)):
        with pytest.raises(ValueError) as error:
            parse_views(views)
        assert str(error.value) == (
            'views must be clips x crops, two integers of at least 1, such as "10x3". '
            f"Received: {views!r}."
        )
