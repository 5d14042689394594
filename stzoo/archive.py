"""Weights that others publish at a URL: fetched, checked, converted once, kept.

An address is `https://.../name.zip#sha1=...`: a zip with one `.params` file of MXNet
and the hash of that file. It becomes a `model.safetensors` with the same names among
the assets that huggingface_hub caches (`HF_HOME`, `HF_ASSETS_CACHE`).
"""

import hashlib
import os
import zipfile
import zlib
from pathlib import Path

from stzoo.formats import mxnet

LIMIT = 2**30  # bytes of a file in a zip; the largest known has a fifth of that


def remote(where):
    """Whether this is the address of an archive."""
    return str(where).startswith(("https://", "http://"))


def fetch(where, progress=None):
    """The weights of an archive, from the cache if they are there.

    Args:
        where: string, `https://.../name.zip#sha1=...`.
        progress: class, a `tqdm` for the download.

    Returns:
        `pathlib.Path` of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file any more.
        ConnectionError: it did not arrive; what has arrived is kept.
        ValueError: it arrived, and is wrong; nothing is kept.
    """
    from huggingface_hub.utils import WeakFileLock

    weights = _cached(where)
    with WeakFileLock(weights.with_name("lock")):
        if not weights.is_file():
            archive = _download(where, weights.with_name("archive.part"), progress)
            try:
                _convert(where, archive, weights)
            finally:
                archive.unlink()
    return weights


def discard(where):
    """Removes the weights of an archive from the cache."""
    _cached(where).unlink(missing_ok=True)


def unpack(path):
    """The one `.params` file in a zip, as bytes.

    Raises:
        ValueError: there is none, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [f for f in archive.infolist() if f.filename.endswith(".params")]
            if len(files) != 1 or files[0].file_size > LIMIT:
                sizes = {file.filename: file.file_size for file in files}
                raise ValueError(f"it should have one .params file, but has {sizes}")
            return archive.read(files[0])
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"it is no whole zip ({error})") from None


def _cached(where):
    from huggingface_hub import cached_assets_path

    sha1 = where.partition("#sha1=")[2]
    return cached_assets_path("stzoo", "archives", sha1) / "model.safetensors"


def _download(where, part, progress):
    """The archive, whole; an earlier call may have left a part of it."""
    from huggingface_hub.file_download import http_get

    url = where.partition("#")[0]
    try:
        with part.open("ab") as file:
            http_get(url, file, resume_size=file.tell(), tqdm_class=progress)
    except Exception as error:  # an HTTP client's; which one is not our contract
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            part.unlink()
        if status in (401, 403, 404, 410):
            raise FileNotFoundError(f"{url} is not there (HTTP {status}).") from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConnectionError(
            f"{url} did not arrive whole: try again, and the download goes on where it "
            f"stopped. ({reason.rstrip('.')}.)"
        ) from None
    return part.replace(part.with_suffix(".zip"))


def _convert(where, archive, weights):
    """Writes the weights, once the hash of the file is right."""
    from safetensors.numpy import save

    url, _, expected = where.partition("#sha1=")
    try:
        data = unpack(archive)
        found = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if found != expected:
            raise ValueError(f"its sha1 is {found}, but should be {expected}")
        tensors = mxnet.read(data)
    except ValueError as error:
        raise ValueError(f"{url}: {error}. Nothing of it was kept.") from None
    part = Path(f"{weights}.part")
    part.write_bytes(save(tensors))
    os.replace(part, weights)
