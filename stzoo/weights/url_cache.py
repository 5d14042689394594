"""Weights that others publish at a URL: fetched, checked, converted once, kept.

An address is one of

* `https://.../name-2692d16c.pth`: a checkpoint of PyTorch, with the first digits of its
  sha256 in its name, as PyTorch's own downloads have it;
* `https://.../name.zip#sha1=...`: a zip with one `.params` file of MXNet, and the hash
  of that file;
* either with mirrors after a space, which are asked in turn when the first one fails;
  of a mirror on the Hub, `hf://organisation/repository/name-2692d16c.pth`.

It becomes a `model.safetensors` with the same names among the assets that
huggingface_hub caches (`HF_HOME`, `HF_ASSETS_CACHE`).
"""

import hashlib
import os
import re
import zipfile
import zlib
from pathlib import Path

from stzoo.weights.formats import mxnet, pytorch

LIMIT = 2**30  # bytes of a file in a zip; the largest known has a fifth of that


def remote(where):
    """Whether this is the address of an archive."""
    return str(where).startswith(("https://", "http://"))


def fetch(where, progress=None):
    """The weights of an archive, from the cache if they are there.

    Args:
        where: string, see the module.
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
            archive = _download(where, weights.with_name("archive"), progress)
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

    return (
        cached_assets_path("stzoo", "archives", _hash(where)[1]) / "model.safetensors"
    )


def _hash(where):
    """The name of the hash that an address gives, and its digits or the first of them.

    Raises:
        ValueError: it gives none.
    """
    url, _, fragment = where.partition("#sha1=")
    if fragment:
        return "sha1", fragment
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", url.split()[0])
    if not digits:
        raise ValueError(
            f"{where} cannot be checked: its name does not end in the first digits of "
            "its sha256. Download it, and convert the file if you trust it."
        )
    return "sha256", digits[1]


def _download(where, archive, progress):
    """The archive, whole, from the first of its addresses that has it."""
    errors = []
    for number, url in enumerate(where.partition("#")[0].split()):
        try:
            part = archive.with_name(f"{number}.part")
            return _get(url, part, progress).replace(archive)
        except (ConnectionError, FileNotFoundError) as error:
            errors.append(error)
    raise type(errors[0])(" ".join(map(str, errors)))


def _get(url, part, progress):
    """A file, whole; an earlier call may have left a part of it."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get

    if url.startswith("hf://"):
        organisation, repository, name = url.removeprefix("hf://").split("/", 2)
        url = hf_hub_url(f"{organisation}/{repository}", name)
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
    return part


def _convert(where, archive, weights):
    """Writes the weights, once the hash of the file is right."""
    from safetensors.numpy import save

    kind, expected = _hash(where)
    try:
        data = unpack(archive) if kind == "sha1" else archive.read_bytes()
        found = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
        if not found.startswith(expected):
            raise ValueError(f"its {kind} is {found}, but should be {expected}")
        tensors = mxnet.read(data) if kind == "sha1" else pytorch.read(data)
    except ValueError as error:
        url = where.partition("#")[0]
        raise ValueError(f"{url}: {error}. Nothing of it was kept.") from None
    part = Path(f"{weights}.part")
    part.write_bytes(save(tensors))
    os.replace(part, weights)
