"""From a model and videos to answers, and to how good they are."""

import csv
import dataclasses
import io
import json
import logging
import os
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from stzoo.data.decoders import open_video
from stzoo.data.files import printable
from stzoo.data.transforms import Views
from stzoo.data.video import Video
from stzoo.inference import extract as extraction
from stzoo.inference import metrics
from stzoo.visualize import results as plots
from stzoo.weights.checkpoint import write

logger = logging.getLogger("stzoo")


def predict(model, video, top=5, views="1x1"):
    """The most probable classes of a video.

    Args:
        model: a model of the zoo. Its `stzoo` record says how videos are prepared.
        video: path or URL of a video or of a folder of frames, binary file object of
            a video, or uint8 array `(frames, height, width, 3)`, RGB.
        top: int, number of classes.
        views: string, clips x crops, whose probabilities are averaged; `"10x3"` is
            the protocol of the papers.

    Returns:
        List of tuples `(label, probability)`, the most probable first. A model
        without labels answers with the indices of its logits.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a video that can be read.

    Example:

    >>> model = stzoo.cost_tiny(pretrained="motions")
    >>> stzoo.predict(model, "ball.mp4", top=1)
    [('rising', 0.9...)]
    """
    about = _about(model)
    if isinstance(video, np.ndarray):
        clips = Views(video, about.clip, views)
    elif not isinstance(video, str | os.PathLike) and not hasattr(video, "read"):
        raise ValueError(
            "A video must be a path, a URL, a binary file object or a uint8 array "
            f"(frames, height, width, 3). Received: {type(video).__name__}."
        )
    else:
        opened = Video(video) if hasattr(video, "read") else open_video(video)
        with opened as frames:
            clips = Views(frames, about.clip, views)
    probabilities = classify(model, clips).mean(0)
    best = np.argsort(-probabilities, kind="stable")[:top]
    labels = about.labels or range(about.classes)
    return [(labels[i], float(probabilities[i])) for i in best]


def classify(model, clips):
    """Class probabilities of each clip.

    Args:
        model: a model from clips to logits.
        clips: `Views`, or array `(clips, frames, height, width, channels)` of 0 to 255.

    Returns:
        float32 array `(clips, classes)`.
    """
    logits = extraction.in_batches(model, clips)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _decoder():
    import av

    return f"av {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def _versions():
    return {name: version(name) for name in ("stzoo", "keras", "numpy")}


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on videos. Shares are from 0 to 1.

    Args:
        model: string, the builder and the tag of the weights.
        views: string, clips x crops whose probabilities were averaged.
        videos: int, how many were decoded; all figures are of these.
        failed: list of dicts with `video` and `error`: those that were not.
        top1: float, share of videos whose most probable class is right.
        top5: float, share of videos with the right class among five.
        mean_class_accuracy: float, mean over classes of the share of right answers.
        mean_average_precision: float, mean over classes of the average precision of
            the videos, as ActivityNet has it.
        classes: list of dicts, one for each class: `label`, `videos`, `accuracy`,
            `average_precision` (`None` without videos), and `mistaken_for`, the most
            frequent wrong answer, or `None`.
        confusion: int array `(classes, classes)`: rows are classes, columns answers.
        decoder: string, library and version that decoded.
        backend: string, of Keras.
        versions: dict from package to version.
    """

    model: str
    views: str
    videos: int
    failed: list
    top1: float
    top5: float
    mean_class_accuracy: float
    mean_average_precision: float
    classes: list
    confusion: np.ndarray
    decoder: str = field(default_factory=_decoder)
    backend: str = field(default_factory=keras.backend.backend)
    versions: dict = field(default_factory=_versions)

    def save(self, folder):
        """Writes `evaluation.json`, the table `classes.csv`, and `confusion.png`.

        Args:
            folder: path; made if it is not there. Without matplotlib (the extra
                `plots`), there is no picture, and a line of the log says so.
        """
        values = dataclasses.asdict(self) | {"confusion": self.confusion.tolist()}
        text = json.dumps(values, indent=1, ensure_ascii=False)
        table = io.StringIO()
        rows = csv.DictWriter(table, self.classes[0])
        rows.writeheader()
        rows.writerows(self.classes)
        files = {
            "evaluation.json": (printable(text) + "\n").encode(),
            "classes.csv": printable(table.getvalue()).encode(),
        }
        if find_spec("matplotlib"):
            labels = [printable(row["label"]) for row in self.classes]
            files["confusion.png"] = plots.confusion(self.confusion, labels)
        else:
            logger.warning('No confusion.png: it needs `pip install "stzoo[plots]"`.')
        write(Path(folder), files)


def evaluate(
    model,
    videos,
    views="1x1",
    folder=None,
    workers=4,
    progress=iter,
    engine="local",
):
    """Measures a model on videos whose classes are known.

    Args:
        model: a model of the zoo.
        videos: `stzoo.data.datasets.Videos`. Its classes must be those of the model,
            in its order: `datasets.read(..., classes=model.stzoo.labels)`.
        views: string, clips x crops, whose probabilities are averaged; `"10x3"` is
            the protocol of the papers.
        folder: path, where the probabilities of each video are kept in parts, see
            `stzoo.inference.extract`. An evaluation that was interrupted goes on
            from there. `None`: they are not kept.
        workers: int, number of threads that decode.
        progress: function that takes a sequence of what is to be done and yields it,
            for a progress bar.
        engine: `"local"`, or `"ray"` for a Ray cluster, see
            `stzoo.inference.extract.extract`. That needs a folder.

    Returns:
        `Evaluation`. A video that cannot be decoded is counted and named in `failed`.

    Raises:
        ValueError: the classes are not those of the model, or no video could be
            decoded.
    """
    about = _about(model)
    if not videos.labels:
        raise ValueError("The videos have no classes, so nothing can be measured.")
    if tuple(videos.classes) != (about.labels or tuple(videos.classes)):
        raise ValueError(
            "The classes of the videos are not those of the model, in its order. Read "
            "the videos with classes=model.stzoo.labels. Videos: "
            f"{_start(videos.classes)}. Model: {_start(about.labels)}."
        )
    if len(videos.classes) != about.classes:
        raise ValueError(
            f"The videos are of {len(videos.classes)} classes, the model of "
            f"{about.classes}."
        )

    if folder is None and engine != "local":
        raise ValueError(f"engine={engine!r} computes parts: it needs a folder.")

    def probabilities(clips):
        return classify(model, clips)

    if folder is None:
        paths = progress(videos.paths)
        found = extraction.over(probabilities, paths, about.clip, views, workers)
        rows, errors = zip(*found, strict=True)
    else:
        extraction.in_parts(
            *(probabilities, about.classes, {"layer": "probabilities"}, model, videos),
            *(folder, views, (0, 1), "npz", workers, progress, engine),
        )
        parts = sorted(Path(folder).glob("part-*.npz"))
        read = [extraction.read_part(part) for part in parts]
        errors = [error for _, _, errors in read for error in errors]
        rows = np.concatenate([rows for _, rows, _ in read])
    right = [number for number, error in enumerate(errors) if not error]
    failed = [
        {"video": path, "error": error}
        for path, error in zip(videos.paths, errors, strict=True)
        if error
    ]
    if not right:
        raise ValueError(f"No video could be decoded. The first: {failed[0]['error']}")
    scores = np.stack([rows[number] for number in right])
    labels = np.array(videos.labels)[right]
    return _measured(about, views, videos.classes, scores, labels, failed)


def _measured(about, views, classes, scores, labels, failed):
    matrix = metrics.confusion(scores.argmax(-1), labels, len(classes))
    accuracy = metrics.class_accuracy(matrix)
    precision = metrics.average_precision(scores, labels)
    wrong = matrix - np.diag(np.diag(matrix))
    known = matrix.sum(1) > 0
    rows = [
        {
            "label": label,
            "videos": int(matrix[i].sum()),
            "accuracy": float(accuracy[i]) if known[i] else None,
            "average_precision": float(precision[i]) if known[i] else None,
            "mistaken_for": classes[wrong[i].argmax()] if wrong[i].any() else None,
        }
        for i, label in enumerate(classes)
    ]
    return Evaluation(
        about.name,
        views,
        len(labels),
        failed,
        top1=metrics.top_k(scores, labels),
        top5=metrics.top_k(scores, labels, 5),
        mean_class_accuracy=float(accuracy[known].mean()),
        mean_average_precision=float(precision[known].mean()),
        classes=rows,
        confusion=matrix,
    )


def _about(model):
    """The record of a model of the zoo."""
    about = getattr(model, "stzoo", None)
    if about is None:
        raise ValueError(
            f"The model {model.name!r} does not say how videos are prepared for it. "
            "Build or load it with stzoo."
        )
    return about


def _start(names):
    return ", ".join(names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")
