"""Finds the file of a video that a list names, in any of the spellings it may have."""

import os
import posixpath
import unicodedata

from stzoo.data import files


def find(root, names, listings):
    """Finds the first of several names that exists, with or without its suffix.

    Args:
        root: string, the folder of the list's names.
        names: sequence of strings, alternative paths of one video.
        listings: dict, the folders that were listed before. New ones are added.

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
    for spelling in (clean, composed(clean), unicodedata.normalize("NFD", clean)):
        if spelling != name:
            yield spelling


def composed(name):
    """Normalises a name to NFC, since macOS writes some letters as two code points."""
    return unicodedata.normalize("NFC", name)
