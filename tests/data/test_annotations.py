"""Readers of lists in different formats and encodings."""

import json

import pytest

from stzoo.data.annotations import detect
from stzoo.data.datasets import read


@pytest.fixture
def videos(tmp_path):
    for name in ("a.mp4", "b c.mp4", "d/e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"a video")
    return tmp_path


def told(path, **kwargs):
    """Returns a dict from the videos of a list to the names of their classes."""
    found = read(path, **kwargs)
    names = [p.removeprefix(f"{path.parent}/") for p in found.paths]
    labels = [found.classes[label] for label in found.labels]
    return dict(zip(names, labels, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a.mp4,run\n" + 'b c.mp4,"' + 200_000 * "x" + '"\n',
            "line 2: this is not CSV",
        ),
        ('a.mp4,run\nb c.mp4,"run\nd/e.mp4,fly\n', "line 2: this is not CSV"),
        ('a.mp4,"run"ning\n', "line 1: this is not CSV"),
        ('a.mp4,"run\nb c.mp4,walk"\nd/e.mp4,x\n', "line 1: a quote spans several"),
        ("a.mp4,run\nb c.mp4,12.5,fly\n", "line 2: has 3 columns, but there is no h"),
        ("a.mp4,run\nb c.mp4,-1\n", "line 2: expected one class, .* Received: '-1'"),
        ("a.mp4 1\nb c.mp4 1 3\n", "line 2: expected one class, .* Received: '1 3'"),
    ],
)
def test_broken_lines_are_reported(videos, text, message):
    (videos / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=f"list.csv, {message}"):
        read(videos / "list.csv")


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 turn left\nb c.mp4 put x, y on z\n",
        'a.mp4 "turn left"\n"b c.mp4" put x, y on z\n',
        'file_name,label\na.mp4,turn left\nb c.mp4,"put x, y on z"\n',
        '"VIDEO_ID";"Label";"frames"\na;turn left;3\nb c;put x, y on z;4\n',
    ],
)
def test_classes_of_several_words(videos, text):
    (videos / "list.csv").write_text(text)
    expected = {"a.mp4": "turn left", "b c.mp4": "put x, y on z"}
    assert told(videos / "list.csv") == expected


def test_paths_without_classes_can_contain_spaces(tmp_path):
    (tmp_path / "my.mp4 copy.mp4").write_bytes(b"a video")
    (tmp_path / "list.txt").write_text("my.mp4 copy.mp4\n")
    assert len(read(tmp_path / "list.txt")) == 1
    (tmp_path / "list.txt").write_text("my.mp4 copy.mp4,run\n")
    assert told(tmp_path / "list.txt") == {"my.mp4 copy.mp4": "run"}


@pytest.fixture
def frames(tmp_path):
    for name in ("imgs", "b c"):
        (tmp_path / name).mkdir()
        for number in range(5):
            (tmp_path / name / f"img_{number:05}.jpg").write_bytes(b"an image")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    ["imgs 5 1\nb c 5 0\n", "imgs\t5\t1 \r\nb c\t5\t0\r\n", "imgs 0 5 1\nb c 1 5 0"],
)
def test_lists_of_folders_of_frames(frames, text):
    """Lists of mmaction2, TSN and TSM have folder, number of frames, class."""
    (frames / "train.txt").write_text(text)
    assert detect(str(frames / "train.txt")) == "rawframes"
    assert told(frames / "train.txt") == {"imgs": "1", "b c": "0"}
    classes = {"imgs": "fly", "b c": "run"}
    assert told(frames / "train.txt", classes=["run", "fly"]) == classes


def test_a_number_can_be_part_of_a_name(tmp_path):
    for name in ("subject 1", "subject 2"):
        (tmp_path / f"{name}.mp4").write_bytes(b"a video")
    (tmp_path / "list.txt").write_text("subject 1 0\nsubject 2 1\n")
    assert told(tmp_path / "list.txt") == {"subject 1.mp4": "0", "subject 2.mp4": "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "imgs 12 5 1\n",
            "line 1: the video begins at frame 12 of imgs. Put the frames",
        ),
        ("imgs 0 3 1\n", "line 1: .*imgs has 5 images, but the list says 3"),
        (
            "imgs 5 0\nb c 5\n",
            "line 2: expected a folder, the number of its frames and one class",
        ),
        (
            "imgs 5 0 1 3 5\n",
            "line 1: expected a folder, the number of its frames and one class",
        ),
    ],
)
def test_parts_of_folders_of_frames_are_refused(frames, text, message):
    (frames / "train.txt").write_text(text)
    with pytest.raises(ValueError, match=f"train.txt, {message}"):
        read(frames / "train.txt")


def test_json_of_other_data_sets_is_refused(tmp_path):
    database = {"v_1": {"subset": "training", "annotations": [{"label": "x"}]}}
    text = json.dumps({"version": "1.3", "database": database})
    (tmp_path / "activity_net.v1-3.min.json").write_text(text)
    with pytest.raises(ValueError, match="version, database. Write a CSV with"):
        read(tmp_path / "activity_net.v1-3.min.json")
    (tmp_path / "x.json").write_text('[{"id": "1", "template": ["x"]}, {"id": null}]')
    with pytest.raises(
        ValueError, match="(?s)line 1: has no template.*line 1: has no id"
    ):
        read(tmp_path / "x.json")
