"""The files of a model: in a folder, shipped along, on the Hub, or at a URL."""

import hashlib
import os
import re
from pathlib import Path

from stzoo.weights import url_cache

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def namespace():
    """The organisation of the Hub that has copies of the zoo's weights, or `""`."""
    return os.environ.get("STZOO_HUB_NAMESPACE", "")


def shipped(name):
    """The folder of weights that come with the package, or `None`.

    Args:
        name: string, `"builder.tag"`.
    """
    here = Path(__file__).parent  # in a wheel; in a clone, the folder `weights`
    for root in (here / "shipped", here.parents[1] / "weights" / "hub"):
        if (root / name / CONFIG).is_file():
            return root / name
    return None


def fetch(where, filename):
    """Finds a file of a model; from the Hub it comes through huggingface_hub's cache.

    The client's environment variables hold: `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`...

    Args:
        where: path of a folder, `"hf://organisation/repository@revision"`, or the
            address of an archive of weights, see `stzoo.weights.url_cache`.
        filename: string.

    Returns:
        `pathlib.Path`.

    Raises:
        FileNotFoundError: the folder, the repository, the revision or the file is
            not there.
        ConnectionError: it may be there, but did not arrive.
        ValueError: `where` cannot be a repository.
    """
    if not is_url(where):
        path = Path(where) / filename
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: a model's folder holds {CONFIG} and {WEIGHTS}, as "
                "`stzoo.save` writes them."
            )
        return path
    if url_cache.is_url(where):
        if filename != WEIGHTS:
            raise FileNotFoundError(f"{where} has weights only, no {filename}.")
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
        raise ValueError(f"{where} is no repository's name: {error}") from None
    except Exception as error:  # an HTTP client's; which one is not our contract
        raise _explained(error, url) from None


def stated_sha256(path):
    """The sha256 that a cache states of a file, by its name there, or `""`.

    Args:
        path: `pathlib.Path`, from `fetch`.
    """
    name = path.resolve().stem  # what a link of the Hub's cache points to
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def evict(where, filename):
    """Removes a file from the Hub's cache if it is not what its name there says.

    All programs share that cache, so a file that is whole stays, whatever it holds.
    Nothing is removed offline, where nothing could replace it.

    Args:
        where: as of `fetch`.
        filename: string.

    Returns:
        bool, whether it was removed.
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
    """Whether a blob is surely not the one that the Hub calls by this name."""
    data = blob.read_bytes()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return hashlib.sha256(data).hexdigest() != blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):  # of small files; git's, or a mirror's
        found = (b"blob %d\0" % len(data) + data, data)
        return all(
            hashlib.sha1(whole, usedforsecurity=False).hexdigest() != blob.name
            for whole in found
        )
    return False


def is_url(where):
    """Whether this is an address, not a folder."""
    return str(where).startswith("hf://") or url_cache.is_url(where)


def address(where):
    """The repository of an address of the Hub, and its revision.

    Args:
        where: string, `"hf://organisation/repository@revision"`.
    """
    repository, _, revision = str(where).removeprefix("hf://").partition("@")
    return repository, revision or "main"


def _progress():
    """A progress bar that ends a download which never ends.

    After a cut connection the client asks for the rest. A server that sends the whole
    file instead, and cuts again, would keep huggingface_hub 2.4 busy for ever.
    """
    from huggingface_hub.utils import tqdm

    class Progress(tqdm):
        restarts = 0

        def update(self, n=1):
            self.restarts += n < 0  # the client takes back what it threw away
            if self.restarts > 3:
                raise ConnectionError("the connection was cut again and again")
            return super().update(n)

    return Progress


def _explained(error, url):
    """Our error for what the client of the Hub raised."""
    from huggingface_hub import errors

    unreached = isinstance(error, errors.LocalEntryNotFoundError)
    cause = error.__cause__ if unreached and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.GatedRepoError) or status == 403:
        return FileNotFoundError(
            f"{url} is not open to everybody: ask for access on the repository's page, "
            "then log in with `hf auth login` or set HF_TOKEN."
        )
    if isinstance(cause, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{url}: the repository has no such revision.")
    if isinstance(cause, errors.EntryNotFoundError) and not unreached:
        return FileNotFoundError(f"{url}: the repository has no such file.")
    if isinstance(cause, errors.RepositoryNotFoundError) or status in (401, 404):
        return FileNotFoundError(
            f"{url}: there is no such repository, or it is private and HF_TOKEN does "
            "not open it."
        )
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
    if unreached:
        return ConnectionError(
            f"{url} is not in the cache and the Hub did not answer: check the network, "
            f"HF_ENDPOINT and HF_HUB_OFFLINE. ({reason}.)"
        )
    return ConnectionError(
        f"{url} did not arrive whole and nothing of it was kept: try again. ({reason}.)"
    )
