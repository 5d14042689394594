"""Files and folders, on this machine or at a URL that fsspec knows."""

import os
import posixpath

VIDEOS = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def remote(path):
    """Whether a path is a URL: `s3://`, `gs://`, `hf://datasets/...`, `memory://`."""
    return "://" in path


def is_video(name):
    return name.lower().endswith(VIDEOS)


def is_image(name):
    return name.lower().endswith(IMAGES)


def join(folder, name):
    """A name within a folder, unless it is absolute or a URL."""
    return name if remote(name) else posixpath.join(folder, name)


def listing(folder):
    """Dict from the names in a folder to whether they are folders; or empty."""
    if not remote(folder):
        try:
            with os.scandir(folder or ".") as entries:
                return {entry.name: entry.is_dir() for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}
    import fsspec

    system, path = fsspec.url_to_fs(folder)
    try:
        entries = system.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    names = {posixpath.basename(e["name"]): e["type"] == "directory" for e in entries}
    return names if system.isdir(path) else {}


def open_text(path):
    """Opens a text file of UTF-8, with or without a mark at its beginning."""
    if not remote(path):
        return open(path, encoding="utf-8-sig", newline="")
    import fsspec

    return fsspec.open(path, "r", encoding="utf-8-sig", newline="").open()


def open_bytes(path):
    """Opens a file for reading bytes."""
    if not remote(path):
        return open(path, "rb")
    import fsspec

    return fsspec.open(path, "rb").open()
