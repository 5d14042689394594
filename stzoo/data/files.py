"""Files and folders, on this machine or at a URL that fsspec knows."""

import contextlib
import os
import posixpath

VIDEOS = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def is_url(path):
    """Whether a path is a URL of fsspec: `s3://`, `hf://datasets/...`, `memory://`."""
    return "://" in path


def is_video(name):
    return _parts(name)[1].lower().endswith(VIDEOS)


def is_image(name):
    return _parts(name)[1].lower().endswith(IMAGES)


def join(folder, name):
    """A name within a folder, unless it is absolute or a URL."""
    if is_url(name):
        return name
    before, path, after = _parts(folder)
    return f"{before}{posixpath.join(path, name)}{after}"


def split(path):
    """The folder of a path, and the name within it."""
    before, path, after = _parts(path)
    folder, name = posixpath.split(path)
    return f"{before}{folder}{after}", name


def _parts(path):
    """What stands before a path, the path, and what stands after it.

    URLs may be chained (`zip://run/a.mp4::s3://bucket/videos.zip`): the path is that of
    the first link which has one.
    """
    before, mark, path = path.partition("://")
    if not mark:
        return "", before, ""
    path, mark, after = path.partition("::")
    return f"{before}://", path, f"{mark}{after}"


def listing(folder):
    """Dict from the names in a folder to whether they are folders; or empty."""
    if not is_url(folder):
        try:
            with os.scandir(folder or ".") as entries:
                return {entry.name: entry.is_dir() for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}
    import fsspec

    with _library_named(folder):
        system, path = fsspec.url_to_fs(folder)
    try:
        entries = system.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    names = {posixpath.basename(e["name"]): e["type"] == "directory" for e in entries}
    return names if system.isdir(path) else {}


def printable(text):
    """A text that can be written as UTF-8.

    A byte of a file name that is not UTF-8, such as 0xE9, is `"\\udce9"` in Python. It
    becomes these six characters, which JSON reads as what it was.
    """
    return text.encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def _library_named(path):
    """Says what to install where fsspec lacks the library of a URL."""
    try:
        yield
    except ImportError as error:
        is_http = path.startswith(("http://", "https://"))
        advice = ' Install it: `pip install "stzoo[http]"`.' if is_http else ""
        raise ImportError(f"{path} cannot be opened: {error}.{advice}") from None


def open_text(path):
    """Opens a text file of UTF-8, with or without a mark at its beginning.

    Names of files may have other bytes: they become what `os.fsdecode` makes of them.

    Returns:
        A file, for a `with` block.
    """
    how = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    if not is_url(path):
        return open(path, **how)
    import fsspec

    with _library_named(path):
        return fsspec.open(path, "r", compression="infer", **how)


def open_bytes(path):
    """Opens a file for reading bytes.

    Returns:
        A file, for a `with` block. Of a chained URL, that also holds the archive.
    """
    if not is_url(path):
        return open(path, "rb")
    import fsspec

    with _library_named(path):
        return fsspec.open(path, "rb", compression="infer")
