"""Finds the files of a model: in a folder, in the package, on the Hub, or at a URL."""

import hashlib
import os
import re
from pathlib import Path

from stzoo.weights import url_cache

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"  # of weights in several files


def namespace():
    """Returns the organisation on the Hub that has copies of the weights, or `""`."""
    return os.environ.get("STZOO_HUB_NAMESPACE", "")


def shipped(name):
    """Returns the folder of weights that are part of the package, or `None`.

    Args:
        name: string, `"builder.tag"`.
    """
    here = Path(__file__).parent
    # The first folder exists in a wheel, the second one in a clone.
    for root in (here / "shipped", here.parents[1] / "weights" / "hub"):
        if (root / name / CONFIG).is_file():
            return root / name
    return None


def fetch(where, filename):
    """Finds a file of a model, and downloads it if it is not in the cache.

    Downloads from the Hub use the cache and the environment variables of
    huggingface_hub: `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`...

    Args:
        where: path of a folder, `"hf://organisation/repository@revision"`, or the
            URL of weights, see `stzoo.weights.url_cache`.
        filename: string.

    Returns:
        `pathlib.Path`.

    Raises:
        FileNotFoundError: the folder, repository, revision or file does not exist.
        ConnectionError: the download failed.
        ValueError: `where` is not a valid name of a repository.
    """
    if not is_url(where):
        path = Path(where) / filename
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. The folder of a model has a {CONFIG} and a "
                f"{WEIGHTS}, written by `stzoo.save`."
            )
        return path
    if url_cache.is_url(where):
        if filename != WEIGHTS:
            raise FileNotFoundError(f"{where} has only weights, no {filename}.")
        return url_cache.fetch(where, _progress())
    from huggingface_hub import errors, hf_hub_download

    repository, revision = address(where)
    url = f"hf://{repository}@{revision}/{filename}"
    try:
        return Path(
            hf_hub_download(
                repository,
                filename,
                revision=revision,
                library_name="stzoo",
                tqdm_class=_progress(),
            )
        )
    except errors.HFValidationError as error:
        raise ValueError(
            f"{where} is not a valid name of a repository: {error}"
        ) from None
    except Exception as error:  # the HTTP client of huggingface_hub can change
        raise _explained(error, url) from None


def stated_sha256(path):
    """Returns the sha256 that is the name of a cached file, or `""`.

    Args:
        path: `pathlib.Path`, from `fetch`.
    """
    name = path.resolve().stem  # the cache of the Hub has links to such files
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def evict(where, filename):
    """Removes a file from the cache of the Hub if its hash differs from its name.

    Other programs share the cache, so undamaged files are kept, even if they are not
    valid. Offline, nothing is removed, since it could not be downloaded again.

    Args:
        where: see `fetch`.
        filename: string.

    Returns:
        bool, whether the file was removed.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if not str(where).startswith("hf://") or constants.HF_HUB_OFFLINE:
        return False
    repository, revision = address(where)
    path = try_to_load_from_cache(repository, filename, revision=revision)
    if not isinstance(path, str) or not _is_damaged(Path(path).resolve()):
        return False
    Path(path).resolve().unlink()
    Path(path).unlink(missing_ok=True)
    return True


def _is_damaged(blob):
    """Returns whether a cached file does not have the hash in its name."""
    data = blob.read_bytes()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return hashlib.sha256(data).hexdigest() != blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):
        # Small files are named by the hash of git. Some mirrors use the plain SHA-1.
        found = (b"blob %d\0" % len(data) + data, data)
        return all(
            hashlib.sha1(whole, usedforsecurity=False).hexdigest() != blob.name
            for whole in found
        )
    return False


def is_url(where):
    """Returns whether this is an address, not a folder."""
    return str(where).startswith("hf://") or url_cache.is_url(where)


def address(where):
    """Splits an address of the Hub into the repository and the revision.

    Args:
        where: string, `"hf://organisation/repository@revision"`.
    """
    repository, _, revision = str(where).removeprefix("hf://").partition("@")
    return repository, revision or "main"


def _progress():
    """Returns a progress bar class that stops endless downloads.

    After a lost connection, huggingface_hub 2.4 requests the rest of the file. If the
    server sends the whole file instead and always loses the connection, it never stops.
    """
    from huggingface_hub.utils import tqdm

    class Progress(tqdm):
        restarts = 0

        def update(self, n=1):
            self.restarts += n < 0  # the client discards what it has received
            if self.restarts > 3:
                raise ConnectionError("the connection was lost several times")
            return super().update(n)

    return Progress


def _explained(error, url):
    """Returns our error for an error of huggingface_hub."""
    from huggingface_hub import errors

    unreached = isinstance(error, errors.LocalEntryNotFoundError)
    cause = error.__cause__ if unreached and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.GatedRepoError) or status == 403:
        return FileNotFoundError(
            f"{url} is not public. Request access on the page of the repository, then "
            "log in with `hf auth login` or set HF_TOKEN."
        )
    if isinstance(cause, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{url}: the repository has no such revision.")
    if isinstance(cause, errors.EntryNotFoundError) and not unreached:
        return FileNotFoundError(f"{url}: the repository has no such file.")
    if isinstance(cause, errors.RepositoryNotFoundError) or status in (401, 404):
        return FileNotFoundError(
            f"{url}: there is no such repository, or it is private and HF_TOKEN gives "
            "no access to it."
        )
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
    if unreached:
        return ConnectionError(
            f"{url} is not in the cache, and the Hub cannot be reached. Check the "
            f"network, HF_ENDPOINT and HF_HUB_OFFLINE. ({reason}.)"
        )
    return ConnectionError(
        f"The download of {url} failed, and nothing was kept. Try again. ({reason}.)"
    )
