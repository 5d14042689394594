"""Lists of videos as they are published, read line by line.

Each reader takes the address of a file and returns `(entries, classes)`: what every
line says, and the names of the classes in their order where a file beside the list has
them, or `None`. Nothing is checked here; see `stzoo.data.datasets.read`.
"""

import csv
import fnmatch
import functools
import json
import posixpath
import re
from typing import NamedTuple

from stzoo.data import files

HEADER = ("path", "video", "file", "filename", "video_path")  # a column of videos
NUMBERED = re.compile(r"\d+(;.*)?")  # Jester, Something-Something v1
UCF = re.compile(r"\w+/v_\w+\.avi( \d+)?")
MOMENTS = re.compile(r"[^,]+/[^,]+\.mp4,[^,]+,\d+,\d+")


class Entry(NamedTuple):
    """One line of a list.

    Attributes:
        where: string, the file and the line.
        names: tuple of strings, where the video may be, from the root. The suffix of a
            video may be left out.
        label: string or int, the name of the class or its index, or `None`.
        split: string, the part of the data set, or `None`.
        problem: string, what is wrong with the line, or `None`.
    """

    where: str
    names: tuple[str, ...]
    label: str | int | None
    split: str | None = None
    problem: str | None = None


def detect(path):
    """The format of a list: a key of `READERS`."""
    if re.search(r"_test_split[\d*?]\.txt$", path):
        return "hmdb51"
    if path.endswith(".json"):
        _, first = next(_records(path), ("", {}))
        return "diving48" if "vid_name" in first else "something_v2"
    _, first = next(_lines(path), (0, ""))
    if "youtube_id" in first and "time_start" in first:
        return "kinetics"
    if NUMBERED.fullmatch(first):
        return "jester" if "jester" in path.lower() else "something_v1"
    if UCF.fullmatch(first):
        return "ucf101"
    return "moments_in_time" if MOMENTS.fullmatch(first) else "list"


def read_list(path, label=None):
    """Lines of a path and a class: CSV with or without a header, or separated by tabs,
    semicolons or the last space; or paths alone.

    Args:
        path: string, the address of the file.
        label: string, the column of the class, where there are several.
    """
    lines = _lines(path)
    number, first = next(lines, (0, ""))
    separator = next((mark for mark in "\t,;" if mark in first), None)
    if separator is None:
        lines = _lines(path)
        rows = ((number, _split_at_space(line)) for number, line in lines)
        return (_entry(path, row, 0, 1) for row in rows), None
    rows = _rows(path, separator)
    columns = [
        cell.strip().lower() for cell in next(csv.reader([first], delimiter=separator))
    ]
    video = next((name for name in HEADER if name in columns), None)
    if video is None:
        if label is not None:
            raise ValueError(
                f"{path} has no header that names a column of paths "
                f"({', '.join(HEADER)}), so there is no column {label!r}. Its first "
                f"line: {first!r}."
            )
        return (_entry(path, row, 0, 1) for row in rows), None
    next(rows)
    others = [name for name in columns if name not in (video, "split")]
    if label is None and "label" in others:
        label = "label"
    if label is None and len(others) == 1:
        (label,) = others
    if label is None and others or label is not None and label.lower() not in others:
        raise ValueError(
            f"{path} has the columns {', '.join(columns)}. Say which one is the class, "
            f"such as label={others[0] if others else 'label'!r}. Received: {label!r}."
        )
    at = columns.index(label.lower()) if label else len(columns)
    split = columns.index("split") if "split" in columns else len(columns)
    return (_entry(path, row, columns.index(video), at, split) for row in rows), None


def read_kinetics(path):
    """`label,youtube_id,time_start,time_end,split` and, in some versions, `is_cc`.

    Videos are called as the crawler of ActivityNet does, `{youtube_id}_000010_000020`,
    in a folder for the class (with spaces or underscores) or in one for all.
    """

    def entry(number, row):
        where = f"{path}, line {number}"
        try:
            start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
            name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        except (KeyError, TypeError, ValueError):
            return Entry(where, (), None, problem=f"cannot be read: {_cells(row)}")
        label = row.get("label") or None
        folders = [label, label.replace(" ", "_")] if label else []
        names = (*(f"{folder}/{name}" for folder in folders), name)
        return Entry(where, names, label, row.get("split"))

    rows = _rows(path, ",")
    _, header = next(rows)
    entries = (
        entry(number, dict(zip(header, row, strict=False))) for number, row in rows
    )
    return entries, None


def read_moments_in_time(path):
    """`class/video.mp4,class,agreeing,disagreeing`, and `moments_categories.txt`."""
    classes = None
    if categories := _beside(path, "moments_categories.txt"):
        rows = [line.rpartition(",") for _, line in _lines(categories)]
        classes = _ordered(categories, {name: int(index) for name, _, index in rows})

    def entry(number, row):
        where = f"{path}, line {number}"
        if len(row) < 2:
            return Entry(where, (), None, problem=f"cannot be read: {_cells(row)}")
        names = (row[0], f"training/{row[0]}", f"validation/{row[0]}")
        return Entry(where, names, row[1])

    return (entry(*row) for row in _rows(path, ",")), classes


def read_ucf101(path):
    """`Class/v_Class_g08_c01.avi 1`, in `testlist` without the number, which counts
    from 1 in `classInd.txt`."""
    numbers = {}
    if index := _beside(path, "classInd.txt"):
        for _, line in _lines(index):
            number, _, name = line.partition(" ")
            numbers[name] = int(number) - 1

    def entry(number, line):
        video, _, index = line.partition(" ")
        label, problem = posixpath.dirname(video), None
        if index and numbers and index != str(numbers.get(label, -2) + 1):
            problem = f"the number {index} is not that of {label} in classInd.txt"
        return Entry(f"{path}, line {number}", (video,), label, problem=problem)

    classes = _ordered(index, numbers) if numbers else None
    return (entry(*line) for line in _lines(path)), classes


def read_hmdb51(path):
    """A file for each class, `brush_hair_test_split1.txt`, whose lines are a video and
    1 (train), 2 (test) or 0 (neither). The address has a * in the place of the class.
    """
    folder, pattern = posixpath.split(path)
    names = sorted(fnmatch.filter(files.listing(folder), pattern))
    if not names:
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    splits = {"0": "neither", "1": "train", "2": "test"}

    def entries():
        for name in names:
            label = re.sub(r"_test_split\d\.txt$", "", name)
            for number, line in _lines(files.join(folder, name)):
                video, _, split = line.partition(" ")
                yield Entry(
                    f"{name}, line {number}",
                    (f"{label}/{video}", video),
                    label,
                    splits.get(split.strip()),
                    None if split.strip() in splits else f"cannot be read: {line!r}",
                )

    return entries(), None


def read_something_v1(path, classes="something-something-v1-labels.csv"):
    """`100218;Something falling like a feather or paper`, numbers alone in the test
    list, and a file of the classes, one a line."""
    labels = _beside(path, classes)

    def entry(number, line):
        video, _, label = line.partition(";")
        return Entry(f"{path}, line {number}", (video,), label or None)

    names = tuple(line for _, line in _lines(labels)) if labels else None
    return (entry(*line) for line in _lines(path)), names


read_jester = functools.partial(read_something_v1, classes="jester-v1-labels.csv")


def read_something_v2(path):
    """`[{"id": "78687", "template": "Holding [something] next to [something]", ...}]`,
    ids alone in the test list, and `labels.json` with the template without brackets.
    """
    labels = _beside(path, "something-something-v2-labels.json", "labels.json")
    classes = None
    if labels:
        with files.open_text(labels) as file:
            numbers = json.load(file)
        classes = _ordered(labels, {name: int(at) for name, at in numbers.items()})

    def entry(where, record):
        label = record.get("template")
        label = re.sub(r"[\[\]]", "", label) if label else None
        problem = None if "id" in record else f"has no id: {str(record)[:80]}"
        return Entry(where, (str(record.get("id")),), label, problem=problem)

    return (entry(*record) for record in _records(path)), classes


def read_diving48(path):
    """`[{"vid_name": "_8Vy3dlHg2w_00000", "label": 0, ...}]`, and
    `Diving48_vocab.json`, a list of four words for each class."""
    vocabulary, classes = _beside(path, "Diving48_vocab.json"), None
    if vocabulary:
        with files.open_text(vocabulary) as file:
            classes = tuple(" ".join(words) for words in json.load(file))

    def entry(where, record):
        problem = (
            None if "vid_name" in record else f"has no vid_name: {str(record)[:80]}"
        )
        video = str(record.get("vid_name"))
        return Entry(where, (video,), record.get("label"), problem=problem)

    return (entry(*record) for record in _records(path)), classes


READERS = {
    "list": read_list,
    "kinetics": read_kinetics,
    "moments_in_time": read_moments_in_time,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "something_v1": read_something_v1,
    "something_v2": read_something_v2,
    "jester": read_jester,
    "diving48": read_diving48,
}


def _lines(path):
    """Yields `(number, line)` for all lines that are not empty."""
    with files.open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.strip()


def _rows(path, separator):
    """Yields `(number, cells)`; a quoted cell may go over several lines."""
    with files.open_text(path) as file:
        rows = csv.reader(file, delimiter=separator)
        for row in rows:
            if any(row):
                yield rows.line_num, [cell.strip() for cell in row]


def _records(path):
    """Yields `(file and line, object)` for the objects in a list in JSON."""
    with files.open_text(path) as file:
        text = file.read()
    decoder, mark = json.JSONDecoder(), re.compile(r"[\s,\[\]]*")
    at, number, counted = mark.match(text).end(), 1, 0
    while at < len(text):
        number, counted = number + text.count("\n", counted, at), at
        where = f"{path}, line {number}"
        try:
            record, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: this is not JSON ({error.msg}).") from None
        if not isinstance(record, dict):
            raise ValueError(f"{where}: an object is needed. Received: {record!r}.")
        yield where, record
        at = mark.match(text, at).end()


def _entry(path, row, video, label, split=-1):
    number, cells = row
    where = f"{path}, line {number}"
    if not video < len(cells) or not cells[video]:
        return Entry(where, (), None, problem=f"has no path: {_cells(cells)}")
    name = cells[label] if label < len(cells) else None
    part = cells[split] if 0 <= split < len(cells) else None
    return Entry(where, (cells[video],), name or None, part)


def _split_at_space(line):
    video, _, label = line.rpartition(" ")
    return [line] if not video or files.is_video(line) else [video.strip(), label]


def _ordered(path, numbers):
    """Names in the order of their numbers, which must be 0, 1, 2, and so on."""
    names = sorted(numbers, key=numbers.get)
    if sorted(numbers.values()) != list(range(len(names))):
        raise ValueError(f"{path}: the classes are not numbered without a gap.")
    return tuple(names)


def _beside(path, *names):
    """The address of a file in the folder of a list, or `None`."""
    folder = posixpath.dirname(path)
    there = files.listing(folder)
    return next((files.join(folder, name) for name in names if name in there), None)


def _cells(row):
    return repr(", ".join(map(str, row.values() if isinstance(row, dict) else row)))
