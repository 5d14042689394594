"""Readers of lists in different formats and encodings."""

import codecs
import json

import pytest

from stzoo.data.annotations import detect, read_classes
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


CAFE = "a.mp4,café\nb c.mp4,run\n"


@pytest.mark.parametrize(
    "content",
    [
        CAFE.encode(),
        CAFE.encode("utf-8-sig"),
        CAFE.encode("utf-16"),
        codecs.BOM_UTF16_BE + CAFE.encode("utf-16-be"),
        CAFE.encode("utf-32"),
        CAFE.replace("\n", "\r\n").encode("utf-16"),
        CAFE.replace("\n", "\r").encode(),
        "a.mp4,cafe\u0301\nb c.mp4,run".encode(),  # é as two code points, as on macOS
        CAFE.replace("\n", " \r\n\r\n").encode(),
        '\n"a.mp4" ,"café" \r\n\n"b c.mp4", "run" \r\n'.replace('" ,', '",').encode(),
        b'"a.mp4","caf\xc3\xa9"\t\r\n"b c.mp4","run"\t\r\n',
    ],
)
def test_encodings_and_line_endings(videos, content):
    (videos / "list.csv").write_bytes(content)
    assert told(videos / "list.csv") == {"a.mp4": "café", "b c.mp4": "run"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            CAFE.encode("latin-1"),
            "line 1: the byte 0xe9 is not UTF-8. Save the list as a text",
        ),
        (b"a.mp4,run\r\nb c.mp4,caf\xe9\r\n", "line 2: the byte 0xe9 is not UTF-8"),
        (CAFE.encode("utf-16-le"), "line 1: .*UTF-8"),
        ("a.mp4,run\n".encode("utf-16-le"), "line 1: there is a zero byte"),
        (CAFE.encode("utf-16")[:-1], "line 2: the byte 0x0a is not UTF-16"),
        (b"PK\x03\x04\xff\xfe", "line 1: the byte 0xff is not UTF-8"),  # .xlsx
    ],
)
def test_other_encodings_name_the_file_and_the_line(videos, content, message):
    (videos / "list.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"list.csv, {message}"):
        read(videos / "list.csv")


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


def test_a_quoted_note_can_span_several_lines(videos):
    (videos / "list.csv").write_text(
        'path,label,note\na.mp4,run,"x\ny"\nb c.mp4,fly,\n'
    )
    assert told(videos / "list.csv") == {"a.mp4": "run", "b c.mp4": "fly"}


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


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("labels.txt", "fly high\n\nrun\nswim\n", 0),
        ("classInd.txt", "1 fly high\r\n2 run\r\n3 swim\r\n", 1),
        ("label_map.txt", "\ufeff0 fly high\n2 swim\n1 run\n", 0),
        ("labels.csv", "0,fly high\n1,run\n2,swim\n", 0),
        ("categories.txt", "fly high,0\nswim,2\nrun,1\n", 0),
        ("labels.json", '{"fly high": "0", "swim": "2", "run": "1"}', 0),
        ("labels.json", '{"1": "fly high", "2": "run", "3": "swim"}', 1),
        ("labels.json", '["fly high", "run", ["swim"]]', 0),
    ],
)
def test_files_of_classes(videos, name, text, first):
    (videos / name).write_text(text, encoding="utf-8")
    names = ["fly high", "run", "swim"]
    expected = {name: number for number, name in enumerate(names, first)}
    assert list(read_classes(str(videos / name)).items()) == list(expected.items())
    (videos / "list.txt").write_text(f"a.mp4 {first}\nb c.mp4 {first + 2}\n")
    assert told(videos / "list.txt", classes=videos / name) == {
        "a.mp4": "fly high",
        "b c.mp4": "swim",
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "x.txt",
            "1 fly\n3 run\n",
            "x.txt: the numbers of the classes must be consecutive",
        ),
        (
            "x.txt",
            "7 fly\n8 run\n",
            "x.txt: the numbers of the classes must be consecutive",
        ),
        ("x.txt", "fly\nrun\nfly\n", "x.txt: the class 'fly' is listed twice"),
        ("x.json", '{"fly": "a"}', "x.json: 'a' is not the number of a class"),
        ("x.json", '{\n"fly": ', "x.json, line 2: this is not JSON"),
        ("x.json", "3", "x.json: expected a list or a dict of classes. Received: 3"),
    ],
)
def test_bad_files_of_classes_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_classes(str(tmp_path / name))


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
