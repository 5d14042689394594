"""Downloads, verifies, converts and caches weights that others publish at a URL.

The address is one of

* `https://.../name-2692d16c.pth`: a PyTorch checkpoint with the first digits of its
  sha256 in its name, like the downloads of PyTorch;
* `https://.../name.zip#sha1=...`: a zip with one `.params` file of MXNet, and the hash
  of that file;
* one of them with mirrors after a space, which are tried in order if the first URL
  fails. A mirror on the Hub is `hf://organisation/repository/name-2692d16c.pth`.

The weights become a safetensors file with the same names in the assets cache of
huggingface_hub (`HF_HOME`, `HF_ASSETS_CACHE`). The name of the file is its sha256. A
damaged file is downloaded again.
"""

import hashlib
import os
import re
import zipfile
import zlib
from reprlib import repr as shortened

from stzoo import writer

EXPANSION = 10  # limit for the compression of a zip; floats hardly compress


def is_url(where):
    """Returns whether this is a URL of weights."""
    return str(where).startswith(("https://", "http://"))


def fetch(where, progress=None):
    """Downloads and converts weights, unless they are in the cache.

    Args:
        where: string, the address, see the module.
        progress: class, the `tqdm` for the download.

    Returns:
        `pathlib.Path` of a safetensors file.

    Raises:
        FileNotFoundError: the file does not exist any more.
        ConnectionError: the download failed. The next call continues it.
        ValueError: the file is damaged or invalid. It is removed.
    """
    from huggingface_hub.utils import WeakFileLock

    folder = _folder(where)
    if weights := _whole(folder):
        return weights
    with WeakFileLock(folder / "lock"):
        if weights := _whole(folder):
            return weights
        archive = folder / "archive"
        if not archive.is_file():  # an earlier process may have been killed
            _download(where, archive, progress)
        try:
            data = _converted(where, archive)
        except ValueError:
            _clean(folder)
            raise
        name = f"{hashlib.sha256(data).hexdigest()}.safetensors"
        writer.write(folder, {name: data})
        _clean(folder, name)
    return folder / name


def _clean(folder, kept=None):
    """Removes downloads and damaged weights."""
    for path in folder.iterdir():
        if path.suffix in (".part", ".safetensors") or path.name == "archive":
            if path.name != kept:
                path.unlink()


def unpack(path):
    """Returns the only `.params` file in a zip, as bytes.

    Raises:
        ValueError: there is none or several, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [f for f in archive.infolist() if f.filename.endswith(".params")]
            if len(files) != 1:
                names = shortened([file.filename for file in files])
                raise ValueError(f"it must have one .params file, but has {names}")
            size, compressed = files[0].file_size, os.path.getsize(path)
            if size > EXPANSION * compressed:
                raise ValueError(f"its {compressed} bytes would expand to {size} bytes")
            return archive.read(files[0])
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"it is not a zip, or it is damaged ({error})") from None


def _folder(where):
    from huggingface_hub import cached_assets_path

    return cached_assets_path("stzoo", "archives", _hash(where)[1])


def _whole(folder):
    """Returns the undamaged weights in a folder of the cache, or `None`."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == path.stem:
                return path
    return None


def _hash(where):
    """Returns the kind of hash in an address, and its digits or its first digits.

    Raises:
        ValueError: the address has no hash.
    """
    url, _, fragment = where.partition("#sha1=")
    if fragment:
        return "sha1", fragment
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", url.split()[0])
    if not digits:
        raise ValueError(
            f"{where} cannot be verified, since its name does not end in the first "
            "digits of its sha256. If you trust the file, download it and convert it."
        )
    return "sha256", digits[1]


def _download(where, archive, progress):
    """Downloads the archive from the first of its URLs that works."""
    errors = []
    for number, url in enumerate(where.partition("#")[0].split()):
        try:
            part = archive.with_name(f"{number}.part")
            return _get(url, part, progress).replace(archive)
        except (ConnectionError, FileNotFoundError) as error:
            errors.append(error)
    raise type(errors[0])(" ".join(map(str, errors)))


def _get(url, part, progress):
    """Downloads a file, or the rest of it after an interrupted download."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get

    if url.startswith("hf://"):
        organisation, repository, name = url.removeprefix("hf://").split("/", 2)
        url = hf_hub_url(f"{organisation}/{repository}", name)
    try:
        with part.open("ab") as file:
            http_get(url, file, resume_size=file.tell(), tqdm_class=progress)
    except Exception as error:  # the HTTP client of huggingface_hub can change
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            part.unlink()
        if status in (401, 403, 404, 410):
            raise FileNotFoundError(
                f"{url} is not available (HTTP {status})."
            ) from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConnectionError(
            f"The download of {url} failed. Try again to continue it. "
            f"({reason.rstrip('.')}.)"
        ) from None
    return part


def _converted(where, archive):
    """Verifies the hash of an archive. Returns its weights as a safetensors file."""
    from safetensors.numpy import save

    from stzoo.weights.formats import mxnet, pytorch  # exports need neither

    kind, expected = _hash(where)
    try:
        data = unpack(archive) if kind == "sha1" else archive.read_bytes()
        found = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
        if not found.startswith(expected):
            raise ValueError(f"its {kind} is {found}, but must be {expected}")
        tensors = mxnet.read(data) if kind == "sha1" else pytorch.read(data)
    except ValueError as error:
        url = where.partition("#")[0]
        raise ValueError(f"{url}: {error}. The download was removed.") from None
    return save(tensors)
