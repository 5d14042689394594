"""Weights of classes, for data in which some classes have few videos."""

import csv
import math
import os
import unicodedata

import numpy as np

from stzoo.data import tables

BALANCED = "balanced"


def class_weights(videos, given, pairs=None):
    """Returns the weight of each class in the loss.

    If a video can have several labels, the weight of a class is for the videos that
    have it, see `stzoo.training.multilabel.BinaryCrossentropy`.

    Args:
        videos: `stzoo.data.datasets.Videos`, the training videos.
        given: one of:

            * `None`: all classes have the same weight;
            * `"balanced"`: inversely proportional to the number of videos, so that all
              classes have the same total weight. The mean over the videos is 1. If a
              video can have several labels, it is the number of videos without a class
              divided by that with it;
            * dict from the name of a class to its weight. Other classes have 1;
            * path of a file with a name and a weight per line, separated by a tab, a
              semicolon or a comma.
        pairs: dict from a class to its mirror image, see
            `stzoo.data.transforms.Augment`, if half of the clips are mirrored. Each
            class of a pair then gets half of the clips of both.

    Returns:
        Tuple of floats, or `None`.

    Raises:
        ValueError: a name is not a class, or a weight is not a number of at least 0.

    Example:

    >>> from stzoo.data.datasets import Videos
    >>> from stzoo.training.weighting import class_weights
    >>> videos = Videos(("a.mp4", "b.mp4", "c.mp4"), (0, 0, 1), ("sit", "fall"))
    >>> class_weights(videos, "balanced")
    (0.75, 1.5)
    """
    if given is None:
        return None
    if isinstance(given, str) and given == BALANCED:
        return _balanced(videos, pairs or {})
    if isinstance(given, str | os.PathLike):
        rows = list(_read(os.fspath(given)))
    elif hasattr(given, "items"):
        rows = [("class_weight", name, weight) for name, weight in given.items()]
    else:
        raise ValueError(
            'class_weight must be "balanced", a dict or the path of a file. Received: '
            f"{given!r}."
        )
    return _listed(videos.classes, rows)


def _balanced(videos, pairs):
    counts = videos.counts.astype(float)
    mirrored = np.arange(len(counts))
    for number, other in pairs.items():
        mirrored[number] = number if other is None else other
    counts = (counts + counts[mirrored]) / 2
    present = counts > 0
    weights = np.ones(len(counts))
    if videos.multi_label:
        without = np.maximum(len(videos) - counts, 1)
        weights[present] = without[present] / counts[present]
        return tuple(map(float, weights))
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return tuple(map(float, weights))


def _listed(classes, rows):
    index = {unicodedata.normalize("NFC", name): n for n, name in enumerate(classes)}
    weights = {}
    for where, name, weight in rows:
        number = index.get(unicodedata.normalize("NFC", str(name)))
        if number is None:
            shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
            raise ValueError(
                f"{where}: {name!r} is not one of the {len(classes)} classes: {shown}."
            )
        if number in weights:
            raise ValueError(f"{where}: {name!r} is listed twice. List it once.")
        weights[number] = _number(where, name, weight)
    found = tuple(weights.get(number, 1.0) for number in range(len(classes)))
    if not any(found):
        raise ValueError("All class weights are 0, so there is nothing to learn.")
    return found


def _number(where, name, weight):
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(
            f"{where}: the weight of {name!r} must be a number of at least 0. "
            f"Received: {weight!r}."
        )
    return value


def _read(path):
    """Yields file and line, name and weight."""
    for number, line in tables.lines(path):
        where = f"{path}, line {number}"
        separator = next((mark for mark in "\t;," if mark in line), ",")
        try:
            row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(f"{where}: this is not CSV ({error}).") from None
        if len(row) != 2:
            raise ValueError(
                f"{where}: expected the name of a class and a weight, such as "
                f'"falling,3". Received: {line!r}.'
            )
        yield where, row[0].strip(), row[1].strip()
