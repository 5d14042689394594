"""Atomic writes of several files to a folder.

New files are written to `.writing`, which is renamed to `.written` once all of it is on
the disk. Then each file moves to its place. So a killed process leaves either all old
files or all new ones, and the next writer cleans up. Only the holder of the lock
writes, and the system frees the lock of a dead process.
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
PATIENCE = 600  # seconds to wait for another writer


def write(folder, files):
    """Writes either all files into a folder, or none.

    Args:
        folder: path. It is created if it does not exist.
        files: dict from name to bytes. A name may be in a folder: `"a/b"`.

    Raises:
        OSError: the files cannot be written. The old files remain.
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
                (new / name).parent.mkdir(parents=True, exist_ok=True)
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
    """Reads a file as the last complete `write` left it.

    It needs no permission to write. Files can change between two calls.

    Args:
        folder: path.
        name: string.

    Returns:
        Bytes.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    with contextlib.suppress(FileNotFoundError):
        return (Path(folder) / WHOLE / name).read_bytes()
    return (Path(folder) / name).read_bytes()


def recover(folder):
    """Finishes a complete write of a killed process, if the folder is writable.

    Args:
        folder: path.
    """
    folder = Path(folder)
    if (folder / WHOLE).is_dir():
        with contextlib.suppress(OSError), _locked(folder, 0.1):
            _put_in_place(folder)


def _put_in_place(folder):
    """Moves complete files to their place, and removes incomplete ones."""
    shutil.rmtree(folder / NEW, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        paths = sorted((folder / WHOLE).rglob("*"))
        for path in paths:
            target = folder / path.relative_to(folder / WHOLE)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                os.replace(path, target)
        for path in reversed([path for path in paths if path.is_dir()]):
            path.rmdir()
        (folder / WHOLE).rmdir()


@contextlib.contextmanager
def _locked(folder, patience):
    """Holds the lock of a folder. The lock file exists while the lock is held."""
    from huggingface_hub.utils import WeakFileLock

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(folder / LOCK, timeout=patience))
        except TimeoutError:
            raise TimeoutError(
                f"Another process is writing to {folder}. Wait for it, or stop it."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            logger.warning(
                "%s cannot be locked (%s). Only one process at a time may write there.",
                *(folder, error.strerror),
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows cannot remove an open file
                (folder / LOCK).unlink()
