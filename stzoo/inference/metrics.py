"""Metrics of classification: pure functions of arrays."""

import numpy as np


def top_k(scores, labels, k=1):
    """Computes the top-k accuracy, from 0 to 1.

    Args:
        scores: array `(videos, classes)`.
        labels: int array `(videos,)`.
        k: int, number of highest scores that can have the label.
    """
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    return float((best == np.asarray(labels)[:, None]).any(-1).mean())


def confusion(answers, labels, classes):
    """Computes the confusion matrix.

    Args:
        answers: int array `(videos,)`, the predicted classes.
        labels: int array `(videos,)`.
        classes: int, number of classes.

    Returns:
        Int array `(classes, classes)`. Rows are labels, columns are predictions.
    """
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, answers), 1)
    return matrix


def class_accuracy(matrix):
    """Computes the accuracy of each class. It is NaN for a class without videos.

    Args:
        matrix: int array `(classes, classes)`, see `confusion`.
    """
    counts = matrix.sum(1)
    return np.divide(
        np.diag(matrix), counts, np.full(len(matrix), np.nan), where=counts > 0
    )


def average_precision(scores, labels):
    """Computes the average precision of each class. It is NaN without videos.

    The definition is that of ActivityNet for classification: the area under the curve
    of precision over recall, with interpolation: the precision at a recall is the
    highest one at this or a higher recall. Videos with equal scores are retrieved
    together.

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
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    found = np.cumsum(relevant[order])[last]
    precision = found / (np.flatnonzero(last) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(found, prepend=0) * best).sum() / found[-1])
