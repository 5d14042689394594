"""Uploads the folder of a model to the Hub, and adds results to its card."""

import dataclasses
import logging
import os
import tempfile
from pathlib import Path

from stzoo import writer
from stzoo.weights import card, checkpoint, hub

logger = logging.getLogger("stzoo")
BESIDE = (*card.PICTURES, card.EVALUATION, "classes.csv", "log.csv", "golden.npz")

REFUSALS = {  # by the status of the Hub's answer
    400: (ValueError, "was not changed: something is wrong. Mend it, then try again."),
    (None, 401): (
        PermissionError,
        "was not changed: the Hub wants to know who you are. Log in with `hf auth "
        "login`, or set HF_TOKEN to a token that may write.",
    ),
    401: (
        PermissionError,
        "was not changed: the Hub does not know the token. Log in again with `hf auth "
        "login`, or set HF_TOKEN to a new one.",
    ),
    403: (
        PermissionError,
        "was not changed: the token may not write there. Use a token that may write, "
        "and an organisation that you belong to.",
    ),
    404: (
        FileNotFoundError,
        "was not changed: there is no such repository, organisation or branch, or the "
        "token does not open it. Check the names.",
    ),
    409: (
        ConnectionError,
        "was not changed: somebody else changed it meanwhile. Look at what is there, "
        "then try again.",
    ),
}
REFUSALS |= {402: REFUSALS[400], 413: REFUSALS[400], 412: REFUSALS[409]}
CUT = (
    ConnectionError,
    "did not get all of it, so it holds what it held before. Check the network and "
    "HF_ENDPOINT, then try again.",
)


def push_to_hub(
    folder_or_model,
    repository,
    private=None,
    token=None,
    revision=None,
    commit_message=None,
):
    """Uploads a model to the Hub, with its card, in one commit.

    The commit holds `model.safetensors`, `config.json`, `README.md`, and the files that
    `evaluate` and `finetune` wrote beside them: `evaluation.json`, `classes.csv`,
    `log.csv`, `confusion.png`, `curves.png`, and the `golden.npz` of the zoo's own. A
    card that `stzoo` wrote is written anew for the Hub. A card that was edited is
    uploaded unchanged.

    Args:
        folder_or_model: path of a folder that `stzoo.save` or `stzoo.finetune` has
            written, or a model of the zoo.
        repository: string, `"organisation/name"`; created if it is not there.
        private: bool, whether only you can see the repository. `None`: as it is; a new
            one is as the Hub makes it.
        token: string, a token of the Hub that may write. `None`: that of
            `hf auth login` or of HF_TOKEN.
        revision: string, a branch; created if it is not there. `None`: `"main"`.
        commit_message: string.

    Returns:
        String, the address of the repository.

    Raises:
        ValueError: the folder, the model or the name is wrong.
        FileNotFoundError: the folder or the repository is not there.
        PermissionError: the token is missing, or may not write there.
        ConnectionError: the Hub was not reached, or the upload was cut. A commit
            arrives whole or not at all.

    Example:

    ```python
    stzoo.save(model, "runs/mine")
    stzoo.push_to_hub("runs/mine", "me/mine")
    model = stzoo.load("hf://me/mine")
    ```
    """
    check_target(repository)
    files = _files(folder_or_model, repository)
    builder = checkpoint.parse(repository, files[hub.CONFIG]).config.builder
    message = commit_message or f"Upload {builder} with stzoo"
    api = _api(token)
    try:
        url = str(api.create_repo(repository, private=private, exist_ok=True))
        if private is not None and api.model_info(repository).private != private:
            is_now = "public" if private else "private"
            raise ValueError(f"it is {is_now} already. Change that on its page first")
        if revision and not revision.startswith("refs/"):
            api.create_branch(repository, branch=revision, exist_ok=True)
        _commit(api, repository, files, message, revision=revision)
    except Exception as error:  # an HTTP client's; which one is not our contract
        raise _refused(error, repository, token) from None
    logger.info("Uploaded %s to %s.", ", ".join(files), url)
    return f"{url}/tree/{revision}" if revision else url


def push_evaluation(found, where):
    """Adds what was measured to the model card of a repository on the Hub.

    Results of the same measure on the same data are replaced; all else in the card
    stays.

    Args:
        found: `stzoo.inference.evaluate.Evaluation`.
        where: string, `"organisation/name"` or `"hf://organisation/name@branch"`.

    Returns:
        String, the address of the repository.

    Raises:
        ValueError: the repository holds other weights than those that were measured,
            or its card cannot be read.
        FileNotFoundError, PermissionError, ConnectionError: as of `push_to_hub`.
    """
    repository, revision = hub.address(where)
    commit, config = check_measured(found.sha256, where)
    files = {card.CARD: _card_with(found, repository, commit, config)}
    api = _api()
    message = f"Add results of stzoo evaluate, views {found.views}"
    where_to = dict(revision=revision, parent_commit=commit)
    try:
        _commit(api, repository, files, message, **where_to)
    except Exception as error:
        raise _refused(error, repository) from None
    return f"{api.endpoint}/{repository}"


def _card_with(found, repository, commit, config):
    """The card of a commit with the results of an evaluation, as bytes."""
    name, measured = repository.rpartition("/")[2], dataclasses.asdict(found)
    try:
        data = hub.fetch(f"hf://{repository}@{commit}", card.CARD).read_bytes()
    except FileNotFoundError:  # as config.json was found there, it has no card
        new = card.results(config, measured)
        return card.text(config, f"hf://{repository}", new, title=name).encode()
    # What the training says of itself is there, or was taken out.
    new = card.results(dataclasses.replace(config, training={}), measured)
    try:
        return card.with_results(data, new, name)
    except ValueError as error:
        raise ValueError(
            f"hf://{repository}/{card.CARD}: {error}. Mend it on the Hub, then try "
            "again."
        ) from None


def check_measured(sha256, where):
    """The commit and the config of a repository, which must hold certain weights.

    Args:
        sha256: string, the hash of the weights.
        where: string, as of `push_evaluation`.

    Raises:
        ValueError: it holds other weights.
    """
    repository, revision = hub.address(where)
    check_target(repository)
    try:
        commit = _api().model_info(repository, revision=revision).sha
    except Exception as error:
        raise _refused(error, repository) from None
    config = checkpoint.read(f"hf://{repository}@{commit}").config
    if not sha256 or config.sha256 != sha256:
        raise ValueError(
            f"hf://{repository} does not hold the weights that are measured, so the "
            f"results are not added to its card. Measure hf://{repository}, or push "
            "the model first."
        )
    return commit, config


def check_target(repository):
    """Raises an error for what cannot be pushed to."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    problem = "" if str(repository).count("/") == 1 else "it has no or two slashes"
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        problem = str(error).rstrip(".")
    if problem:
        raise ValueError(
            f'A repository is named "organisation/name", such as "me/my-model". '
            f"Received: {repository!r} ({problem})."
        )
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            f"hf://{repository} cannot be reached, as HF_HUB_OFFLINE is set. Nothing "
            "was uploaded. Unset it, then try again."
        )


def _files(folder_or_model, repository):
    """What is uploaded of a folder or a model: dict from name to bytes."""
    if not isinstance(folder_or_model, str | os.PathLike):
        if not hasattr(folder_or_model, "weights"):
            raise ValueError(
                "push_to_hub takes a folder or a model of the zoo. Received: "
                f"{folder_or_model!r}."
            )
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(folder_or_model, folder)
            return _files(folder, repository)
    folder = Path(folder_or_model)
    text, data = checkpoint.read_pair(folder)
    source = checkpoint.parse(folder, text, data)
    checkpoint.read_tensors(source)  # raises an error if they are damaged
    files = {hub.WEIGHTS: data, hub.CONFIG: text}
    new_card = card.files(source.config, folder, repository)
    files |= new_card or {card.CARD: writer.read(folder, card.CARD)}
    for name in BESIDE:
        if (folder / name).is_file():
            files[name] = writer.read(folder, name)
    return files


def _api(token=None):
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="stzoo")


def _commit(api, repository, files, message, **where):
    from huggingface_hub import CommitOperationAdd

    new = [CommitOperationAdd(name, data) for name, data in files.items()]
    api.create_commit(repository, new, commit_message=message, **where)


def _refused(error, repository, token=None):
    """Our error for what the client of the Hub raised when it wrote."""
    from huggingface_hub import get_token

    if type(error) is ValueError:  # of the client's own checks, or of ours
        kind, words = REFUSALS[400]
    else:
        error, status = _cause(error)
        if status == 401 and not (token or get_token()):
            status = None, 401
        kind, words = REFUSALS.get(status, CUT)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:4]).rstrip(".") or type(error).__name__
    return kind(f"hf://{repository} {words} ({reason}.)")


def _cause(error):
    """The error that an HTTP status stands behind, and the status; or the first one."""
    while True:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None or error.__cause__ is None:
            return error, status
        error = error.__cause__  # the client hides what stopped an upload
