"""Tests the readers of text files: encodings, CSV, and files of classes."""

import codecs

import pytest

from stzoo.data.datasets import read
from stzoo.data.tables import read_classes


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


def test_a_quoted_note_can_span_several_lines(videos):
    (videos / "list.csv").write_text(
        'path,label,note\na.mp4,run,"x\ny"\nb c.mp4,fly,\n'
    )
    assert told(videos / "list.csv") == {"a.mp4": "run", "b c.mp4": "fly"}


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
