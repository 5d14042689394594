"""Readers for published lists of videos.

Each reader takes the path or URL of a file and returns `(entries, classes)`: the entry
of each line, and a dict from the names of the classes to their numbers if a file next
to the list has them, or `None`. `stzoo.data.datasets.read` checks the entries.
"""

import fnmatch
import functools
import posixpath
import re

from stzoo.data import files, several, tables
from stzoo.data.tables import Entry

# Names of the column of videos. `file_name` is from Hugging Face's VideoFolder,
# `video_id` from Jester as Qualcomm distributes it.
HEADER = (
    *("path", "video", "file", "filename", "video_path"),
    *("file_name", "file_path", "filepath", "video_name", "video_id"),
)
NUMBERED = re.compile(r"\d+(;.*)?")  # Jester, Something-Something v1
RAWFRAMES = re.compile(r"(.*?\S)((\s+\d+){2,})")
SUFFIX = "|".join(map(re.escape, files.VIDEOS))
# A video, a space, and its class, which can contain spaces and commas.
SPACED = re.compile(
    rf'(?!.*(?:{SUFFIX})"?\s*[\t,;])'
    rf'("[^"]+"|[^"\t,;]*(?:{SUFFIX}))[ ]+([^\s,;].*)',
    re.IGNORECASE,
)
UCF = re.compile(r"\w+/v_\w+\.avi( \d+)?")
MOMENTS = re.compile(r"[^,]+/[^,]+\.mp4,[^,]+,\d+,\d+")


def detect(path):
    """Detects the format of a list: a key of `READERS`."""
    if re.search(r"_test_split[\d*?]\.txt$", path):
        return "hmdb51"
    if path.endswith(".json"):
        _, first = next(tables.records(path), ("", {"id": None}))
        if "vid_name" not in first and "id" not in first:
            keys = ", ".join(list(first)[:5]) or "nothing"
            raise ValueError(
                f"{path} is neither a list of Something-Something v2 (objects with an "
                "id) nor of Diving48 (with a vid_name). Received: an object with "
                f"{keys}. Write a CSV with the columns path and label instead."
            )
        return "diving48" if "vid_name" in first else "something_v2"
    _, first = next(tables.lines(path), (0, ""))
    if first.startswith("id,") and ",actions" in first:
        return "charades"
    if "youtube_id" in first and "time_start" in first:
        return "kinetics"
    if NUMBERED.fullmatch(first):
        return "jester" if "jester" in path.lower() else "something_v1"
    if UCF.fullmatch(first):
        return "ucf101"
    if (match := RAWFRAMES.fullmatch(first)) and not files.is_video(match[1]):
        return "rawframes"
    return "moments_in_time" if MOMENTS.fullmatch(first) else "list"


def read_list(path, label=None, multi_label=None):
    """Reads lines of a path and a class, of a path and several, or of a path only.

    The list is CSV with or without a header, or is separated by tabs, semicolons or a
    space.

    Args:
        path: string, path or URL of the file.
        label: string, the column of the class, if there are several candidates.
        multi_label: bool or `None`, see `stzoo.data.datasets.read`.
    """
    _, first = next(tables.lines(path), (0, ""))
    separator = next((mark for mark in "\t,;" if mark in first), None)
    if separator is None or SPACED.fullmatch(first):
        rows = ((number, _split_at_space(line)) for number, line in tables.lines(path))
        if multi_label:
            return several.entries(path, rows, _entry, several.numbers_or_names), None
        return (_entry(path, row, 0, 1) for row in rows), None
    rows = tables.rows(path, separator)
    columns = [cell.lower() for cell in next(tables.rows(path, separator))[1]]
    video = next((name for name in HEADER if name in columns), None)
    if video is None:
        if label is not None:
            raise ValueError(
                f"{path} has no header that names a column of paths "
                f"({', '.join(HEADER)}), so there is no column {label!r}. Its first "
                f"line: {first!r}."
            )
        if multi_label:
            return several.entries(path, rows, _entry, several.of_cells), None
        return (_entry(path, row, 0, 1, width=2) for row in rows), None
    _, header = next(rows)
    place = columns.index(video), columns.index("split") if "split" in columns else -1
    if multi_label is not False:
        content = [cells for _, cells in tables.rows(path, separator)][1:]
        found = several.find(path, header, place, content, label, multi_label)
        if found is not None:
            names_of, classes = found
            return several.entries(path, rows, _entry, names_of, *place), classes
    at = _class_column(path, columns, video, label)
    return (_entry(path, row, place[0], at, place[1]) for row in rows), None


def _class_column(path, columns, video, label):
    """Returns the index of the class column, or the number of columns if none."""
    others = [name for name in columns if name not in (video, "split")]
    if label is None and "label" in others:
        label = "label"
    if label is None and len(others) == 1:
        (label,) = others
    if label is None and others or label is not None and label.lower() not in others:
        raise ValueError(
            f"{path} has the columns {', '.join(columns)}. Pass the class column, such "
            f"as label={others[0] if others else 'label'!r}. Received: {label!r}."
        )
    return columns.index(label.lower()) if label else len(columns)


def read_rawframes(path, label=None, multi_label=None):
    """Reads `folder 163 1` of mmaction2, TSN and TSM: a folder of frames, their number,
    and the class. With an offset, `folder 0 163 1`, the first frame comes before.

    A video is a whole folder: with an offset, the folder must have only these frames.
    `subject 1 0` can also be a video `subject 1` of class 0, if there is no `subject`.
    With `multi_label`, all numbers after that of the frames are classes.
    """
    if multi_label:
        return (several.of_frames(path, *line) for line in tables.lines(path)), None
    matches = {n: RAWFRAMES.fullmatch(line) for n, line in tables.lines(path)}
    counts = [len(match[2].split()) for match in matches.values() if match]
    columns = min(counts, default=2)

    def entry(number, line):
        where = f"{path}, line {number}"
        cells = line.rsplit(None, columns)
        if matches[number] is None or columns > 3:
            problem = (
                "expected a folder, the number of its frames and one class, such as "
                f"'folder 163 1', or with an offset 'folder 0 163 1'. Received: {line}"
            )
            return Entry(where, (), None, problem=problem)
        problem = None
        if columns == 3 and int(cells[1]) > 1:
            problem = (
                f"the video begins at frame {cells[1]} of {cells[0]}. Put the frames "
                "of each video into a separate folder"
            )
        frames = int(cells[2]) if columns == 3 else None
        names = (cells[0], line.rsplit(None, 1)[0]) if columns == 2 else (cells[0],)
        return Entry(where, names, cells[-1], problem=problem, frames=frames)

    return (entry(*line) for line in tables.lines(path)), None


def read_kinetics(path):
    """Reads `label,youtube_id,time_start,time_end,split`, and `is_cc` if present.

    Videos have the names of ActivityNet's crawler, `{youtube_id}_000010_000020`. They
    are in a folder for each class (with spaces or underscores), or in one folder.
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

    rows = tables.rows(path, ",")
    _, header = next(rows)
    entries = (
        entry(number, dict(zip(header, row, strict=False))) for number, row in rows
    )
    return entries, None


def read_charades(path, label=None, multi_label=None):
    """Reads `id,subject,...,actions,length` of Charades, at the level of videos.

    `actions` is `c092 11.90 21.20;c147 0.00 12.60`, or empty. The times are not used.
    `Charades_v1_classes.txt` has the names, `c092 Making a sandwich`. Without it, the
    codes are the names.
    """
    file = _beside(path, "Charades_v1_classes.txt")
    lines = [line for _, line in tables.lines(file)] if file else []
    names = {code: name for code, _, name in (line.partition(" ") for line in lines)}
    rows = tables.rows(path, ",")
    _, header = next(rows)

    def entry(number, cells):
        where = f"{path}, line {number}"
        row = dict(zip(header, cells, strict=False))
        codes = [action.split() for action in row.get("actions", "").split(";")]
        codes = [words[0] for words in codes if words]
        if not row.get("id") or "actions" not in row:
            return Entry(where, (), None, problem=f"cannot be read: {_cells(cells)}")
        return Entry(where, (row["id"],), tuple(names.get(c, c) for c in codes))

    classes = {name: number for number, name in enumerate(names.values())}
    return (entry(*row) for row in rows), classes or None


def read_moments_in_time(path):
    """Reads `class/video.mp4,class,agreeing,disagreeing`, and
    `moments_categories.txt`.
    """
    categories = _beside(path, "moments_categories.txt")

    def entry(number, row):
        where = f"{path}, line {number}"
        if len(row) < 2:
            return Entry(where, (), None, problem=f"cannot be read: {_cells(row)}")
        names = (row[0], f"training/{row[0]}", f"validation/{row[0]}")
        return Entry(where, names, row[1])

    classes = tables.read_classes(categories) if categories else None
    return (entry(*row) for row in tables.rows(path, ",")), classes


def read_ucf101(path):
    """Reads `Class/v_Class_g08_c01.avi 1`. The number counts from 1, as in
    `classInd.txt`. It is missing in `testlist`.
    """
    index = _beside(path, "classInd.txt")
    numbers = tables.read_classes(index) if index else None

    def entry(number, line):
        video, _, index = line.partition(" ")
        label, problem = posixpath.dirname(video), None
        if index and numbers and index.strip() != str(numbers.get(label)):
            problem = f"{index} is not the number of {label} in classInd.txt"
        return Entry(f"{path}, line {number}", (video,), label, problem=problem)

    return (entry(*line) for line in tables.lines(path)), numbers


def read_hmdb51(path):
    """Reads a file for each class, `brush_hair_test_split1.txt`. Its lines are a video
    and 1 (train), 2 (test) or 0 (neither). The path has a * in place of the class.
    """
    folder, pattern = posixpath.split(path)
    names = sorted(fnmatch.filter(files.listing(folder), pattern))
    if not names:
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    splits = {"0": "neither", "1": "train", "2": "test"}

    def entries():
        for name in names:
            label = re.sub(r"_test_split\d\.txt$", "", name)
            for number, line in tables.lines(files.join(folder, name)):
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
    """Reads `100218;Something falling like a feather or paper`, and a file with one
    class per line. The test list has only numbers.
    """
    labels = _beside(path, classes)

    def entry(number, line):
        video, _, label = line.partition(";")
        return Entry(f"{path}, line {number}", (video,), label or None)

    names = tables.read_classes(labels) if labels else None
    return (entry(*line) for line in tables.lines(path)), names


read_jester = functools.partial(read_something_v1, classes="jester-v1-labels.csv")


def read_something_v2(path):
    """Reads `[{"id": "78687", "template": "Holding [something] next to [something]",
    ...}]`, and `labels.json`, which has the templates without brackets. The test list
    has only ids.
    """
    labels = _beside(path, "something-something-v2-labels.json", "labels.json")

    def entry(where, record):
        label = record.get("template")
        if not isinstance(record.get("id"), str | int):
            problem = f"has no id: {str(record)[:80]}"
        elif not isinstance(label, str | None):
            problem = f"has no template: {str(record)[:80]}"
        else:
            label = re.sub(r"[\[\]]", "", label) if label else None
            return Entry(where, (str(record["id"]),), label)
        return Entry(where, (), None, problem=problem)

    classes = tables.read_classes(labels) if labels else None
    return (entry(*record) for record in tables.records(path)), classes


def read_diving48(path):
    """Reads `[{"vid_name": "_8Vy3dlHg2w_00000", "label": 0, ...}]`, and
    `Diving48_vocab.json`, a list of four words for each class.
    """
    vocabulary = _beside(path, "Diving48_vocab.json")

    def entry(where, record):
        problem = (
            None if "vid_name" in record else f"has no vid_name: {str(record)[:80]}"
        )
        video, label = str(record.get("vid_name")), record.get("label")
        label = None if label is None else str(label)
        return Entry(where, (video,), label, problem=problem)

    classes = tables.read_classes(vocabulary) if vocabulary else None
    return (entry(*record) for record in tables.records(path)), classes


READERS = {
    "list": read_list,
    "rawframes": read_rawframes,
    "kinetics": read_kinetics,
    "moments_in_time": read_moments_in_time,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "something_v1": read_something_v1,
    "something_v2": read_something_v2,
    "jester": read_jester,
    "diving48": read_diving48,
    "charades": read_charades,
}
SEVERAL = ("list", "rawframes", "charades")  # formats that can have several labels


def _entry(path, row, video, label, split=-1, width=None):
    number, cells = row
    where = f"{path}, line {number}"
    name = cells[label] if label < len(cells) else ""
    part = cells[split] if 0 <= split < len(cells) else None
    problem = None
    if not video < len(cells) or not cells[video]:
        problem = f"has no path: {_cells(cells)}"
    elif width and any(cells[width:]):
        problem = (
            f"has {len(cells)} columns, but there is no header with their names. Add a "
            f"first line such as path,label,other. Received: {_cells(cells)}"
        )
    elif "\n" in cells[video] + name:
        problem = f"a quote spans several lines: {_cells(cells)[:80]}"
    elif re.fullmatch(r"\d+(\s+\d+)+|-\d+", name):
        problem = (
            f"expected one class, a name or a number from 0. Received: {name!r}. If a "
            "video can have several classes, pass multi_label=True (--multi-label)"
        )
    if problem:
        return Entry(where, (), None, problem=problem)
    return Entry(where, (cells[video],), name or None, part)


def _split_at_space(line):
    """Splits a line into a path and its class, if it has one."""
    match = SPACED.fullmatch(line)
    if files.is_video(line):
        cells = (line,)
    elif match:
        cells = match.groups()
    else:
        video, _, label = line.rpartition(" ")
        cells = (video, label) if video else (line,)
    return [re.sub(r'^"(.*)"$', r"\1", cell.strip()) for cell in cells]


def _beside(path, *names):
    """Returns the path of a file in the folder of a list, or `None`."""
    folder = posixpath.dirname(path)
    there = files.listing(folder)
    return next((files.join(folder, name) for name in names if name in there), None)


def _cells(row):
    return repr(", ".join(map(str, row.values() if isinstance(row, dict) else row)))
