"""Evaluates models on labelled videos."""

import csv
import dataclasses
import io
import json
import logging
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stzoo.data.decoders import open_video
from stzoo.data.files import printable
from stzoo.data.reading import Reading
from stzoo.inference import metrics
from stzoo.inference.network import runs_on
from stzoo.inference.parts import Job, compute_parts, describe, read_part
from stzoo.inference.predict import classify, record_of, thresholds_of
from stzoo.inference.views import map_videos
from stzoo.visualize import results as plots
from stzoo.visualize.filmstrip import contact_sheet
from stzoo.writer import write

logger = logging.getLogger("stzoo")
SHARES = ("precision", "recall", "f1")
MISTAKE = ("video", "label", "answer", "probability")
SHOWN = 24  # mistakes in the picture
SIDE = 240  # pixels of the shorter side of their frames


def _decoder():
    import av

    return f"av {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def _of_keras(index, nothing):
    """Returns what computes models of Keras, where it is imported."""
    return runs_on(None)[index] if "keras" in sys.modules else nothing


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation. Accuracies are from 0 to 1.

    Args:
        model: string, the builder and the tag of the weights.
        views: string, clips x crops.
        videos: int, number of decoded videos. The results are for these videos.
        failed: list of dicts with `video` and `error`, the videos that could not be
            decoded.
        top1: float, top-1 accuracy. With `multi_label`, this and the accuracies below
            are `None`.
        top5: float, top-5 accuracy.
        mean_class_accuracy: float, mean of the accuracies of the classes.
        mean_average_precision: float, mean of the average precisions of the classes
            that have videos, see `stzoo.inference.metrics.average_precision`.
        classes: list of dicts, one for each class: `label`, `videos`, `accuracy`,
            `average_precision` (both `None` without videos), and `mistaken_for`, the
            most frequent wrong prediction, or `None`. With `multi_label`: `label`,
            `videos`, `average_precision`, `precision`, `recall`, `f1` (`None` without
            videos) and `threshold`.
        confusion: int array `(classes, classes)`. Rows are labels, columns are
            predictions. `None` with `multi_label`.
        decoder: string, name and version of the decoder.
        backend: string, the backend of Keras, or the package that runs an exported
            model.
        versions: dict from package to version.
        sha256: string, hash of the loaded weights, or empty.
        multi_label: bool, whether a video can have several labels.
        macro: dict, for `multi_label`: the means of `precision`, `recall` and `f1` over
            the classes that have videos, at the thresholds of the model.
        micro: dict, for `multi_label`: `precision`, `recall` and `f1` over all pairs of
            a video and a class.
        mistakes: list of dicts with `video`, `label`, `answer` and `probability`, the
            wrongly answered videos. The most confident mistakes are first. Empty with
            `multi_label`.
    """

    model: str
    views: str
    videos: int
    failed: list
    top1: float | None
    top5: float | None
    mean_class_accuracy: float | None
    mean_average_precision: float
    classes: list
    confusion: np.ndarray | None
    decoder: str = field(default_factory=_decoder)
    backend: str = field(default_factory=partial(_of_keras, 0, ""))
    versions: dict = field(default_factory=partial(_of_keras, 1, {}))
    sha256: str = ""
    multi_label: bool = False
    macro: dict = field(default_factory=dict)
    micro: dict = field(default_factory=dict)
    mistakes: list = field(default_factory=list)

    def save(self, folder):
        """Writes the results to a folder.

        The files are `evaluation.json`, `classes.csv`, and, for one label a video,
        `confusion.png`, `mistakes.csv` and `mistakes.png`. The last one shows the
        middle frames of the 24 most confident mistakes, and is not written if there are
        none. It and `mistakes.csv` are never published. Without matplotlib (the extra
        `plots`), `confusion.png` is not written, and a warning is logged.

        Args:
            folder: path. It is created if it does not exist.
        """
        values = dataclasses.asdict(self)
        values.pop("mistakes")  # its paths are not for others
        if not self.multi_label:
            values["confusion"] = self.confusion.tolist()
        text = json.dumps(values, indent=1, ensure_ascii=False)
        files = {
            "evaluation.json": (printable(text) + "\n").encode(),
            "classes.csv": _table(self.classes[0], self.classes),
        }
        if not self.multi_label:
            files |= self._pictures()
            files["mistakes.csv"] = _table(MISTAKE, self.mistakes)
        write(Path(folder), files)
        if "mistakes.png" not in files:  # that of an earlier evaluation
            (Path(folder) / "mistakes.png").unlink(missing_ok=True)

    def _pictures(self):
        """Returns the pictures of an evaluation of one label a video."""
        files = {}
        if self.mistakes:
            shown = self.mistakes[:SHOWN]
            frames = [_middle(row["video"]) for row in shown]
            files["mistakes.png"] = contact_sheet(frames, list(map(_caption, shown)))
        if find_spec("matplotlib"):
            labels = [printable(row["label"]) for row in self.classes]
            files["confusion.png"] = plots.confusion(self.confusion, labels)
        else:
            logger.warning(
                "confusion.png was not written, because matplotlib is not installed. "
                'Install it with `pip install "stzoo[plots]"`.'
            )
        return files


def _table(columns, rows):
    """Returns a table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return printable(text.getvalue()).encode()


def _middle(path):
    """Returns the middle frame of a video, or `None` if it cannot be read."""
    try:
        with open_video(path) as video:
            return video.read([len(video) // 2], SIDE)[0]
    except (OSError, ValueError):  # it was moved after the evaluation
        return None


def _caption(row):
    label, answer = printable(row["label"]), printable(row["answer"])
    return f"{label}\nanswer {100 * row['probability']:.0f} %: {answer}"


def evaluate(
    model,
    videos,
    views="1x1",
    folder=None,
    *,
    reading=Reading(),
    engine="local",
    progress=iter,
):
    """Evaluates a model on labelled videos.

    Args:
        model: a model of the zoo.
        videos: `stzoo.data.datasets.Videos` with the classes of the model, in the same
            order: `stzoo.read_videos(..., classes=model.stzoo.labels)`.
        views: string, clips x crops. Their probabilities are averaged. The papers use
            `"10x3"`.
        folder: path of a folder for the probabilities of each video, see
            `stzoo.extract`. An interrupted evaluation resumes with the same folder.
            `None`: they are not saved.
        reading: `stzoo.data.reading.Reading`, how videos are read: the number of
            threads, the decoder, and the frame rate.
        engine: `"local"`, or `"ray"` for a Ray cluster, see `stzoo.extract`. Ray needs
            a folder.
        progress: function that takes a sequence and yields its items, for a progress
            bar.

    Returns:
        `Evaluation`. Videos that cannot be decoded are in `failed`.

    Raises:
        ValueError: the classes are not those of the model, or no video can be decoded.

    Example:

    ```python
    videos = stzoo.read_videos("videos/test", classes=model.stzoo.labels)
    found = stzoo.evaluate(model, videos, views="10x3")
    ```
    """
    config = record_of(model)
    _check_classes(videos, config)
    probabilities = partial(classify, model)
    if folder is None and engine != "local":
        raise ValueError(f"engine={engine!r} needs a folder. Pass folder=...")
    if folder is None:
        paths = progress(videos.paths)
        found = map_videos(probabilities, paths, config.clip, views, reading)
        rows, errors = zip(*found, strict=True)
    else:
        kind = "probabilities of several labels"
        run = describe(model, layer=kind if config.multi_label else "probabilities")
        job = Job(probabilities, config.classes, config.clip, reading, run, views)
        compute_parts(job, videos, folder, engine=engine, progress=progress)
        rows, errors = _read_parts(folder)
    thresholds = thresholds_of(config)
    measured = _measured(config.name, views, videos, rows, errors, thresholds)
    backend, versions = runs_on(model)
    known = {"backend": backend, "versions": versions, "sha256": config.sha256}
    return dataclasses.replace(measured, **known)


def _check_classes(videos, config):
    """Raises a `ValueError` unless the videos have the classes of the model."""
    if not videos.labels:
        raise ValueError("The videos have no labels, so a model cannot be evaluated.")
    if videos.multi_label != config.multi_label:
        kinds = ("one label", "several labels")
        raise ValueError(
            f"{config.name} gives {kinds[config.multi_label]} to a video, but the "
            f"videos have {kinds[videos.multi_label]}. Read them with "
            f"multi_label={config.multi_label} "
            f"(--{'multi' if config.multi_label else 'single'}-label)."
        )
    if tuple(videos.classes) != (config.labels or tuple(videos.classes)):
        raise ValueError(
            "The classes of the videos must be those of the model, in the same order. "
            "Read the videos with classes=model.stzoo.labels. Videos: "
            f"{_start(videos.classes)}. Model: {_start(config.labels)}."
        )
    if len(videos.classes) != config.classes:
        raise ValueError(
            f"The videos have {len(videos.classes)} classes, but the model has "
            f"{config.classes}."
        )


def _read_parts(folder):
    """Reads the rows and the errors of all parts in a folder."""
    read = [read_part(part) for part in sorted(Path(folder).glob("part-*.npz"))]
    errors = [error for _, _, errors in read for error in errors]
    return np.concatenate([rows for _, rows, _ in read]), errors


def _measured(name, views, videos, rows, errors, thresholds=None):
    """Computes the evaluation of the decoded videos."""
    right = [number for number, error in enumerate(errors) if not error]
    failed = [
        {"video": path, "error": error}
        for path, error in zip(videos.paths, errors, strict=True)
        if error
    ]
    if not right:
        raise ValueError(
            f"No video could be decoded. The first error: {failed[0]['error']}"
        )
    scores = np.stack([rows[number] for number in right])
    labels = np.array(videos.labels)[right]
    known = name, views, len(labels), failed
    if videos.multi_label:
        return _of_several(known, videos.classes, scores, labels, thresholds)
    matrix = metrics.confusion(scores.argmax(-1), labels, len(videos.classes))
    classes = _by_class(videos.classes, scores, labels, matrix)
    seen = [row for row in classes if row["videos"]]
    return Evaluation(
        *known,
        top1=metrics.top_k(scores, labels),
        top5=metrics.top_k(scores, labels, 5),
        mean_class_accuracy=float(np.mean([row["accuracy"] for row in seen])),
        mean_average_precision=float(
            np.mean([row["average_precision"] for row in seen])
        ),
        classes=classes,
        confusion=matrix,
        mistakes=_mistakes(videos, right, scores),
    )


def _mistakes(videos, rows, scores):
    """Returns the rows of `Evaluation.mistakes`."""
    found = []
    for number, row in zip(rows, scores, strict=True):
        label, answer = videos.labels[number], int(row.argmax())
        if label != answer:
            names = videos.classes[label], videos.classes[answer]
            values = videos.paths[number], *names, float(row[answer])
            found.append(dict(zip(MISTAKE, values, strict=True)))
    return sorted(found, key=lambda row: -row["probability"])


def _of_several(known, names, scores, labels, thresholds):
    """Computes the evaluation for several labels a video."""
    if not labels.any():
        raise ValueError(
            "No decoded video has a label, so there is nothing to measure."
        )
    answers = scores >= thresholds.astype(scores.dtype)
    shares = dict(zip(SHARES, metrics.precision_recall(answers, labels), strict=True))
    every = metrics.precision_recall(answers.reshape(-1, 1), labels.reshape(-1, 1))
    columns = {"average_precision": metrics.average_precision(scores, labels), **shares}
    classes = [
        {"label": name, "videos": int(labels[:, i].sum())}
        | {key: _number(values[i]) for key, values in columns.items()}
        | {"threshold": float(thresholds[i])}
        for i, name in enumerate(names)
    ]
    return Evaluation(
        *known,
        **dict.fromkeys(("top1", "top5", "mean_class_accuracy", "confusion")),
        mean_average_precision=float(np.nanmean(columns["average_precision"])),
        classes=classes,
        multi_label=True,
        macro={key: float(np.nanmean(values)) for key, values in shares.items()},
        micro={key: float(*one) for key, one in zip(SHARES, every, strict=True)},
    )


def _number(value):
    return None if np.isnan(value) else float(value)


def _by_class(names, scores, labels, matrix):
    """Computes the rows of `Evaluation.classes`."""
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
