import pytest

from stzoo.data.datasets import Videos
from stzoo.training.weighting import class_weights


def videos(*counts):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    names = ("left turn", "right turn", "up", "down")[: len(counts)]
    return Videos(tuple(map(str, range(len(labels)))), tuple(labels), names)


def test_balanced_weights_give_all_classes_the_same_total():
    counts = (6, 1, 3)
    weights = class_weights(videos(*counts), "balanced")
    totals = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert class_weights(videos(6, 1), None) is None


def test_mirrored_clips_count_for_the_class_that_they_show():
    """Of 9 + 1 videos of a pair, half are mirrored: 5 clips of each."""
    weights = class_weights(videos(9, 1, 2), "balanced", {0: 1, 1: 0, 2: None})
    assert weights == pytest.approx((0.8, 0.8, 2.0))


def test_a_class_without_videos_does_not_change_the_others():
    assert class_weights(videos(4, 0, 2), "balanced") == pytest.approx((0.75, 1, 1.5))


def test_given_weights(tmp_path):
    given = {"up": 2, "left turn": 0.5}
    assert class_weights(videos(1, 1, 1), given) == (0.5, 1.0, 2.0)
    for text in (
        "up,2\nleft turn, 0.5\n",
        "up\t2\n\nleft turn\t0.5",
        "up;2\nleft turn;.5",
    ):
        (tmp_path / "weights.csv").write_text(text)
        assert class_weights(videos(1, 1, 1), tmp_path / "weights.csv") == (0.5, 1, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"round": 2}, "class_weight: 'round' is not one of the 2 classes: left turn"),
        ({"left turn": -1}, "weight of 'left turn' must be a number of at least 0"),
        ({"left turn": "nan"}, "must be a number of at least 0. Received: 'nan'"),
        ({"left turn": "inf"}, "must be a number of at least 0. Received: 'inf'"),
        ({"left turn": None}, "must be a number of at least 0. Received: None"),
        ({"left turn": 0, "right turn": 0}, "All class weights are 0"),
        ([1.0, 2.0], "a dict or the path of a file. Received: [1.0, 2.0]"),
    ],
)
def test_bad_weights_are_refused(given, message):
    with pytest.raises(ValueError) as error:
        class_weights(videos(1, 1), given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "left turn 2",
            'line 1: expected the name of a class and a weight, such as "f',
        ),
        ("left turn,2\nleft turn,3", "line 2: 'left turn' is listed twice"),
        ("left turn,2\nup,3", "line 2: 'up' is not one of the 2 classes"),
        ("left turn,two", "line 1: the weight of 'left turn' must be a number"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    (tmp_path / "weights.csv").write_text(text)
    with pytest.raises(ValueError) as error:
        class_weights(videos(1, 1), str(tmp_path / "weights.csv"))
    assert str(error.value).startswith(f"{tmp_path / 'weights.csv'}, line ")
    assert message in str(error.value)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        class_weights(videos(1, 1), str(tmp_path / "weights.csv"))
