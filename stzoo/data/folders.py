"""Finds videos in folders: class folders, and folders of frames."""

import logging
import os

from stzoo.data import files
from stzoo.data.tables import Entry

logger = logging.getLogger("stzoo")
SHOWN = 10  # names that a message lists


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


def is_folder(path):
    """Returns whether a local path is a folder, or a URL is a folder with content."""
    if files.is_url(path):
        return bool(files.listing(path))
    return os.path.isdir(path)


def folder_entries(root):
    """Lists the videos in a folder, or in its class folders."""
    direct, folders, others = _contents(root)
    inside = {name: _contents(files.join(root, name)) for name in folders}
    classes = [name for name, (videos, below, _) in inside.items() if videos or below]
    frames = [name for name in inside if _are_frames(inside[name])]
    if direct and classes:
        raise ValueError(
            f"{root} has videos ({shown(direct)}) next to folders of videos "
            f"({shown(classes)}). Pass a folder with a folder of videos for each "
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
                f"the folder {folder} has {shown(below[0] or below[1])}. The folder "
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
        logger.warning("%s: %d files are not videos: %s", root, number, shown(names))


def shown(names):
    """Joins the first names of a list for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
