"""What a training logs before its first epoch and after its last one."""

import hashlib
import logging
import os
import shlex

import numpy as np

from stzoo.data import files

logger = logging.getLogger("stzoo")
FEW = 3  # with fewer videos, a class can hardly be learned
STEPS = 200  # fewer are often too few for a new task, see studies/small_data
SHOWN = 5  # names in a message
BLOCK = 2**20  # bytes that are read at once


def describe_videos(train, validation=None):
    """Logs how many videos the classes have, and what is odd about the videos.

    Args:
        train, validation: `stzoo.data.datasets.Videos`, or `None` for the latter.
    """
    counts = train.counts
    least, most = counts.argmin(), counts.argmax()
    spread = f"{counts[least]} of each"
    if counts[least] < counts[most]:
        spread = (
            f"from {counts[least]} ({train.classes[least]}) to {counts[most]} "
            f"({train.classes[most]})"
        )
    logger.info(
        "%d training videos of %d classes, %s.", len(train), len(counts), spread
    )
    if train.multi_label:
        logger.info(
            "A video has %.1f labels on average. %d videos have none.",
            *(counts.sum() / len(train), sum(not any(row) for row in train.labels)),
        )
    few = [f"{train.classes[n]} ({counts[n]})" for n in np.flatnonzero(counts < FEW)]
    if few:
        logger.warning(
            "Classes with fewer than %d videos can hardly be learned: %s.",
            *(FEW, shortened(few)),
        )
    if validation is None:
        return
    logger.info("%d validation videos.", len(validation))
    if shared := find_shared(train.paths, validation.paths):
        names = [one if one == two else f"{one} = {two}" for one, two in shared]
        logger.warning(
            "%d of %d validation videos are also training videos, so the validation "
            "accuracy is too high: %s. `stzoo split` makes lists without this.",
            *(len(shared), len(validation), shortened(names)),
        )


def find_shared(paths, others):
    """Finds videos that are in two lists: by path, or by content for local files.

    Args:
        paths, others: sequences of strings.

    Returns:
        List of tuples of a path of `others`, and the path of the same video in `paths`.
    """
    known = {_place(path): path for path in paths}
    sizes, digests = {}, {}
    for path in paths:
        sizes.setdefault(_size(path), []).append(path)
    found = []
    for other in others:
        same = known.get(_place(other))
        if same is None and (size := _size(other)):
            for path in sizes.get(size, ()):
                digests[path] = digests.get(path) or _digest(path)
            by_content = {digests[path]: path for path in sizes.get(size, ())}
            same = by_content.get(_digest(other)) if by_content else None
        if same is not None:
            found.append((other, same))
    return found


def describe_training(model, recipe, steps_per_epoch, epochs):
    """Logs what will be trained, for how long, and how.

    Args:
        model: a compiled model.
        recipe: `stzoo.training.recipes.Recipe`.
        steps_per_epoch: int.
        epochs: int.
    """
    trained, total = count_trained(model)
    logger.info(
        "Recipe %s: %d epochs of %d steps of %d clips, %s with a learning rate of "
        "%.3g. %s of %s parameters are trained (%.0f %% are frozen).",
        *(recipe.name, epochs, steps_per_epoch, recipe.batch_size, recipe.algorithm),
        *(recipe.learning_rate, f"{trained:,}", f"{total:,}"),
        100 * (total - trained) / total,
    )
    if first := recipe.first_steps(steps_per_epoch):
        logger.info("In the first %d steps, only the head is trained.", first)
    if (steps := steps_per_epoch * epochs) < STEPS:
        logger.info(
            "These are only %d steps. If the accuracy is low, try %d epochs "
            "(%d steps).",
            *(steps, more := -(-STEPS // steps_per_epoch), more * steps_per_epoch),
        )


def count_trained(model):
    """Returns the number of trained parameters, and of all, without statistics."""
    sizes = {
        weight.path: int(np.prod(weight.shape))
        for weight in model.weights
        if not weight.path.endswith(("/moving_mean", "/moving_variance"))
    }
    return sum(sizes[v.path] for v in model.trainable_weights), sum(sizes.values())


def describe_result(history, best, planned, train, validation=None):
    """Logs why a training stopped, which epoch was kept, and how good it is.

    Args:
        history: list of dicts, the log of each epoch.
        best: int, the index of the kept epoch.
        planned: int, number of epochs of the recipe.
        train, validation: `stzoo.data.datasets.Videos`, or `None` for the latter.
    """
    if len(history) < planned:
        logger.info(
            "Stopped after epoch %d of %d: no improvement since epoch %d.",
            *(len(history), planned, best + 1),
        )
    else:
        logger.info("Stopped after epoch %d of %d, the last one.", planned, planned)
    measured = validation or train
    prefix, kind, why = "", "training", "the last one, without validation videos"
    if validation:
        prefix, kind, why = "val_", "validation", "the best one"
    if train.multi_label:
        counts = measured.counts
        logger.info(
            "Kept epoch %d, %s. Mean area under the curves of precision and recall on "
            "the %s videos: %.1f %%. Guessing: %.1f %%.",
            *(best + 1, why, kind, 100 * history[best][f"{prefix}pr_auc"]),
            100 * counts[counts > 0].mean() / len(measured),
        )
        return
    largest = int(train.counts.argmax())
    share = sum(label == largest for label in measured.labels) / len(measured)
    logger.info(
        "Kept epoch %d, %s. Accuracy on the %s videos: %.1f %%. Always guessing the "
        "largest class (%s): %.1f %%.",
        *(best + 1, why, kind, 100 * history[best][f"{prefix}accuracy"]),
        *(train.classes[largest], 100 * share),
    )


def shortened(names):
    """Joins names to a text, with at most `SHOWN` of them."""
    names = list(names)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _place(path):
    return path if files.is_url(path) else os.path.realpath(path)


def _size(path):
    """Returns the size of a local file in bytes, or 0."""
    try:
        is_file = not files.is_url(path) and os.path.isfile(path)
        return os.path.getsize(path) if is_file else 0
    except OSError:
        return 0


def _digest(path):
    """Returns a hash of the content of a file, or of its path if it is unreadable."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        digest.update(os.fsencode(path))
    return digest.hexdigest()


def describe_mistakes(folder):
    """Logs the command that shows the wrong answers of a model."""
    name = shlex.quote(str(folder))
    logger.info(
        "`stzoo evaluate DATA --model %s --out %s` shows wrong answers.", name, name
    )
