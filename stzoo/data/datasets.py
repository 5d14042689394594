"""Which videos, and what they show: from folders, lists, and published data sets."""

import logging
import os
import posixpath
from collections import Counter
from dataclasses import dataclass

from stzoo.data import annotations, files
from stzoo.data.annotations import Entry

logger = logging.getLogger("stzoo")
SHOWN = 10  # problems that an error or a line of the log tells in full


@dataclass(frozen=True)
class Videos:
    """Videos and their labels.

    Args:
        paths: tuple of strings, files or folders of frames, local or URLs.
        labels: tuple of ints, the index of the class of each video; empty where they
            are not known.
        classes: tuple of strings, the names of the classes.
        skipped: tuple of strings, what was left out, with file and line.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self):
        return len(self.paths)


def read(
    source,
    *,
    root=None,
    format=None,
    label=None,
    split=None,
    classes=None,
    skip=False,
):
    """Reads which videos there are and what they show.

    Args:
        source: path or URL of one of:

            * a folder with a folder of videos for each class, or with videos alone,
              whose classes are then unknown. A video may be a folder of frames;
            * a list: CSV or text with a path and a class in each line (the name, or
              the index), with or without a header, or paths alone;
            * a list of a published data set, as it is distributed: CSV of Kinetics or
              Moments in Time, split files of UCF101 (`trainlist01.txt`) and HMDB51
              (`"splits/*_test_split1.txt"`, with `split="train"`), Something-Something
              v1 and v2, Jester, Diving48. A file of the classes that stands beside the
              list fixes their order.
        root: path or URL of the folder with the videos. Default: the folder of the
            list.
        format: string, one of `"list"`, `"kinetics"`, `"moments_in_time"`, `"ucf101"`,
            `"hmdb51"`, `"something_v1"`, `"something_v2"`, `"jester"`, `"diving48"`.
            Default: what the list looks like.
        label: string, the column of the class in a list with a header, if there are
            several.
        split: string, the part to read of a list that has several: what stands in the
            column `split` of Kinetics or of a list with a header; `"train"` or `"test"`
            of HMDB51.
        classes: sequence of strings, the names of the classes in their order, such as
            `Videos.classes` of the training videos, or the path of a file with a name
            a line. Default: the order of the data set, or else of the alphabet.
        skip: bool. A missing video, one that is listed twice, a class that is not one
            of `classes`, a line that cannot be read: all of them are an error, or,
            with `skip=True`, left out and logged.

    Returns:
        `Videos`.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: something is wrong in the list, or no video is left.

    Example:

    ```python
    train = stzoo.data.datasets.read("kinetics/train.csv", root="videos", skip=True)
    test = stzoo.data.datasets.read("my/test", classes=train.classes)
    ```
    """
    source = os.fspath(source)
    if isinstance(classes, str | os.PathLike):
        with files.open_text(os.fspath(classes)) as file:
            classes = [line.strip() for line in file if line.strip()]
    if _is_folder(source):
        root, entries, known = source, _folder_entries(source), None
    else:
        format = format or annotations.detect(source)
        reader = annotations.READERS.get(format)
        if reader is None:
            raise ValueError(
                f"format={format!r} is none of: {', '.join(annotations.READERS)}."
            )
        if format == "hmdb51" and split is None:
            raise ValueError('HMDB51 needs split="train" or split="test".')
        if label is not None and format != "list":
            raise ValueError(
                f"label={label!r} chooses a column; {format} has just one."
            )
        entries, known = reader(source) if label is None else reader(source, label)
        root = posixpath.dirname(source) if root is None else os.fspath(root)
        if root and not _is_folder(root):
            raise FileNotFoundError(f"There is no folder {root}. Check `root`.")
    entries = [e for e in entries if e.problem or split in (None, e.split)]
    classes = tuple(classes or known or _classes(entries))
    return _checked(source, root, entries, classes, skip)


def _checked(source, root, entries, classes, skip):
    """The videos of the entries that are right, and what is wrong with the others."""
    index = {name: number for number, name in enumerate(classes)}
    listings, seen, problems, counts = {}, {}, [], Counter()
    labelled = any(entry.label is not None for entry in entries)

    def report(kind, entry, text):
        problems.append(f"{entry.where}: {text}")
        counts[kind] += 1

    for entry in entries:
        if entry.problem:
            report("unreadable", entry, entry.problem)
            continue
        path = _find(root, entry.names, listings)
        label = _index(entry.label, index)
        if path is None:
            report("missing", entry, f"there is no video {entry.names[0]} in {root}")
        elif path in seen:
            report("duplicate", entry, f"{path} is listed before, in {seen[path][1]}")
        elif labelled and entry.label is None:
            report("unlabelled", entry, f"{path} has no class")
        elif labelled and label is None:
            text = f"{entry.label!r} is none of the {len(classes)} classes"
            report("of another class", entry, text)
        else:
            seen[path] = label, entry.where
    if problems:
        counted = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        text = (
            f"{source}: {len(problems)} of {len(entries)} entries are wrong ({counted})"
        )
        lines = problems[:SHOWN]
        if len(problems) > SHOWN:
            lines.append(f"and {len(problems) - SHOWN} more")
        text = "\n  ".join([f"{text}.", *lines])
        if not skip:
            raise ValueError(f"{text}\nPass skip=True to leave them out.")
        logger.warning("%s", text)
    if not seen:
        raise ValueError(f"{source} names no video that is there.")
    labels = tuple(label for label, _ in seen.values()) if labelled else ()
    return Videos(tuple(seen), labels, classes, tuple(problems))


def _classes(entries):
    """The classes that entries name: sorted, or as many as the highest index says."""
    labels = {entry.label for entry in entries if entry.label is not None}
    if labels and all(str(label).isdecimal() for label in labels):
        return map(str, range(max(map(int, labels)) + 1))
    return sorted(labels)


def _index(label, index):
    """The number of a class, which is given by its name or its number."""
    if label in index or not str(label).isdecimal():
        return index.get(label)
    return int(label) if int(label) < len(index) else None


def _find(root, names, listings):
    """The first of several names that is there, with or without its suffix."""
    for name in names:
        folder, base = posixpath.split(files.join(root, name))
        if folder not in listings:
            there = files.listing(folder)
            stems = {
                posixpath.splitext(n)[0]: n for n in sorted(there) if files.is_video(n)
            }
            listings[folder] = {**stems, **{n: n for n in there}}
        if base in listings[folder]:
            return files.join(folder, listings[folder][base])
    return None


def _is_folder(path):
    if files.remote(path):
        return bool(files.listing(path))
    return os.path.isdir(path)


def _folder_entries(root):
    """The videos in the folders of a folder, or in itself."""
    there = {n: d for n, d in sorted(files.listing(root).items()) if n[0] != "."}
    direct = [name for name in there if files.is_video(name)]
    folders = {
        name: {n: d for n, d in sorted(files.listing(files.join(root, name)).items())}
        for name, is_folder in there.items()
        if is_folder
    }
    images = [
        name for name, inside in folders.items() if any(map(files.is_image, inside))
    ]
    if direct or images:
        return [Entry(root, (name,), None) for name in sorted([*direct, *images])]
    entries, ignored = [], [name for name, is_folder in there.items() if not is_folder]
    for name, inside in folders.items():
        found = [n for n, is_folder in inside.items() if is_folder or files.is_video(n)]
        where = files.join(root, name)
        entries += [Entry(where, (f"{name}/{n}",), name) for n in found if n[0] != "."]
        ignored += [f"{name}/{n}" for n in inside if n not in found]
        if not found:
            entries.append(Entry(where, (), None, problem="no video is in this folder"))
    if ignored := [name for name in ignored if posixpath.basename(name)[0] != "."]:
        shown = ", ".join(ignored[:SHOWN]) + (", ..." if len(ignored) > SHOWN else "")
        logger.warning("%s: %d files are no videos: %s", root, len(ignored), shown)
    return entries
