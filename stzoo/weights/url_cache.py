"""Weights that others publish at a URL: fetched, checked, converted once, kept.

An address is one of

* `https://.../name-2692d16c.pth`: a checkpoint of PyTorch, with the first digits of its
  sha256 in its name, as PyTorch's own downloads have it;
* `https://.../name.zip#sha1=...`: a zip with one `.params` file of MXNet, and the hash
  of that file;
* either with mirrors after a space, which are asked in turn when the first one fails;
  of a mirror on the Hub, `hf://organisation/repository/name-2692d16c.pth`.

It becomes a file of safetensors with the same names among the assets that
huggingface_hub caches (`HF_HOME`, `HF_ASSETS_CACHE`). That file is called by its
sha256, so damage shows, and such a file is fetched anew.
"""

import hashlib
import os
import re
import zipfile
import zlib
from reprlib import repr as shortened

from stzoo import writer
from stzoo.weights.formats import mxnet, pytorch

EXPANSION = 10  # times its bytes a zip may become; floats hardly shrink


def is_url(where):
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
    """The one `.params` file in a zip, as bytes.

    Raises:
        ValueError: there is none, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [f for f in archive.infolist() if f.filename.endswith(".params")]
            if len(files) != 1:
                names = shortened([file.filename for file in files])
                raise ValueError(f"it should have one .params file, but has {names}")
            size, compressed = files[0].file_size, os.path.getsize(path)
            if size > EXPANSION * compressed:
                raise ValueError(f"its {compressed} bytes would become {size}")
            return archive.read(files[0])
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"it is no whole zip ({error})") from None


def _folder(where):
    from huggingface_hub import cached_assets_path

    return cached_assets_path("stzoo", "archives", _hash(where)[1])


def _whole(folder):
    """The weights in a folder of the cache, unless they are damaged; or `None`."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == path.stem:
                return path
    return None


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


def _converted(where, archive):
    """The weights as the bytes of a file, once the hash of the archive is right."""
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
    return save(tensors)
