"""Linear probing: a linear classifier on the features of a model.

The network does not change. Its features are computed once and stored. A logistic
regression is fitted to them and becomes the head of the model. This takes a minute
where fine-tuning takes an hour.
"""

import dataclasses
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stzoo import writer
from stzoo.data.files import printable
from stzoo.data.reading import Reading
from stzoo.data.splits import find_groups
from stzoo.inference import metrics
from stzoo.inference.extract import extract
from stzoo.inference.parts import read_part
from stzoo.inference.predict import softmax
from stzoo.layers.ends import HEAD
from stzoo.training.finetune import check_classes
from stzoo.weights import checkpoint

STRENGTHS = tuple(10.0**power for power in range(-5, 4))  # C of scikit-learn
FOLDS = 5
STEPS = 2000  # of L-BFGS at most
CONFIDENCE = 1.96  # standard deviations of a normal distribution: 95 %


@dataclass(frozen=True)
class Probe:
    """The result of a linear probe. Shares are from 0 to 1.

    Attributes:
        model: string, the model whose features were used.
        videos: int, number of videos that were decoded.
        failed: list of dicts with `video` and `error`, the videos that were not.
        accuracy: float, accuracy in a cross-validation: each video is classified by a
            classifier that was fitted without it, and without the other videos of the
            same person or source if their names show it.
        interval: tuple of two floats, the 95 % confidence interval of `accuracy`
            (Wilson).
        baseline: float, share of the largest class, the accuracy of always guessing it.
        strength: float, the inverse strength of the regularisation (`C` of
            scikit-learn), chosen by the cross-validation.
        folds: int, number of folds of the cross-validation.
        classes: list of dicts: `label`, `videos`, `accuracy`.
        validation: float, accuracy on the validation videos, or `None`.
    """

    model: str
    videos: int
    failed: list
    accuracy: float
    interval: tuple[float, float]
    baseline: float
    strength: float
    folds: int
    classes: list
    validation: float | None = None

    @property
    def advice(self):
        """Says in a sentence whether fine-tuning is worth a try."""
        low, high = (100 * share for share in self.interval)
        if low >= 95:
            return (
                f"At most {100 - low:.0f} of 100 videos are wrong (95 % confidence), "
                "so fine-tuning can gain little."
            )
        if high <= 100 * self.baseline + 5:
            return (
                "This is hardly better than guessing. Check the labels, choose another "
                "model, or fine-tune with more videos."
            )
        return (
            f"Between {100 - high:.0f} and {100 - low:.0f} of 100 videos are wrong "
            "(95 % confidence), so fine-tuning is worth a try."
        )


def probe(
    model,
    train,
    folder,
    validation=None,
    views="3x1",
    *,
    reading=Reading(),
    progress=iter,
):
    """Fits a linear classifier to the features of a model.

    The features are written to `folder`, in parts of 256 videos, and an interrupted
    call resumes. The model with its new head is written there too, and is a model like
    any other: `stzoo.load(folder)`.

    Args:
        model: a model of the zoo, built with `classes=len(train.classes)`. Its head is
            replaced in place.
        train: `stzoo.data.datasets.Videos`, with at least two classes.
        folder: path. It is created if it does not exist.
        validation: `stzoo.data.datasets.Videos` with the same classes, or `None`.
        views: string, clips x crops, whose features are averaged.
        reading: `stzoo.data.reading.Reading`, how videos are read.
        progress: function that takes the list of parts to be computed and yields them,
            for a progress bar.

    Returns:
        `Probe`. It is also written as `probe.json`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: the classes do not fit, a class has no video that can be decoded, or
            the folder holds something else.

    Example:

    ```python
    train = stzoo.read_videos("videos/train")
    model = stzoo.tsm_resnet50(len(train.classes), pretrained="kinetics400")
    found = stzoo.probe(model, train, "runs/probe")
    found.accuracy, found.advice
    ```
    """
    _check(model, train, validation)
    folder, how = Path(folder), dict(views=views, reading=reading, progress=progress)
    features, is_read, failed = _features(model, train, folder / "features", how)
    labels, groups = np.array(train.labels)[is_read], _groups(train)[is_read]
    fitted = fit_linear(features, labels, len(train.classes), groups)
    found = Probe(
        model.stzoo.base_model or model.stzoo.name,
        len(labels),
        failed,
        fitted.accuracy,
        wilson(fitted.accuracy, len(labels)),
        float(np.bincount(labels).max() / len(labels)),
        fitted.strength,
        fitted.folds,
        _by_class(fitted.answers, labels, train.classes),
    )
    if validation:
        rows, known, _ = _features(model, validation, folder / "validation", how)
        wanted = np.array(validation.labels)[known]
        share = metrics.top_k(fitted.logits(rows), wanted)
        found = dataclasses.replace(found, validation=share)
    _save(model, train, folder, fitted, found)
    return found


def _check(model, train, validation):
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ImportError(
            'A probe needs scikit-learn: `pip install "stzoo[svm]"`.'
        ) from None
    if train.multi_label:
        raise ValueError(
            "A probe is for one label a video, but these videos can have several. "
            "Fine-tune the head instead: `dataclasses.replace(recipe, "
            'freeze="backbone")`, or `stzoo finetune --freeze backbone`.'
        )
    if not train.labels or len(set(train.labels)) < 2:
        raise ValueError(
            "A probe needs videos of at least two classes. Received: "
            f"{len(set(train.labels))} classes."
        )
    check_classes(model, train, validation)


def _features(model, videos, folder, how):
    """Returns the features of the decoded videos, their mask, and the failed ones."""
    layer = features_layer(model)
    manifest = extract(model, videos, folder, layer, **how)
    parts = [read_part(folder / name) for name in manifest["parts"]]
    features = np.concatenate([rows for _, rows, _ in parts])
    is_read = ~np.isnan(features).any(1)
    labels = np.array(videos.labels)
    if missing := set(labels) - set(labels[is_read]):
        names = ", ".join(repr(videos.classes[label]) for label in sorted(missing))
        raise ValueError(
            f"No video of {names} can be decoded. {manifest['failed'][0]['error']}"
        )
    return features[is_read], is_read, manifest["failed"]


def _groups(videos):
    """Returns the group of each video for the cross-validation."""
    try:
        return np.array(find_groups(videos))
    except ValueError:  # the names show no groups
        return np.arange(len(videos))


def features_layer(model):
    """Returns the name of the layer before the head of a model."""
    inputs = model.get_layer(HEAD).input
    (name,) = (
        layer.name
        for layer in model.layers
        if layer.name != HEAD and layer.output is inputs
    )
    return name


@dataclass(frozen=True)
class Fitted:
    """A linear classifier and its result in the cross-validation.

    Attributes:
        kernel: float64 array `(features, classes)`.
        bias: float64 array `(classes,)`.
        strength: float, `C` of scikit-learn.
        folds: int.
        answers: int array `(videos,)`, the class of each video in the
            cross-validation.
        accuracy: float, the share of `answers` that are right.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    folds: int
    answers: np.ndarray
    accuracy: float

    def logits(self, features):
        return features @ self.kernel + self.bias


def fit_linear(features, labels, classes, groups):
    """Fits a logistic regression, with a strength chosen by cross-validation.

    Args:
        features: float array `(videos, features)`.
        labels: int array `(videos,)`, from 0.
        classes: int, number of classes. A class without videos is never predicted.
        groups: array `(videos,)`. The cross-validation has no group on both sides.

    Returns:
        `Fitted`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    counts = np.bincount(labels)
    folds = min(FOLDS, max(2, counts[counts > 0].min()), len(set(groups)))
    split = StratifiedGroupKFold(int(folds), shuffle=True, random_state=0)
    best = None
    with warnings.catch_warnings():  # a class with fewer videos than folds
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(split.split(features, labels, groups))
    for strength in STRENGTHS:
        logits = np.full((len(labels), classes), -np.inf)
        for fit, rest in parts:
            kernel, bias = _regression(features[fit], labels[fit], classes, strength)
            logits[rest] = features[rest] @ kernel + bias
        shares = softmax(logits)[np.arange(len(labels)), labels]
        loss = -np.log(np.maximum(shares, 1e-6)).mean()
        if best is None or loss < best[0]:
            best = loss, strength, logits.argmax(1)
    _, strength, answers = best
    kernel, bias = _regression(features, labels, classes, strength)
    accuracy = float(np.mean(answers == labels))
    return Fitted(kernel, bias, strength, int(folds), answers, accuracy)


def _regression(features, labels, classes, strength):
    """Fits a logistic regression to standardised features. Returns kernel and bias."""
    from sklearn.linear_model import LogisticRegression

    features = features.astype("float64")
    mean, deviation = features.mean(0), features.std(0)
    deviation[deviation < 1e-12] = 1.0  # a feature that never changes
    known = np.unique(labels)
    kernel = np.zeros((features.shape[1], classes))
    bias = np.full(classes, -1e4)
    if len(known) == 1:
        bias[known] = 0
        return kernel, bias
    model = LogisticRegression(C=strength, max_iter=STEPS)
    model.fit((features - mean) / deviation, labels)
    rows, offsets = model.coef_, model.intercept_
    if len(known) == 2:  # one row tells both
        rows = np.concatenate([-rows, rows]) / 2
        offsets = np.concatenate([-offsets, offsets]) / 2
    kernel[:, known] = rows.T / deviation[:, None]
    bias[known] = offsets - mean @ kernel[:, known]
    return kernel, bias


def wilson(share, count):
    """Computes the 95 % confidence interval of a share (Wilson, 1927).

    Args:
        share: float from 0 to 1.
        count: int, sample size.

    Returns:
        Tuple of two floats from 0 to 1.
    """
    square = CONFIDENCE**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = (
        CONFIDENCE
        * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
        / (1 + square / count)
    )
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _by_class(answers, labels, names):
    matrix = metrics.confusion(answers, labels, len(names))
    return [
        {
            "label": name,
            "videos": int(count),
            "accuracy": None if np.isnan(share) else float(share),
        }
        for name, count, share in zip(
            names, matrix.sum(1), metrics.class_accuracy(matrix), strict=True
        )
    ]


def _save(model, train, folder, fitted, found):
    """Saves the model with its new head, and the result."""
    kernel, bias = model.get_layer(HEAD).weights
    kernel.assign(fitted.kernel)
    bias.assign(fitted.bias)
    training = {
        "recipe": "probe: a logistic regression on the features",
        "videos": found.videos,
        "cross_validated_accuracy": round(found.accuracy, 4),
    }
    checkpoint.save(model, folder, train.classes, training=training)
    text = json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False)
    writer.write(folder, {"probe.json": (printable(text) + "\n").encode()})
