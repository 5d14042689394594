"""Mixup and CutMix of small batches, against a clip-by-clip twin."""

import numpy as np
import pytest

from stzoo.data.mixing import box, mix, one_hot, split
from stzoo.data.transforms import Augment

SHAPE = (3, 4, 10, 12, 3)  # an odd batch: the middle clip has no partner


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, SHAPE).astype("uint8"), np.eye(4, dtype="f4")[[0, 2, 3]]


def test_mixup_blends_whole_clips_by_the_share_of_the_labels():
    views, labels = batch()
    shares = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mixed, found = mix(views, labels, Augment(mixup=0.8), rng)
        share = float(found[0, 0])
        shares.add(share)
        for i in range(3):
            blend = share * views[i].astype(float) + (1 - share) * views[2 - i]
            assert np.abs(mixed[i] - blend).max() < 0.51
            np.testing.assert_allclose(
                found[i], share * labels[i] + (1 - share) * labels[2 - i], atol=1e-6
            )
        assert mixed.dtype == np.uint8 and found.dtype == np.float32
        np.testing.assert_array_equal(mixed[1], views[1])
    assert len(shares) == 20 and 0 <= min(shares) < 0.3 and max(shares) > 0.7


def test_cutmix_cuts_the_same_box_from_all_frames():
    views, labels = batch()
    areas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mixed, found = mix(views, labels, Augment(cutmix=1.0), rng)
        other = (mixed[0] == views[2]).all((0, 3))  # in all frames and channels
        own = (mixed[0] == views[0]).all((0, 3))
        assert (own | other).all()
        rows, columns = np.nonzero(other)
        area = other.sum()
        if area:
            sides = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert area == sides[0] * sides[1]
        assert found[0, 3] == pytest.approx(area / 120)
        assert found[0, 0] == pytest.approx(1 - area / 120)
        assert found.sum(-1) == pytest.approx(np.ones(3))
        areas.append(area)
    assert min(areas) < 20 and max(areas) > 60
    assert views.tobytes() == batch()[0].tobytes()  # the batch itself is not changed


def test_each_method_is_used_for_half_of_the_batches():
    views, labels = batch()
    both = Augment(mixup=0.8, cutmix=1.0)
    cut = 0
    for seed in range(100):
        mixed, _ = mix(views, labels, both, np.random.default_rng(seed))
        cut += bool(((mixed[0] == views[0]) | (mixed[0] == views[2])).all())
    assert 35 < cut < 65


def test_the_mean_area_of_boxes_is_that_which_was_asked_for():
    """Only boxes inside of the frame have the whole area."""
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(200):
        rows, columns = box((100, 60), 0.25, rng)
        assert 0 <= rows.start <= rows.stop <= 100
        assert 0 <= columns.start <= columns.stop <= 60
        sizes.append((rows.stop - rows.start, columns.stop - columns.start))
    assert max(sizes) == (50, 30)
    # A centre at the edge of the frame leaves half of a side.
    assert [min(sides) for sides in zip(*sizes, strict=True)] == pytest.approx(
        [25, 15], abs=2
    )


def test_shares_are_drawn_with_the_parameter_of_their_method():
    """A beta distribution of `a` and `a` has a variance of 1 / (8 a + 4)."""
    views, labels = np.zeros((2, 1, 40, 40, 3), np.uint8), np.eye(2)
    views[1] = 200
    blended, cut = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        mixed, found = mix(views, labels, Augment(mixup=0.5, cutmix=50.0), rng)
        (blended if np.ptp(mixed[0]) == 0 else cut).append(found[0, 0])
    assert np.mean(blended) == pytest.approx(0.5, abs=0.08)
    assert np.var(blended) == pytest.approx(1 / 8, abs=0.03)
    assert min(cut) > 0.3  # boxes have about half of the frame, or less at an edge


def test_labels_as_probabilities():
    assert one_hot(np.array([1, 0], "i4"), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    several = np.array([[1, 0, 1]], "i4")
    assert one_hot(several, 3).tolist() == [[1, 0, 1]]
    assert one_hot(several, 3).dtype == np.float32


def test_a_batch_is_split_in_order():
    batches = [(np.arange(6), np.arange(6) * 10), (np.arange(6, 12), np.arange(6))]
    parts = list(split(batches, 3))
    assert [part[0].tolist() for part in parts] == [
        *([0, 1], [2, 3], [4, 5]),
        *([6, 7], [8, 9], [10, 11]),
    ]
    assert parts[1][1].tolist() == [20, 30]
