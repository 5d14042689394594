"""Splits videos into a training set and a test set."""

import csv
import io
import logging
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from stzoo import writer
from stzoo.data import files
from stzoo.data.datasets import Videos

logger = logging.getLogger("stzoo")
# Patterns of names that show the origin of a video, the most reliable first. The group
# is the part in parentheses.
PATTERNS = {
    "person": r"(?:^|[_\W])((?:person|subject|actor|user|signer|subj|pers)[_-]?\d+)",
    "group of UCF101": r"_(g\d+)_c\d+$",
    "participant": r"(?:^|[_\W])([PS]\d{1,3})(?=$|[_\W])",
    "source of Kinetics": r"^(.{11})_\d{6}_\d{6}$",
    "date": r"(\d{4}[-_]?(?:0[1-9]|1[0-2])[-_]?(?:0[1-9]|[12]\d|3[01]))(?!\d)",
    "source before a number": (
        r"^(.*?\D)[_\W]?(?:c|clip|part|seg|cut|scene)?[_\W]?\d+\W?$"
    ),
}
LEAST = 0.8  # share of the names that a pattern must match


def split(videos, by="group", test=0.2, seed=0):
    """Splits videos into a training set and a test set.

    Args:
        videos: `stzoo.data.datasets.Videos`, with classes.
        by: `"group"`: all videos of a person, source or date are in the same set, see
            `find_groups`. `"video"`: each video is independent.
        test: float from 0 to 1, share of the test set. It is approximate, since groups
            are not split.
        seed: int.

    Returns:
        Tuple of two `Videos`, with the classes of `videos`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: the names show no groups, or there are too few videos or groups.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError:
        raise ImportError(
            'Splitting needs scikit-learn: `pip install "stzoo[svm]"`.'
        ) from None
    if by not in ("group", "video"):
        raise ValueError(f'by must be "group" or "video". Received: {by!r}.')
    if not 0 < test < 1:
        raise ValueError(f"test must be between 0 and 1. Received: {test!r}.")
    if not videos.labels:
        raise ValueError("The videos have no classes, so they cannot be split by them.")
    groups = find_groups(videos) if by == "group" else list(range(len(videos)))
    labels = _strata(videos)
    most = min(len(set(groups)), max(Counter(labels).values()))
    if most < 2:
        raise ValueError(
            f"At least two of each {by} and class are needed. Received: "
            f"{len(videos)} videos of {len(set(labels))} classes."
        )
    chosen = np.zeros(len(videos), bool)
    folds = max(2, min(most, round(1 / min(test, 1 - test))))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class with fewer videos than folds
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for _, rows in splitter.split(groups, labels, groups):
            chosen[rows] = True
            break
    if test > 0.5:
        chosen = ~chosen
    _log_missing(videos, chosen)
    return _chosen(videos, ~chosen), _chosen(videos, chosen)


def find_groups(videos):
    """Finds videos of the same person, source or date by their names.

    Args:
        videos: `stzoo.data.datasets.Videos`.

    Returns:
        List of strings, the group of each video.

    Raises:
        ValueError: the names show no groups.
    """
    stems = [os.path.splitext(files.split(path)[1])[0] for path in videos.paths]
    for kind, pattern in PATTERNS.items():
        found = [re.search(pattern, stem, re.IGNORECASE) for stem in stems]
        groups = [
            match[1].lower() if match else stem
            for match, stem in zip(found, stems, strict=True)
        ]
        matched, count = sum(map(bool, found)), len(set(groups))
        is_new = count < len(stems) and _are_in_all_classes(groups, _strata(videos))
        if matched >= LEAST * len(stems) and is_new:
            largest, size = Counter(groups).most_common(1)[0]
            logger.info(
                "The names show %d groups (%s). The largest is %r with %d videos.",
                *(count, kind, largest, size),
            )
            return groups
    raise ValueError(
        "The names of the videos do not show which ones are of the same person, source "
        f'or date. Received, for example: {stems[0]!r}. Pass by="video" (--by video) '
        "to split them anyway. If several are from one recording, the measured "
        "accuracy will be too high."
    )


def _strata(videos):
    """Returns the class of each video, or of several the one with the fewest videos.

    A video without a label is in a class of its own, -1.
    """
    if not videos.multi_label:
        return videos.labels
    counts = np.where(np.array(videos.labels), videos.counts, len(videos) + 1)
    return tuple(np.where(counts.min(1) > len(videos), -1, counts.argmin(1)).tolist())


def _are_in_all_classes(groups, labels):
    """Returns whether each class has several groups. Else a group is a class."""
    classes = {}
    for group, label in zip(groups, labels, strict=True):
        classes.setdefault(label, []).append(group)
    return all(len(set(found)) > 1 or len(found) == 1 for found in classes.values())


def write_list(path, videos):
    """Writes a CSV file of paths and classes, for `stzoo.read_videos`.

    Paths are relative to the folder of the list. If a video can have several labels,
    there is a column of 0 and 1 for each class.

    Args:
        path: path of the CSV file.
        videos: `stzoo.data.datasets.Videos`.
    """
    path, text = Path(path), io.StringIO()
    rows = csv.writer(text)
    several = videos.multi_label
    rows.writerow(["path", *(videos.classes if several else ["label"])])
    for name, label in zip(videos.paths, videos.labels, strict=True):
        if not files.is_url(name):
            name = Path(os.path.relpath(name, path.parent)).as_posix()
        rows.writerow([name, *(label if several else [videos.classes[label]])])
    data = text.getvalue().encode("utf-8", "surrogateescape")
    writer.write(path.parent, {path.name: data})


def _chosen(videos, rows):
    rows = np.flatnonzero(rows)
    return Videos(
        tuple(videos.paths[row] for row in rows),
        tuple(videos.labels[row] for row in rows),
        videos.classes,
        multi_label=videos.multi_label,
    )


def _log_missing(videos, chosen):
    """Logs the classes that are in one set only."""
    for side, rows in (("training", ~chosen), ("test", chosen)):
        there = _chosen(videos, rows).counts
        missing = np.flatnonzero((videos.counts > 0) & (there == 0))
        if len(missing):
            names = ", ".join(repr(videos.classes[label]) for label in missing)
            logger.warning("The %s set has no video of %s.", side, names)
