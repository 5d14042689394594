"""Reads videos and their labels from folders, lists, and published data sets."""

import dataclasses
import logging
import os
from collections import Counter
from dataclasses import dataclass
from reprlib import repr as shortened

import numpy as np

from stzoo.data import annotations, files, folders, lookup, numbering, tables

logger = logging.getLogger("stzoo")
SHOWN = 10  # problems that an error or a log message lists


@dataclass(frozen=True)
class Videos:
    """Videos and their labels.

    Args:
        paths: tuple of strings, files or folders of frames, local or URLs.
        labels: tuple of ints, the class index of each video, or empty if unknown. With
            `multi_label`: tuple of tuples of 0 and 1, `(videos, classes)`. A row of
            zeros is a video with none of the classes.
        classes: tuple of strings, the names of the classes.
        skipped: tuple of strings, the skipped entries, with file and line.
        multi_label: bool, whether a video can have several labels, or none.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    multi_label: bool = False

    def __post_init__(self):
        if not self.multi_label:
            return
        labels = tuple(tuple(map(int, row)) for row in self.labels)
        sizes = {len(row) for row in labels} - {len(self.classes)}
        if sizes or not all(value in (0, 1) for row in labels for value in row):
            raise ValueError(
                "With multi_label=True, labels must have a row of 0 and 1 for each "
                f"video, one for each of the {len(self.classes)} classes. Received: "
                f"{shortened(self.labels)}."
            )
        object.__setattr__(self, "labels", labels)

    def __len__(self):
        return len(self.paths)

    @property
    def counts(self):
        """The number of videos of each class, an int array `(classes,)`."""
        labels = np.array(self.labels, int)
        if self.multi_label:
            return labels.reshape(-1, len(self.classes)).sum(0)
        return np.bincount(labels, minlength=len(self.classes))


def read(
    source,
    *,
    root=None,
    format=None,
    label=None,
    split=None,
    classes=None,
    skip=False,
    multi_label=None,
):
    """Reads a folder or a list of videos, with their labels.

    Args:
        source: path or URL of one of:

            * a folder with a folder of videos for each class, or with videos only. The
              names of the class folders are the classes. Without class folders, there
              are no labels. A video can be a folder of frames;
            * a list: CSV or text with a path and a class (name or index) on each line,
              with or without a header. The class can be missing. Or a list with a
              folder of frames, their number and a class on each line, as in mmaction2.
              A list is in UTF-8, or in UTF-16 with a byte-order mark;
            * a list of a published data set, as distributed: CSV of Kinetics or
              Moments in Time, split files of UCF101 (`trainlist01.txt`) and HMDB51
              (`"splits/*_test_split1.txt"`, with `split="train"`), Something-Something
              v1 and v2, Jester, Diving48, Charades (its actions without times). A file
              of classes next to the list determines their order.
        root: path or URL of the folder with the videos. Defaults to the folder of the
            list.
        format: string, one of `"list"`, `"rawframes"` (of mmaction2), `"kinetics"`,
            `"moments_in_time"`, `"ucf101"`, `"hmdb51"`, `"something_v1"`,
            `"something_v2"`, `"jester"`, `"diving48"`, `"charades"`. By default, the
            format is detected.
        label: string, the column of the class, if a list with a header has several
            candidates.
        split: string, the split to read from a list that has several: a value of the
            column `split` of Kinetics or of a list with a header, or `"train"` or
            `"test"` of HMDB51.
        classes: sequence of strings, the ordered names of the classes, such as
            `Videos.classes` of the training videos, or the path of a file with one name
            per line, with or without its index, from 0 or 1 (`classInd.txt`,
            `labels.json`). Numbers in a list are then indices of these classes, unless
            they are names of classes. By default, the order is that of the data set. If
            it has none, classes are sorted by number if all of them are numbers, and
            alphabetically otherwise.
        skip: bool, whether to skip and log bad entries instead of raising an error: a
            missing video, a video that is listed twice, a class that is not one of
            `classes`, or a line that cannot be read.
        multi_label: bool, whether a video can have several labels, or none. `None`: it
            is detected. These lists have several labels:

            * CSV with a column `labels`, if one of its cells has the separator `|` or
              `;`, such as `jump|run`. An empty cell is a video without a label. With
              `True`, this can be any column, and a list without a header;
            * CSV with a column for each class, with 0 and 1;
            * Charades;
            * with `True`, the lists of mmaction2: `video.mp4 1 4`, and
              `rawframes`, `folder 163 1 4`.

    Returns:
        `Videos`. A summary is logged on one line.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the list has bad entries, or no video is left.

    Example:

    ```python
    train = stzoo.read_videos("kinetics/train.csv", root="videos", skip=True)
    test = stzoo.read_videos("my/test", classes=train.classes)
    ```
    """
    source = os.fspath(source)
    if isinstance(classes, str | os.PathLike):
        classes = tables.read_classes(os.fspath(classes))
    if folders.is_folder(source):
        format, root, known = "folder", source, None
        entries = folders.folder_entries(source)
    else:
        format, (entries, known) = _list_entries(
            source, format, label, split, multi_label
        )
        root = files.split(source)[0] if root is None else os.fspath(root)
        if root and not folders.is_folder(root):
            raise FileNotFoundError(f"There is no folder {root}. Check `root`.")
    entries = [
        _normalised(entry, multi_label)
        for entry in entries
        if entry.problem or split in (None, entry.split)
    ]
    classes = classes or known or numbering.classes_of(entries)
    numbers, meaning = numbering.numbers_of(entries, classes, format)
    videos = _checked(source, root, entries, tuple(classes), numbers, skip)
    if any(isinstance(entry.label, tuple) for entry in entries):
        videos = _with_rows(videos)
        meaning += " A video can have several labels."
    logger.info("%s: %s", source, _summary(videos, meaning))
    return videos


def _normalised(entry, multi_label):
    """Returns an entry whose label is a name, a tuple of names, or `None`."""
    label = entry.label
    if multi_label and isinstance(label, str):
        label = (label,)
    if isinstance(label, tuple):
        return entry._replace(label=tuple(map(lookup.composed, label)))
    return entry._replace(label=label and lookup.composed(label))


def _with_rows(videos):
    """Returns the videos with a row of 0 and 1 instead of a tuple of class indices."""
    size = range(len(videos.classes))
    labels = tuple(tuple(int(n in row) for n in size) for row in videos.labels)
    labels = labels if videos.classes else ()
    return dataclasses.replace(videos, labels=labels, multi_label=True)


def _list_entries(source, format, label, split, multi_label):
    """Returns the format of a list, and the result of its reader."""
    if not files.is_url(source) and files.is_video(source):
        raise ValueError(f"{source} is a video. Pass a folder of videos, or a list.")
    try:
        format = format or annotations.detect(source)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no file or folder {source}. Check the path."
        ) from None
    reader = annotations.READERS.get(format)
    if reader is None:
        raise ValueError(
            f"format must be one of {', '.join(annotations.READERS)}. Received: "
            f"{format!r}."
        )
    if format == "hmdb51" and split is None:
        raise ValueError('HMDB51 needs split="train" or split="test".')
    if label is not None and format != "list":
        raise ValueError(
            f"The format {format} has only one class column, so label={label!r} has no "
            "effect. Remove it."
        )
    if format == "charades" and multi_label is False:
        raise ValueError(
            "The videos of Charades have several labels. Remove multi_label=False."
        )
    if format in annotations.SEVERAL:
        return format, reader(source, label, multi_label)
    return format, reader(source)


def _checked(source, root, entries, classes, numbers, skip):
    """Returns the videos of good entries, and the problems of the others."""
    listings, seen, problems, counts = {}, {}, [], Counter()
    labelled = any(entry.label is not None for entry in entries)

    def report(kind, entry, text):
        problems.append(f"{entry.where}: {text}")
        counts[kind] += 1

    for entry in entries:
        if entry.problem:
            report("unreadable", entry, entry.problem)
            continue
        path, identity = lookup.find(root, entry.names, listings)
        label, unknown = numbering.number(entry.label, numbers)
        if path is None:
            report("missing", entry, f"there is no video {entry.names[0]} in {root}")
        elif identity in seen:
            where = seen[identity][2]
            report("duplicate", entry, f"{path} is already listed in {where}")
        elif labelled and entry.label is None:
            report("unlabelled", entry, f"{path} has no class")
        elif labelled and label is None:
            text = f"{unknown!r} is not one of the {len(classes)} classes"
            report("of another class", entry, f"{text}: {folders.shown(list(numbers))}")
        elif entry.frames not in (None, images := _images(path, entry.frames)):
            text = f"{path} has {images} images, but the list says {entry.frames}"
            report("of another length", entry, text)
        else:
            seen[identity] = path, label, entry.where
    _tell(source, len(entries), problems, counts, skip)
    if not seen:
        raise ValueError(f"{source} has no videos.")
    paths, labels, _ = zip(*seen.values(), strict=True)
    return Videos(paths, labels if labelled else (), classes, tuple(problems))


def _tell(source, total, problems, counts, skip):
    """Raises the problems of the entries, or logs them."""
    if not problems:
        return
    counted = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    text = f"{source}: {len(problems)} of {total} entries are wrong ({counted})"
    lines = problems[:SHOWN]
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN} more")
    text = "\n  ".join([f"{text}.", *lines])
    if not skip:
        raise ValueError(f"{text}\nPass skip=True to skip them.")
    logger.warning("%s", text)


def _summary(videos, meaning):
    """Summarises the videos on one line."""
    of_frames = sum(not files.is_video(path) for path in videos.paths)
    text = f"{len(videos)} videos"
    if of_frames:
        text += f" ({of_frames} of them folders of frames)"
    if not videos.labels:
        return f"{text} without labels."
    empty = int((videos.counts == 0).sum())
    text += f" of {len(videos.classes)} classes"
    return f"{text}{f' ({empty} of them without a video)' * bool(empty)}. {meaning}"


def _images(path, wanted):
    """Returns the number of images in a folder, if `wanted`."""
    return None if wanted is None else sum(map(files.is_image, files.listing(path)))
