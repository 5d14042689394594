import logging
import os

import numpy as np
import pytest

from stzoo.data.datasets import Videos, read
from stzoo.data.splits import find_groups, split, write_list


def videos(names, labels=None, classes=("a", "b")):
    labels = [i % 2 for i in range(len(names))] if labels is None else labels
    return Videos(tuple(f"videos/{name}" for name in names), tuple(labels), classes)


@pytest.mark.parametrize(
    "names, groups",
    [
        (
            "person01_run_d1.avi person01_walk.avi person2_run.avi person2_walk.avi",
            "1122",
        ),
        (
            "v_Dive_g01_c01.avi v_Run_g01_c02.avi v_Dive_g02_c01.avi v_Run_g03_c1.avi",
            "1123",
        ),
        ("P03_05.mp4 p03-06.mp4 P11_01.mp4 P12_01.mp4", "1123"),
        (
            "abcdefghijk_000010_000020.mp4 abcdefghijk_000050_000060.mp4 "
            "ABCDEFGHIJ-_000001_000011.mp4 -bcdefghijk_000010_000020.mp4",
            "1123",
        ),
        ("2024-05-01_1.mp4 2024-05-01_2.mp4 2024-05-02_1.mp4 2024-06-01_9.mp4", "1123"),
        (
            "VID_20240501_1.mp4 VID_20240501_2.mp4 VID_20240502_1.mp4 x20240503.mp4",
            "1123",
        ),
        ("match_clip1.mp4 match_clip2.mp4 walk 3.mp4 final(7).mp4", "1123"),
    ],
)
def test_names_tell_groups(names, groups):
    suffix = " " if "walk 3" in names else None
    names = (
        names.split(suffix)
        if suffix is None
        else ["match_clip1.mp4", "match_clip2.mp4", "walk 3.mp4", "final(7).mp4"]
    )
    found = find_groups(videos(names, labels=[0, 1, 0, 1]))
    numbers = {group: str(i) for i, group in enumerate(dict.fromkeys(found), 1)}
    assert "".join(numbers[group] for group in found) == groups


@pytest.mark.parametrize(
    "names",
    [
        ["x.mp4", "y.mp4", "z.mp4", "w.mp4"],
        ["video_1.mp4", "video_2.mp4", "video_3.mp4", "video_4.mp4"],
        ["run_1.mp4", "jump_1.mp4", "run_2.mp4", "jump_2.mp4"],  # the class
    ],
)
def test_names_that_tell_no_groups(names):
    with pytest.raises(
        ValueError, match="do not show which ones are of the same person"
    ):
        find_groups(videos(names))


def many(people=10, each=6):
    names = [f"person{p:02}_{i}.mp4" for p in range(people) for i in range(each)]
    return videos(names, labels=[i % 3 for i in range(len(names))], classes="abc")


@pytest.mark.parametrize("test", [0.1, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("by", ["group", "video"])
def test_nothing_is_on_both_sides(test, by):
    found = many()
    train, rest = split(found, by, test)
    assert sorted(train.paths + rest.paths) == sorted(found.paths)
    assert len(rest) / len(found) == pytest.approx(test, abs=0.06)
    for side in (train, rest):
        assert side.classes == found.classes
        shares = np.bincount(side.labels, minlength=3) / len(side)
        np.testing.assert_allclose(shares, 1 / 3, atol=0.2)
        labels = dict(zip(found.paths, found.labels, strict=True))
        assert [labels[path] for path in side.paths] == list(side.labels)
    people = [{path[:15] for path in side.paths} for side in (train, rest)]
    assert by == "video" or not people[0] & people[1]


def test_another_seed_is_another_split():
    assert split(many(), seed=0) == split(many(), seed=0)
    assert split(many(), seed=0) != split(many(), seed=1)


def test_a_class_on_one_side_only_is_named(caplog):
    found = videos(["g1_1.mp4", "g2_1.mp4", "g3_1.mp4"], [0, 0, 1])
    caplog.set_level(logging.WARNING)
    split(found, "video", 0.3)
    assert "set has no video of 'b'." in caplog.text


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"by": "person"}, 'by must be "group" or "video"'),
        ({"test": 1}, "test must be between 0 and 1. Received: 1"),
        ({"videos": Videos(("a", "b"))}, "have no classes"),
        (
            {"videos": videos(["a.mp4"]), "by": "video"},
            "Received: 1 videos of 1 classes",
        ),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        split(**{"videos": many(), **kwargs})


def test_a_list_is_read_back(tmp_path):
    for name in ("a/x, 1.mp4", "b/ü.mp4"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).touch()
    found = read(tmp_path / "data")
    (tmp_path / "lists").mkdir()
    write_list(tmp_path / "lists" / "all.csv", found)
    again = read(tmp_path / "lists" / "all.csv")
    assert again.labels == found.labels and again.classes == found.classes
    paths = [os.path.realpath(path) for path in again.paths]
    assert paths == [os.path.realpath(path) for path in found.paths]
