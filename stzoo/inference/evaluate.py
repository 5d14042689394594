"""How good a model is on videos whose classes are known."""

import csv
import dataclasses
import io
import json
import logging
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from stzoo.data.files import printable
from stzoo.data.reading import Reading
from stzoo.inference import metrics
from stzoo.inference.parts import Job, compute_parts, describe, read_part
from stzoo.inference.predict import classify, record_of
from stzoo.inference.views import map_videos
from stzoo.visualize import results as plots
from stzoo.writer import write

logger = logging.getLogger("stzoo")


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
        sha256: string, hash of the weights that the model was loaded with, or empty.
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
    sha256: str = ""

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
    num_workers=4,
    progress=iter,
    engine="local",
    sample_fps=None,
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
        num_workers: int, number of threads that decode.
        progress: function that takes a sequence of what is to be done and yields it,
            for a progress bar.
        engine: `"local"`, or `"ray"` for a Ray cluster, see
            `stzoo.inference.extract`. That needs a folder.
        sample_fps: float, see `stzoo.predict`.

    Returns:
        `Evaluation`. A video that cannot be decoded is counted and named in `failed`.

    Raises:
        ValueError: the classes are not those of the model, or no video could be
            decoded.
    """
    config = record_of(model)
    _check_classes(videos, config)
    reading = Reading(views, num_workers, sample_fps=sample_fps)
    probabilities = partial(classify, model)
    if folder is None and engine != "local":
        raise ValueError(f"engine={engine!r} computes parts: it needs a folder.")
    if folder is None:
        paths = progress(videos.paths)
        found = map_videos(probabilities, paths, config.clip, reading)
        rows, errors = zip(*found, strict=True)
    else:
        run = describe(model, layer="probabilities")
        job = Job(probabilities, config.classes, config.clip, reading, run)
        compute_parts(job, videos, folder, engine=engine, progress=progress)
        rows, errors = _read_parts(folder)
    measured = _measured(config.name, views, videos, rows, errors)
    return dataclasses.replace(measured, sha256=config.sha256)


def _check_classes(videos, config):
    """Raises a `ValueError` unless the videos have the classes of the model."""
    if not videos.labels:
        raise ValueError("The videos have no classes, so nothing can be measured.")
    if tuple(videos.classes) != (config.labels or tuple(videos.classes)):
        raise ValueError(
            "The classes of the videos are not those of the model, in its order. Read "
            "the videos with classes=model.stzoo.labels. Videos: "
            f"{_start(videos.classes)}. Model: {_start(config.labels)}."
        )
    if len(videos.classes) != config.classes:
        raise ValueError(
            f"The videos are of {len(videos.classes)} classes, the model of "
            f"{config.classes}."
        )


def _read_parts(folder):
    """The rows and the errors of all parts in a folder."""
    read = [read_part(part) for part in sorted(Path(folder).glob("part-*.npz"))]
    errors = [error for _, _, errors in read for error in errors]
    return np.concatenate([rows for _, rows, _ in read]), errors


def _measured(name, views, videos, rows, errors):
    """The evaluation of the videos that were decoded."""
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
    matrix = metrics.confusion(scores.argmax(-1), labels, len(videos.classes))
    classes = _by_class(videos.classes, scores, labels, matrix)
    known = [row for row in classes if row["videos"]]
    return Evaluation(
        name,
        views,
        len(labels),
        failed,
        top1=metrics.top_k(scores, labels),
        top5=metrics.top_k(scores, labels, 5),
        mean_class_accuracy=float(np.mean([row["accuracy"] for row in known])),
        mean_average_precision=float(
            np.mean([row["average_precision"] for row in known])
        ),
        classes=classes,
        confusion=matrix,
    )


def _by_class(names, scores, labels, matrix):
    """The rows of `Evaluation.classes`."""
    accuracy = metrics.class_accuracy(matrix)
    precision = metrics.average_precision(scores, labels)
    wrong = matrix - np.diag(np.diag(matrix))
    known = matrix.sum(1) > 0
    return [
        {
            "label": name,
            "videos": int(matrix[i].sum()),
            "accuracy": float(accuracy[i]) if known[i] else None,
            "average_precision": float(precision[i]) if known[i] else None,
            "mistaken_for": names[wrong[i].argmax()] if wrong[i].any() else None,
        }
        for i, name in enumerate(names)
    ]


def _start(names):
    return ", ".join(names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")
