"""Reads the text files of data sets: lines, CSV, JSON, and files of classes."""

import codecs
import csv
import io
import json
import re
from typing import NamedTuple

from stzoo.data import files

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its prefix
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Entry(NamedTuple):
    """One line of a list.

    Attributes:
        where: string, the file and the line.
        names: tuple of strings, possible paths of the video, relative to the root. The
            suffix of a video can be missing.
        label: string, the name of the class or its number, or `None`. In lists with
            several labels a video: tuple of strings.
        split: string, the split of the data set, or `None`.
        problem: string, what is wrong with the line, or `None`.
        frames: int, the number of images that a folder of frames must have, or `None`.
    """

    where: str
    names: tuple[str, ...]
    label: str | tuple[str, ...] | None
    split: str | None = None
    problem: str | None = None
    frames: int | None = None


def text(path):
    """Reads a text file in UTF-8, or in UTF-16 with a byte-order mark.

    Raises:
        ValueError: it has another encoding. The error has the line of the first wrong
            byte.
    """
    with files.open_bytes(path) as file:
        content = file.read()
    codec = next((MARKS[mark] for mark in MARKS if content.startswith(mark)), "utf-8")
    name = codec.upper()
    try:
        found, end = content.decode(codec), None
    except UnicodeDecodeError as error:
        found, end = content[: error.start].decode(codec, "ignore"), error.start
        wrong = f"the byte 0x{content[end]:02x} is not {name}"
    if end is None and "\0" in found:
        found, end = found[: found.index("\0")], 0
        wrong = "there is a zero byte, which is not text"
    if end is not None:
        number = len(re.split(r"\r\n|\r|\n", found))
        raise ValueError(
            f"{path}, line {number}: {wrong}. Save the list as a text file in UTF-8, "
            'or in a spreadsheet program as "CSV UTF-8".'
        )
    return found.removeprefix("\ufeff")


def lines(path):
    """Yields `(number, line)` for all lines that are not empty."""
    for number, line in enumerate(io.StringIO(text(path), newline=""), 1):
        if line.strip():
            yield number, line.strip()


def rows(path, separator):
    """Yields `(number, cells)`; a quoted cell may go over several lines."""
    # Otherwise spaces after the closing quote of a line would be part of the cell.
    blank = " \r\n" if separator == "\t" else " \t\r\n"
    stripped = (
        line.rstrip(blank) + "\n" for line in io.StringIO(text(path), newline="")
    )
    rows = csv.reader(stripped, delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {number}: this is not CSV ({error}). A cell that begins "
                "with a quote must end with one. Quotes within must be doubled."
            ) from None
        if any(row):
            yield number, [cell.strip() for cell in row]


def records(path):
    """Yields `(file and line, object)` for the objects in a list in JSON."""
    content = text(path)
    decoder, mark = json.JSONDecoder(), re.compile(r"[\s,\[\]]*")
    at, number, counted = mark.match(content).end(), 1, 0
    while at < len(content):
        number, counted = number + content.count("\n", counted, at), at
        where = f"{path}, line {number}"
        try:
            record, at = decoder.raw_decode(content, at)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: this is not JSON ({error.msg}).") from None
        if not isinstance(record, dict):
            raise ValueError(f"{where}: expected an object. Received: {record!r}.")
        yield where, record
        at = mark.match(content, at).end()


def load_json(path):
    try:
        return json.loads(text(path))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: this is not JSON ({error.msg})."
        ) from None


def read_classes(path):
    """Reads a file of classes.

    Args:
        path: string, path or URL of a file with one name per line, optionally with its
            number before it (`1 Archery`) or after it (`clapping,0`), or of a JSON file
            with a list or a dict.

    Returns:
        Dict from the names of the classes to their numbers, sorted by number. Numbers
        start at 0, or at 1 if the file says so.

    Raises:
        ValueError: a class is listed twice, or the numbers are not consecutive.
    """
    if path.endswith(".json"):
        content = load_json(path)
        if isinstance(content, dict):
            if all(str(name).isdecimal() for name in content):
                content = {name: number for number, name in content.items()}
            return _ordered(path, list(content), list(content.values()))
        if not isinstance(content, list):
            raise ValueError(
                f"{path}: expected a list or a dict of classes. Received: {content!r}."
            )
        names = [" ".join(n) if isinstance(n, list) else str(n) for n in content]
        return _ordered(path, names)
    names = [line for _, line in lines(path)]
    for pattern in (
        r"(?P<number>\d+)[\s,;]+(?P<name>.*)",
        r"(?P<name>.*),\s*(?P<number>\d+)",
    ):
        found = [re.fullmatch(pattern, name) for name in names]
        if all(found):
            columns = ([match[key] for match in found] for key in ("name", "number"))
            return _ordered(path, *columns)
    return _ordered(path, names)


def _ordered(path, names, numbers=None):
    """Returns a dict of names and numbers, which must be 0, 1, 2... or 1, 2, 3..."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: the class {twice!r} is listed twice.")
    if numbers is None:
        return {name: number for number, name in enumerate(names)}
    if not all(str(number).isdecimal() for number in numbers):
        wrong = next(number for number in numbers if not str(number).isdecimal())
        raise ValueError(f"{path}: {wrong!r} is not the number of a class.")
    numbered = sorted(
        (int(number), name) for number, name in zip(numbers, names, strict=True)
    )
    first = min(numbered)[0] if numbered else 0
    if [n for n, _ in numbered] != list(range(first, first + len(names))) or first > 1:
        raise ValueError(
            f"{path}: the numbers of the classes must be consecutive, from 0 or 1."
        )
    return {name: number for number, name in numbered}
