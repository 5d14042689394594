"""Local files and folders, and those at URLs that fsspec supports."""

import contextlib
import os
import posixpath
import re

VIDEOS = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def is_url(path):
    """Returns whether a path is a URL: `s3://`, `hf://datasets/...`, `memory://`."""
    return "://" in path


def is_video(name):
    return _parts(name)[1].lower().endswith(VIDEOS)


def is_image(name):
    return _parts(name)[1].lower().endswith(IMAGES)


def join(folder, name):
    """Joins a folder and a name, unless the name is absolute or a URL."""
    if is_url(name):
        return name
    before, path, after = _parts(folder)
    return f"{before}{posixpath.join(path, name)}{after}"


def split(path):
    """Splits a path into its folder and its name."""
    before, path, after = _parts(path)
    folder, name = posixpath.split(path)
    return f"{before}{folder}{after}", name


def _parts(path):
    """Splits a URL into the parts before the path, the path, and after the path.

    URLs can be chained (`zip://run/a.mp4::s3://bucket/videos.zip`). The path is that of
    the first link that has one.
    """
    before, mark, path = path.partition("://")
    if not mark:
        return "", before, ""
    path, mark, after = path.partition("::")
    return f"{before}://", path, f"{mark}{after}"


def listing(folder):
    """Returns a dict from the names in a folder to whether they are folders."""
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
    """Returns a text that can be written as UTF-8.

    A byte of a file name that is not UTF-8, such as 0xE9, is `"\\udce9"` in Python. It
    becomes these six characters, which JSON parses to the same string.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def without_secrets(url):
    """Returns a URL for messages, without the user, the password and values of keys.

    `"rtsp://bob:1234@camera/live?key=5"` becomes `"rtsp://***@camera/live?key=***"`.
    """
    scheme, mark, rest = url.partition("://")
    place, ask, query = rest.partition("?")
    host, slash, path = place.partition("/")
    user, at, host = host.rpartition("@")
    query = re.sub("=[^&]*", "=***", query)
    return f"{scheme}{mark}{'***@' if at else ''}{host}{slash}{path}{ask}{query}"


@contextlib.contextmanager
def _library_named(path):
    """Says what to install where fsspec lacks the library of a URL."""
    try:
        yield
    except ImportError as error:
        is_http = path.startswith(("http://", "https://"))
        advice = ' Install it: `pip install "stzoo[http]"`.' if is_http else ""
        name = without_secrets(path)
        raise ImportError(f"{name} cannot be opened: {error}.{advice}") from None


def open_text(path):
    """Opens a UTF-8 text file, with or without a byte-order mark.

    Other bytes, in names of files, are decoded like `os.fsdecode` does.

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
        A file, for a `with` block. For a chained URL, it also keeps the archive open.
    """
    if not is_url(path):
        return open(path, "rb")
    import fsspec

    with _library_named(path):
        return fsspec.open(path, "rb", compression="infer")
