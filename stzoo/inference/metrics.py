"""How well scores fit labels: pure functions of arrays."""

import numpy as np


def top_k(scores, labels, k=1):
    """The share of rows whose label is among the `k` highest scores.

    Args:
        scores: array `(videos, classes)`.
        labels: int array `(videos,)`.
        k: int.
    """
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    return float((best == np.asarray(labels)[:, None]).any(-1).mean())


def confusion(answers, labels, classes):
    """Counts of answers (columns) for each class (rows): int `(classes, classes)`.

    Args:
        answers: int array `(videos,)`.
        labels: int array `(videos,)`.
        classes: int.
    """
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, answers), 1)
    return matrix


def class_accuracy(matrix):
    """The share of right answers in each class; NaN for a class without videos.

    Args:
        matrix: int array `(classes, classes)`, see `confusion`.
    """
    counts = matrix.sum(1)
    return np.divide(
        np.diag(matrix), counts, np.full(len(matrix), np.nan), where=counts > 0
    )


def average_precision(scores, labels):
    """Average precision of each class over videos; NaN for a class without videos.

    As ActivityNet measures classification: the area under precision over recall, where
    the precision at a recall is the best that is reached at it or beyond. Videos with
    the same score are found together.

    Args:
        scores: array `(videos, classes)`.
        labels: int array `(videos,)`.

    Returns:
        Float array `(classes,)`.
    """
    return np.array(
        [
            _average_precision(column, np.asarray(labels) == number)
            for number, column in enumerate(scores.T)
        ]
    )


def _average_precision(scores, relevant):
    if not relevant.any():
        return np.nan
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of videos with one score
    found = np.cumsum(relevant[order])[last]
    precision = found / (np.flatnonzero(last) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(found, prepend=0) * best).sum() / found[-1])
