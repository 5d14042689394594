"""Reads several labels a video: columns of 0 and 1, or cells with a separator."""

import re

from stzoo.data.tables import Entry

MARKS = "|;"  # between the labels of a cell
PRESENT = {"0": False, "1": True, "0.0": False, "1.0": True}
PRESENT |= {"false": False, "true": True}


def entries(path, rows, entry_of, names_of, video=0, split=-1):
    """Yields an `Entry` with a tuple of labels for each row.

    Args:
        path: string, the list.
        rows: iterable of tuples `(number, cells)`.
        entry_of: function `(path, row, video, label, split)`, which returns an `Entry`.
        names_of: function of cells, which returns the labels and a problem or `None`.
        video: int, the column of the path.
        split: int, the column of the split, or -1.
    """
    for row in rows:
        entry = entry_of(path, row, video, len(row[1]), split)  # without a class
        names, problem = names_of(row[1])
        if problem and not entry.problem:
            yield entry._replace(names=(), problem=problem)
        else:
            yield entry if entry.problem else entry._replace(label=names)


def numbers_or_names(cells):
    """Returns the labels of `path 1 4` or `path jump|run`."""
    text = cells[1] if len(cells) > 1 else ""
    if re.fullmatch(r"\d+(\s+\d+)*", text):
        return tuple(text.split()), None
    return _split(text, next((mark for mark in MARKS if mark in text), None)), None


def of_cells(cells):
    """Returns the labels of all cells but the first, each of which can have several."""
    found = []
    for cell in cells[1:]:
        found += _split(cell, next((mark for mark in MARKS if mark in cell), None))
    return tuple(found), None


def of_frames(path, number, line):
    """Returns the entry of `folder 163 1 4`: a folder, its frames, and its classes."""
    where = f"{path}, line {number}"
    match = re.fullmatch(r"(.*?\S)\s+\d+((\s+\d+)*)", line)
    if match is None:
        problem = (
            "expected a folder, the number of its frames and its classes, such as "
            f"'folder 163 1 4'. Received: {line}"
        )
        return Entry(where, (), None, problem=problem)
    return Entry(where, (match[1],), tuple(match[2].split()))


def find(path, header, place, content, label, multi_label):
    """Finds the columns with several labels.

    Args:
        path: string, the list.
        header: list of strings.
        place: tuple of two ints, the columns of the path and of the split (or -1).
        content: list of lists of strings, the cells of the other lines.
        label: string, the column of the classes, or `None`.
        multi_label: `True`, or `None` to detect it.

    Returns:
        Tuple of a function for `entries`, and of a dict from class to number or `None`.
        `None`: each video has one label.
    """
    lowered = [name.lower() for name in header]
    others = [n for n in range(len(header)) if n not in place]
    if label is None:
        known = [name for name in ("labels", "label") if name in lowered]
        flags = [str(cell).lower() in PRESENT for cell in _taken(content[:1], others)]
        if not known and flags and all(flags) and (multi_label or len(others) > 1):
            return _of_columns(path, header, others)
        if not known and len(others) == 1 and multi_label:
            known = [lowered[others[0]]]
        label = known[0] if known else None
    if label is None or label.lower() not in lowered:
        return None
    column = lowered.index(label.lower())
    cells = _taken(content, [column])
    mark = next((mark for mark in MARKS if any(mark in cell for cell in cells)), None)
    if not multi_label and (mark is None or label.lower() != "labels"):
        return None

    def names_of(cells):
        return _split(cells[column] if column < len(cells) else "", mark), None

    return names_of, None


def _of_columns(path, header, columns):
    """Returns the result of `find` for columns of 0 and 1."""
    names = [header[column] for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has two columns {twice[0]!r}. Rename one of them.")

    def names_of(cells):
        found = []
        for column, name in zip(columns, names, strict=True):
            cell = cells[column] if column < len(cells) else ""
            if cell.lower() not in PRESENT:
                return (), (
                    f"expected 0 or 1 in the column {name!r}. Received: {cell!r}. If "
                    f"{name!r} is not a class, remove it, or choose the column of the "
                    "class with label=... (--label)"
                )
            found += [name] * PRESENT[cell.lower()]
        return tuple(found), None

    return names_of, {name: number for number, name in enumerate(names)}


def _taken(content, columns):
    """Returns the cells of some columns."""
    return [row[n] if n < len(row) else "" for row in content for n in columns]


def _split(cell, mark):
    """Returns the labels of a cell."""
    parts = cell.split(mark) if mark else [cell]
    return tuple(part.strip() for part in parts if part.strip())
