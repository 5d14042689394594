"""Evaluation of the features of a network on another data set.

Qiu, Yao, Mei: Learning Spatio-Temporal Representation with Pseudo-3D Residual
Networks. ICCV 2017, Section 5. There are three tasks: classify a video by the scores of
some of its clips, classify it by their features with a linear SVM, and decide whether
two videos show the same action, which is the protocol of ASLAN:

Kliper-Gross, Hassner, Wolf: The Action Similarity Labeling Challenge. TPAMI 34 (3),
2012.

*Inferred*: features have length 1 (as in Tran et al., ICCV 2015), and the SVM has the
default C of scikit-learn. The table of the twelve similarities was not available, so
they may differ from it in a term.
"""

import numpy as np

from stzoo.data.decoders import open_video
from stzoo.data.views import Views
from stzoo.inference.predict import classify
from stzoo.inference.views import predict_views
from stzoo.layers.network import Network


def scores(model, video, clips=20, rng=None):
    """Computes the class probabilities of a video, averaged over some of its clips.

    Args:
        model: a model of the zoo.
        video: path of a video, or uint8 array `(frames, height, width, 3)`, RGB.
        clips: int, number of clips with a center crop (20 in Section 5.1).
        rng: `np.random.Generator` for random clips, one from each part of the video;
            `None` for the middle of each part.

    Returns:
        float32 array `(classes,)`.
    """
    return classify(model, _clips(video, model.stzoo.clip, clips, rng)).mean(0)


def features(model, videos, clips=20, rng=None, layer="avgpool"):
    """Computes the features of videos, averaged over some clips of each.

    Args:
        model: a model of the zoo.
        videos: sequence of videos, see `scores`.
        clips: int, number of clips of each video, with a center crop.
        rng: `np.random.Generator` for random clips, or `None` for evenly spread clips.
        layer: string, name of the layer. `"avgpool"` is the paper's pool5. Maps are
            averaged over time and space.

    Returns:
        float32 array `(videos, channels)`.
    """
    network = Network(model.input, model.get_layer(layer).output)
    rows = []
    for video in videos:
        views = _clips(video, model.stzoo.clip, clips, rng)
        answers = predict_views(network, views)
        rows.append(answers.mean(tuple(range(answers.ndim - 1)), dtype="float32"))
    return np.stack(rows)


def linear_svm(features, labels):
    """Fits a linear SVM on features (Section 5.2).

    Args:
        features: array `(videos, channels)`.
        labels: array `(videos,)`.

    Returns:
        A fitted classifier of scikit-learn, with `predict` and `score`.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import LinearSVC

    return make_pipeline(Normalizer(), LinearSVC(random_state=0)).fit(features, labels)


def similarities(first, second):
    """Computes twelve similarities of two vectors (ASLAN; inferred, see the module).

    Args:
        first: array `(..., channels)` of non-negative numbers, such as those after a
            ReLU.
        second: array of the same shape.

    Returns:
        float64 array `(..., 12)`.
    """
    if min(np.min(first), np.min(second)) < 0:
        raise ValueError(
            "The similarities of ASLAN need non-negative features, as after a ReLU. "
            f"Received: a feature of {min(np.min(first), np.min(second)):.3g}."
        )
    x, y = (_unit(np.asarray(vectors, "float64")) for vectors in (first, second))
    shared, total = np.minimum(x, y).sum(-1), x.sum(-1) + y.sum(-1)
    dot, ratio = (x * y).sum(-1), np.log((x + _TINY) / (y + _TINY))
    terms = (
        dot,
        np.sqrt(dot),
        np.sqrt(np.sqrt(x * y).sum(-1)),
        np.sqrt((x * y / (x + y + _TINY)).sum(-1)),
        dot / np.sqrt((x**2).sum(-1) * (y**2).sum(-1) + _TINY),
        np.sqrt(((x - y) ** 2 / (x + y + _TINY)).sum(-1)),
        abs(x - y).sum(-1),
        np.sqrt(((np.sqrt(x) - np.sqrt(y)) ** 2).sum(-1)),
        (x * ratio).sum(-1),
        (-y * ratio).sum(-1),
        shared / total,
        shared / (x.sum(-1) * y.sum(-1)),
    )
    return np.stack(terms, axis=-1)


_TINY = 1e-12


def action_similarity(first, second, same, folds=10):
    """Evaluates an SVM on similarities that decides whether two actions are the same.

    Args:
        first: array `(pairs, channels)`, features of the first video of each pair, or a
            list of such arrays from several layers, whose similarities are
            concatenated.
        second: the same for the second video of each pair.
        same: bool array `(pairs,)`.
        folds: int, number of folds of a cross-validation (10 in ASLAN), or an int array
            `(pairs,)`, the fold of each pair. Folds must not share videos or actions.

    Returns:
        Dict: `"accuracy"`, the mean over the folds, and `"auc"`, the area under the
        ROC curve of all pairs.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import PredefinedSplit, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    if isinstance(first, np.ndarray):
        first, second = [first], [second]
    same = np.asarray(same, bool)
    x = np.concatenate(
        [similarities(*pair) for pair in zip(first, second, strict=True)], -1
    )
    if np.ndim(folds) == 0:
        parts = StratifiedKFold(folds, shuffle=True, random_state=0).split(x, same)
    else:
        parts = PredefinedSplit(folds).split()
    accuracies, margins = [], np.empty(len(same))
    for train, test in parts:
        svm = make_pipeline(StandardScaler(), LinearSVC(random_state=0))
        margins[test] = svm.fit(x[train], same[train]).decision_function(x[test])
        accuracies.append(np.mean((margins[test] > 0) == same[test]))
    return {
        "accuracy": float(np.mean(accuracies)),
        "auc": float(roc_auc_score(same, margins)),
    }


def _clips(video, clip, clips, rng):
    if isinstance(video, np.ndarray):
        return Views(video, clip, f"{clips}x1", rng)
    with open_video(video) as frames:
        return Views(frames, clip, f"{clips}x1", rng)


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)
