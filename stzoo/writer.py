"""Files that are written whole: all of a folder's new files, or none of them.

One rename decides. New files are written to `.writing`, which is renamed to `.written`
once all of it is on the disk, and each file then moves to its place. So a process that
is killed leaves the old files, or the new ones; the next writer puts away what it left.
Only the holder of the lock writes, and the system frees the lock of a dead process.
"""

import contextlib
import errno
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger("stzoo")
LOCK = ".writing.lock"
NEW = ".writing"
WHOLE = ".written"
PATIENCE = 600  # seconds that a writer waits for another one


def write(folder, files):
    """Writes files into a folder: all of them, or none.

    Args:
        folder: path; made if it is not there.
        files: dict from name to bytes.

    Raises:
        OSError: they cannot be written; what was there stays.
        TimeoutError: another process has been writing there for ten minutes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, PATIENCE):
        _put_in_place(folder)
        new = folder / NEW
        try:
            new.mkdir()
            for name, data in files.items():
                with open(new / name, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            new.rename(folder / WHOLE)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        _put_in_place(folder)


def read(folder, name):
    """The bytes of a file, as the last writer that was not killed too early wrote it.

    Needs no permission to write. Two files of one `write` may change between two calls.

    Args:
        folder: path.
        name: string.

    Raises:
        FileNotFoundError: it is not there.
    """
    with contextlib.suppress(FileNotFoundError):
        return (Path(folder) / WHOLE / name).read_bytes()
    return (Path(folder) / name).read_bytes()


def recover(folder):
    """Puts files in their place that a killed writer left whole, where that is allowed.

    Args:
        folder: path.
    """
    folder = Path(folder)
    if (folder / WHOLE).is_dir():
        with contextlib.suppress(OSError), _locked(folder, 0.1):
            _put_in_place(folder)


def _put_in_place(folder):
    """Finishes what a writer began, and removes what it had not finished writing."""
    shutil.rmtree(folder / NEW, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        for path in sorted((folder / WHOLE).iterdir()):
            os.replace(path, folder / path.name)
        (folder / WHOLE).rmdir()


@contextlib.contextmanager
def _locked(folder, patience):
    """Holds the lock of a folder; its file is there as long as somebody holds it."""
    from huggingface_hub.utils import WeakFileLock

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(folder / LOCK, timeout=patience))
        except TimeoutError:
            raise TimeoutError(
                f"Another process is writing to {folder}. Wait for it, or end it."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            logger.warning(
                "%s cannot be locked (%s): let one process at a time write there.",
                *(folder, error.strerror),
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes it when it is closed
                (folder / LOCK).unlink()
