"""Files from the Hugging Face Hub, or from the small repositories that ship along."""

import os
from pathlib import Path

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def namespace():
    """The organisation whose repositories hold the zoo's weights."""
    return os.environ.get("STZOO_HUB_NAMESPACE", "stzoo")


def shipped(name):
    """The folder of weights that come with the package, or `None`.

    Args:
        name: string, `"builder.tag"`.
    """
    package = Path(__file__).parent
    for root in (package / "hub", package.parent / "weights" / "hub"):
        if (root / name / CONFIG).is_file():
            return root / name
    return None


def download(repository, filename, revision="main"):
    """Fetches one file of a repository, through the cache of huggingface_hub.

    Its environment variables hold: `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`...

    Returns:
        `pathlib.Path` in the cache.

    Raises:
        FileNotFoundError: the repository, the revision or the file is not there.
        ConnectionError: it may be there, but did not arrive.
    """
    from huggingface_hub import errors, hf_hub_download

    url = f"hf://{repository}@{revision}/{filename}"
    try:
        path = hf_hub_download(
            repository, filename, revision=revision, library_name="stzoo"
        )
    except errors.HFValidationError as error:
        raise ValueError(f"{url} is not a repository's name: {error}") from None
    except errors.GatedRepoError:
        raise FileNotFoundError(
            f"{url} is gated: ask for access on its page, then log in with "
            "`hf auth login` or set HF_TOKEN."
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{url} is not in the cache and the Hub could not be reached. Check the "
            f"network, HF_ENDPOINT and HF_HUB_OFFLINE. ({_first_line(error)})"
        ) from None
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"{url}: the repository has no such revision."
        ) from None
    except errors.EntryNotFoundError:
        raise FileNotFoundError(f"{url}: the repository has no such file.") from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{url}: there is no such repository, or it is private and HF_TOKEN does "
            "not open it."
        ) from None
    except Exception as error:  # of the HTTP client, which is not part of our contract
        raise ConnectionError(
            f"{url} did not arrive whole: {_first_line(error)} Try again; what has "
            "arrived is not used."
        ) from error
    return Path(path)


def discard(path):
    """Removes a downloaded file, and what it points to, from the cache."""
    path = Path(path)
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _first_line(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."
