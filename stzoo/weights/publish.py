"""Uploads models to the Hub, and adds results to their cards."""

import dataclasses
import logging
import os
import tempfile
from pathlib import Path

from stzoo import writer
from stzoo.weights import card, checkpoint, hub

logger = logging.getLogger("stzoo")
BESIDE = (*card.PICTURES, card.EVALUATION, "classes.csv", "log.csv", "golden.npz")

REFUSALS = {  # by HTTP status
    400: (ValueError, "was not changed. Fix the error, then try again."),
    (None, 401): (
        PermissionError,
        "was not changed: you are not logged in. Log in with `hf auth login`, or set "
        "HF_TOKEN to a token with write access.",
    ),
    401: (
        PermissionError,
        "was not changed: the token is invalid. Log in again with `hf auth login`, or "
        "set HF_TOKEN to a new token.",
    ),
    403: (
        PermissionError,
        "was not changed: the token has no write access to it. Use a token with write "
        "access, and an organisation that you belong to.",
    ),
    404: (
        FileNotFoundError,
        "was not changed: there is no such repository, organisation or branch, or the "
        "token has no access to it. Check the names.",
    ),
    409: (
        ConnectionError,
        "was not changed: someone else changed it in the meantime. Check their "
        "changes, then try again.",
    ),
}
REFUSALS |= {402: REFUSALS[400], 413: REFUSALS[400], 412: REFUSALS[409]}
CUT = (
    ConnectionError,
    "was not changed: the upload failed. Check the network and HF_ENDPOINT, then try "
    "again.",
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

    The commit has `model.safetensors`, `config.json`, `README.md`, and other files in
    the folder, written by `evaluate` and `finetune`: `evaluation.json`, `classes.csv`,
    `log.csv`, `confusion.png`, `curves.png`, and `golden.npz`. A card that `stzoo`
    generated is regenerated for the Hub. A card that was edited is uploaded unchanged.

    Args:
        folder_or_model: path of a folder written by `stzoo.save` or `stzoo.finetune`,
            or a model of the zoo.
        repository: string, `"organisation/name"`. It is created if it does not exist.
        private: bool, whether the repository is private. `None`: an existing repository
            does not change, a new one gets the default of the Hub.
        token: string, a token with write access. `None`: the token of `hf auth login`
            or HF_TOKEN.
        revision: string, a branch. It is created if it does not exist. `None`:
            `"main"`.
        commit_message: string. Defaults to `"Upload ... with stzoo"`.

    Returns:
        String, the URL of the repository.

    Raises:
        ValueError: the folder, the model or the name is invalid.
        FileNotFoundError: the folder or the repository does not exist.
        PermissionError: the token is missing, or has no write access.
        ConnectionError: the Hub cannot be reached, or the upload failed. The repository
            has not changed.

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
            raise ValueError(
                f"the repository is {is_now}. Change that on its page first"
            )
        if revision and not revision.startswith("refs/"):
            api.create_branch(repository, branch=revision, exist_ok=True)
        _commit(api, repository, files, message, revision=revision)
    except Exception as error:  # the HTTP client of huggingface_hub can change
        raise _refused(error, repository, token) from None
    logger.info("Uploaded %s to %s.", ", ".join(files), url)
    return f"{url}/tree/{revision}" if revision else url


def push_evaluation(found, where):
    """Adds the results of an evaluation to the model card of a repository on the Hub.

    Previous results for the same metric and data are replaced. The rest of the card
    does not change.

    Args:
        found: `stzoo.inference.evaluate.Evaluation`.
        where: string, `"organisation/name"` or `"hf://organisation/name@branch"`.

    Returns:
        String, the URL of the repository.

    Raises:
        ValueError: the repository has other weights than those that were evaluated, or
            its card cannot be read.
        FileNotFoundError, PermissionError, ConnectionError: see `push_to_hub`.
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
    """Returns the card of a commit with the results of an evaluation, as bytes."""
    name, measured = repository.rpartition("/")[2], dataclasses.asdict(found)
    try:
        data = hub.fetch(f"hf://{repository}@{commit}", card.CARD).read_bytes()
    except FileNotFoundError:  # the repository exists, but it has no card
        new = card.results(config, measured)
        return card.text(config, f"hf://{repository}", new, title=name).encode()
    # The card has the results of the training, unless its author has removed them.
    new = card.results(dataclasses.replace(config, training={}), measured)
    try:
        return card.with_results(data, new, name)
    except ValueError as error:
        raise ValueError(
            f"hf://{repository}/{card.CARD}: {error}. Fix it on the Hub, then try "
            "again."
        ) from None


def check_measured(sha256, where):
    """Checks that a repository has certain weights.

    Args:
        sha256: string, the hash of the weights.
        where: string, see `push_evaluation`.

    Returns:
        Tuple of the hash of the commit and the `ModelConfig`.

    Raises:
        ValueError: it has other weights.
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
            f"hf://{repository} does not have the evaluated weights, so the results "
            f"cannot be added to its card. Evaluate hf://{repository}, or push the "
            "model first."
        )
    return commit, config


def check_target(repository):
    """Raises an error if a name is not a valid repository, or the Hub is offline."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    problem = "" if str(repository).count("/") == 1 else "it must have one slash"
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        problem = str(error).rstrip(".")
    if problem:
        raise ValueError(
            f'The name of a repository is "organisation/name", such as "me/my-model". '
            f"Received: {repository!r} ({problem})."
        )
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            f"hf://{repository} cannot be reached, because HF_HUB_OFFLINE is set. "
            "Nothing was uploaded. Unset it, then try again."
        )


def _files(folder_or_model, repository):
    """Returns the files to upload, as a dict from name to bytes."""
    if not isinstance(folder_or_model, str | os.PathLike):
        if not hasattr(folder_or_model, "weights"):
            raise ValueError(
                "push_to_hub needs a folder or a model of the zoo. Received: "
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
    """Returns our error for an error of huggingface_hub during an upload."""
    from huggingface_hub import get_token

    if type(error) is ValueError:  # huggingface_hub or stzoo has checked an argument
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
    """Returns the error that has an HTTP status, and the status or `None`."""
    while True:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None or error.__cause__ is None:
            return error, status
        error = error.__cause__  # huggingface_hub wraps errors during an upload
