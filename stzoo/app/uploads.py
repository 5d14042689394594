"""The files of the page of `stzoo app`, which are deleted.

An upload is deleted when another one replaces it, when its page is closed, and at the
latest after `KEPT` seconds.
"""

import threading
import time
from contextlib import suppress
from pathlib import Path

KEPT = 3600  # seconds that files are kept, which is longer than a queue


class Uploads:
    """The uploads of the pages, which are files in one folder.

    An upload is deleted when another one replaces it. Two pages have the same file if
    they uploaded the same video.
    """

    def __init__(self, folder):
        self._folder, self._lock, self._paths = folder, threading.Lock(), {}

    def hold(self, page, path):
        """Keeps the upload of a page, or none, and deletes the one before it."""
        if path:
            self.check(path)
        with self._lock:
            before = self._paths.pop(page, None)
            if path:
                self._paths[page] = path
            if before and before not in self._paths.values():
                Path(before).unlink(missing_ok=True)

    def check(self, path):
        """Raises a `ValueError` if a path is no upload."""
        if not path:
            raise ValueError("There is no video. Drop one first.")
        file = Path(path).resolve()
        if not (file.is_relative_to(Path(self._folder).resolve()) and file.is_file()):
            raise ValueError(f"{file.name} is not on the server. Drop it again.")


def delete_old(folder, seconds):
    """Deletes the files in a folder that are older than a number of seconds."""
    for path in Path(folder).rglob("*"):
        with suppress(OSError):  # it is gone, or a folder with files
            if time.time() - path.lstat().st_ctime > seconds:
                path.rmdir() if path.is_dir() else path.unlink()


def clean(folder):
    """Deletes old files, until the folder is gone."""
    while Path(folder).exists():
        time.sleep(KEPT / 20)
        delete_old(folder, KEPT)
