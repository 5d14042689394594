"""Reads videos and their labels from folders, lists, and published data sets."""

import logging
import os
import posixpath
import unicodedata
from collections import Counter
from dataclasses import dataclass

from stzoo.data import annotations, files
from stzoo.data.annotations import Entry

logger = logging.getLogger("stzoo")
INDEXED = ("list", "rawframes", "diving48")  # formats in which a label can be an index
SHOWN = 10  # problems that an error or a log message lists


@dataclass(frozen=True)
class Videos:
    """Videos and their labels.

    Args:
        paths: tuple of strings, files or folders of frames, local or URLs.
        labels: tuple of ints, the class index of each video, or empty if unknown.
        classes: tuple of strings, the names of the classes.
        skipped: tuple of strings, the skipped entries, with file and line.
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
              v1 and v2, Jester, Diving48. If there is a file of classes next to the
              list, it determines their order.
        root: path or URL of the folder with the videos. Defaults to the folder of the
            list.
        format: string, one of `"list"`, `"rawframes"` (of mmaction2), `"kinetics"`,
            `"moments_in_time"`, `"ucf101"`, `"hmdb51"`, `"something_v1"`,
            `"something_v2"`, `"jester"`, `"diving48"`. By default, the format is
            detected.
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
        classes = annotations.read_classes(os.fspath(classes))
    if _is_folder(source):
        root, entries, known, format = source, _folder_entries(source), None, "folder"
    else:
        format, (entries, known) = _list_entries(source, format, label, split)
        root = files.split(source)[0] if root is None else os.fspath(root)
        if root and not _is_folder(root):
            raise FileNotFoundError(f"There is no folder {root}. Check `root`.")
    entries = [
        entry._replace(label=entry.label and _composed(entry.label))
        for entry in entries
        if entry.problem or split in (None, entry.split)
    ]
    classes = classes or known or _classes(entries)
    numbers, meaning = _numbers(entries, classes, format)
    videos = _checked(source, root, entries, tuple(classes), numbers, skip)
    logger.info("%s: %s", source, _summary(videos, meaning))
    return videos


def _list_entries(source, format, label, split):
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
    return format, reader(source) if label is None else reader(source, label)


def videos_within(folder):
    """Lists the videos in a folder and its subfolders, sorted by name.

    A folder with images but no videos is one video. Hidden files are ignored.

    Args:
        folder: path of a local folder.

    Returns:
        List of paths.
    """
    found = []
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos = [n for n in sorted(names) if files.is_video(n) and n[0] != "."]
        found += [os.path.join(path, name) for name in videos]
        if not (videos or folders) and is_folder_of_frames(path):
            found.append(path)
    return found


def is_folder_of_frames(path):
    """Returns whether a folder is one video: it has images, no videos, no folders."""
    return _are_frames(_contents(path))


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
        path, identity = _find(root, entry.names, listings)
        label = numbers.get(entry.label)
        if path is None:
            report("missing", entry, f"there is no video {entry.names[0]} in {root}")
        elif identity in seen:
            where = seen[identity][2]
            report("duplicate", entry, f"{path} is already listed in {where}")
        elif labelled and entry.label is None:
            report("unlabelled", entry, f"{path} has no class")
        elif labelled and label is None:
            text = f"{entry.label!r} is not one of the {len(classes)} classes"
            report("of another class", entry, f"{text}: {_shown(list(numbers))}")
        elif entry.frames not in (None, images := _images(path, entry.frames)):
            text = f"{path} has {images} images, but the list says {entry.frames}"
            report("of another length", entry, text)
        else:
            seen[identity] = path, label, entry.where
    _tell(source, len(entries), problems, counts, skip)
    if not seen:
        raise ValueError(f"{source} has no videos that exist.")
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
    folders = sum(not files.is_video(path) for path in videos.paths)
    text = f"{len(videos)} videos"
    if folders:
        text += f" ({folders} of them folders of frames)"
    if not videos.labels:
        return f"{text} without labels."
    empty = len(videos.classes) - len(set(videos.labels))
    text += f" of {len(videos.classes)} classes"
    return f"{text}{f' ({empty} of them without a video)' * bool(empty)}. {meaning}"


def _composed(name):
    """Normalises a name to NFC, since macOS writes some letters as two code points."""
    return unicodedata.normalize("NFC", name)


def _classes(entries):
    """Returns the classes of entries, sorted by number or alphabetically."""
    labels = {entry.label for entry in entries if entry.label is not None}
    if all(map(_is_number, labels)):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _is_number(label):
    return label.isdecimal() and len(label) < 20  # Python refuses long numbers


def _numbers(entries, classes, format):
    """Returns a dict from labels in a list to indices, and a description of them."""
    labels = {entry.label for entry in entries if entry.label is not None}
    index = {_composed(name): number for number, name in enumerate(classes)}
    if format == "folder":
        return index, "Each folder is a class."
    numeric = set(filter(_is_number, labels))
    if format not in INDEXED or not numeric:
        return index, "The labels are names."
    if numeric == labels and not any(map(_is_number, index)):
        first = min(classes.values()) if isinstance(classes, dict) else 0
        index = {str(first + number): number for number in range(len(index))}
        plain = {label: str(int(label)) for label in labels}  # "07" is 7
        index |= {one: index[other] for one, other in plain.items() if other in index}
        return index, f"The labels are the indices of the classes, from {first}."
    if list(index) == [str(number) for number in range(len(index))]:
        return index, f"The labels are the numbers 0 to {len(index) - 1}."
    return index, (
        "The labels are names, although there are numbers among them: they are not "
        "consecutive numbers from 0."
    )


def _shown(names):
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _find(root, names, listings):
    """Finds the first of several names that exists, with or without its suffix.

    Returns:
        Tuple of the path, and of a key that is the same for all paths of one video.
        Both are `None` if no name exists.
    """
    for spelling in (spelling for name in names for spelling in _spellings(name)):
        folder, base = files.split(files.join(root, spelling))
        if folder not in listings:
            there = files.listing(folder)
            stems = {
                posixpath.splitext(n)[0]: n for n in sorted(there) if files.is_video(n)
            }
            real = folder if files.is_url(folder) else os.path.realpath(folder)
            listings[folder] = real, {**stems, **{n: n for n in there}}
        real, there = listings[folder]
        if base in there:
            return files.join(folder, there[base]), (real, there[base])
    return None, None


def _spellings(name):
    """Yields a name from a list, and alternative spellings of it."""
    name = name.rstrip("/")
    yield name
    if files.is_url(name):
        return
    clean = name.replace("\\", "/")  # Windows
    clean = posixpath.normpath(clean) if clean else clean  # a URL has no "./"
    for spelling in (clean, _composed(clean), unicodedata.normalize("NFD", clean)):
        if spelling != name:
            yield spelling


def _images(path, wanted):
    """Returns the number of images in a folder, if `wanted`."""
    return None if wanted is None else sum(map(files.is_image, files.listing(path)))


def _is_folder(path):
    if files.is_url(path):
        return bool(files.listing(path))
    return os.path.isdir(path)


def _folder_entries(root):
    """Lists the videos in a folder, or in its class folders."""
    direct, folders, others = _contents(root)
    inside = {name: _contents(files.join(root, name)) for name in folders}
    classes = [name for name, (videos, below, _) in inside.items() if videos or below]
    frames = [name for name in inside if _are_frames(inside[name])]
    if direct and classes:
        raise ValueError(
            f"{root} has videos ({_shown(direct)}) next to folders of videos "
            f"({_shown(classes)}). Pass a folder with a folder of videos for each "
            "class, or with videos only."
        )
    if is_folder_of_frames(root):
        raise ValueError(
            f"{root} has only images, so it is one video, as a folder of frames. Pass "
            "its parent folder."
        )
    if direct or frames and not classes:
        empty = [name for name in folders if name not in frames]
        entries = [Entry(root, (name,), None) for name in sorted([*direct, *frames])]
        _tell_ignored(root, [*others, *empty])
        return entries
    entries = []
    for name, contents in inside.items():
        entries += _class_entries(root, name, contents, others)
    _tell_ignored(root, others)
    return entries


def _class_entries(root, name, contents, ignored):
    """Lists the videos in the folder of a class, and adds to the ignored names."""
    videos, folders, others = contents
    where = files.join(root, name)
    if not videos and not folders:
        problem = "this folder has no videos"
        if _are_frames(contents):
            problem += (
                ", only images. Frames of a video need a folder within the class folder"
            )
        return [Entry(where, (), None, problem=problem)]
    entries = [Entry(where, (f"{name}/{video}",), name) for video in videos]
    ignored += [f"{name}/{other}" for other in others]
    for folder in folders:
        below = _contents(files.join(where, folder))
        if _are_frames(below):
            entries.append(Entry(where, (f"{name}/{folder}",), name))
            continue
        problem = f"the folder {folder} has no frames"
        if below[0] or below[1]:
            problem = (
                f"the folder {folder} has {_shown(below[0] or below[1])}. The folder "
                "of a class can have videos and folders of frames, but no folders of "
                f"videos. If its folders are the classes, pass {where}"
            )
        entries.append(Entry(where, (), None, problem=problem))
    return sorted(entries, key=lambda entry: entry.names)


def _contents(folder):
    """Lists the videos, folders and other files of a folder that are not hidden."""
    there = {n: d for n, d in sorted(files.listing(folder).items()) if n[0] != "."}
    folders = [name for name, is_folder in there.items() if is_folder]
    videos = [n for n in there if n not in folders and files.is_video(n)]
    return videos, folders, [n for n in there if n not in folders and n not in videos]


def _are_frames(contents):
    videos, folders, others = contents
    return not videos and not folders and any(map(files.is_image, others))


def _tell_ignored(root, names):
    if names:
        number = len(names)
        logger.warning("%s: %d files are not videos: %s", root, number, _shown(names))
