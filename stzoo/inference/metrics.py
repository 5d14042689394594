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

    For one label a video, the definition is that of ActivityNet for classification: the
    area under the curve of precision over recall, with interpolation: the precision at
    a recall is the highest one at this or a higher recall. For several labels a video,
    it is that of scikit-learn, Charades and mmaction2, without interpolation. Videos
    with equal scores are retrieved together.

    Args:
        scores: array `(videos, classes)`.
        labels: int array `(videos,)`, or `(videos, classes)` of 0 and 1.

    Returns:
        Float array `(classes,)`.
    """
    labels, size = np.asarray(labels), scores.shape[1]
    several = labels.ndim == 2
    relevant = labels == 1 if several else labels[:, None] == np.arange(size)
    pairs = zip(scores.T, relevant.T, strict=True)
    return np.array([_average_precision(*pair, not several) for pair in pairs])


def _average_precision(scores, relevant, interpolated):
    if not relevant.any():
        return np.nan
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    found = np.cumsum(relevant[order])[last]
    precision = found / (np.flatnonzero(last) + 1)
    if interpolated:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


def precision_recall(answers, labels):
    """Computes precision, recall and F1 of each class, for several labels a video.

    Args:
        answers: bool array `(videos, classes)`, the predicted labels.
        labels: array `(videos, classes)` of 0 and 1.

    Returns:
        Tuple of three float arrays `(classes,)`. Precision is 0 if a class is never
        predicted. All are NaN for a class without videos.
    """
    answers, labels = np.asarray(answers, bool), np.asarray(labels, bool)
    right = (answers & labels).sum(0).astype(float)
    predicted, present = answers.sum(0), labels.sum(0)
    with np.errstate(invalid="ignore"):
        precision = right / np.maximum(predicted, 1)
        recall = right / present
        f1 = 2 * right / (predicted + present)
    precision[present == 0] = f1[present == 0] = np.nan
    return precision, recall, f1


def best_thresholds(scores, labels):
    """Chooses the threshold of each class with the best F1.

    A threshold lies in the middle between two scores. Of several with the best F1, it
    is the one closest to 0.5. A class without videos, or with nothing else, has 0.5.

    Args:
        scores: float array `(videos, classes)`, probabilities.
        labels: array `(videos, classes)` of 0 and 1.

    Returns:
        Tuple of floats from 0 to 1.
    """
    labels = np.asarray(labels, bool)
    return tuple(map(_best_threshold, np.asarray(scores, float).T, labels.T))


def _best_threshold(scores, relevant):
    if not relevant.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    found = np.cumsum(relevant[order])[last]
    f1 = 2 * found / (np.flatnonzero(last) + 1 + relevant.sum())
    edges = np.append(scores[order][last], 0.0)
    middles = (edges[:-1] + edges[1:]) / 2
    best = middles[f1 > f1.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])
