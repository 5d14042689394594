"""Explanations of a model and of a video, written as files to a folder."""

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stzoo.data import datasets, files, folders, motions
from stzoo.data.decoders import open_video
from stzoo.data.views import clip_views
from stzoo.data.writer import write_video
from stzoo.explain.contributions import contributions, operators
from stzoo.explain.saliency import overlay, saliency
from stzoo.inference.predict import classify, decode_predictions
from stzoo.visualize import contributions as plots
from stzoo.visualize.filmstrip import filmstrip
from stzoo.writer import write

logger = logging.getLogger("stzoo")
BATCH = 8  # clips at a time
WITHIN = 8  # frames of the film for each segment of a video


def of_network(
    model, folder, source=None, layer=None, workers=4, progress=iter, **reading
):
    """Writes the share of each weighted term of the operators of a model.

    It writes `contributions.csv` and, if matplotlib is installed, `by_layer.png` and
    `by_channel.png`. If the classes of the videos are known, it also writes
    `by_class.png`.

    Args:
        model: a model of the zoo.
        folder: path. It is created if it does not exist.
        source: a folder or a list of videos, see `stzoo.data.datasets.read`. The middle
            clip of each video is used. `None` for CoST of variant `"a"`.
        layer: string, the operator whose channels are drawn. Defaults to the last one.
        workers: int, number of decoding threads.
        progress: function that wraps the sequence of batches, for a progress bar.
        **reading: arguments of `datasets.read`. With `skip=True`, videos that cannot be
            decoded are also logged and skipped.

    Returns:
        `stzoo.explain.contributions.Contributions`, and the list of paths of the files.

    Raises:
        OSError: there is no such file.
        ValueError: the model has no such operator, the classes of the videos are not
            those of the model, or a video cannot be decoded. `datasets.read` and
            `contributions` raise it for other reasons.
    """
    known = [operator.name for operator in operators(model)]
    if layer not in (None, *known):
        raise ValueError(
            f"{model.name} has no coefficients in {layer!r}. Choose one of "
            f"{', '.join(known)}."
        )
    data = None
    if source is not None:
        videos = _of_model(datasets.read(source, **reading), source, model.stzoo)
        skip = reading.get("skip", False)
        data = _batches(videos, model.stzoo.clip, skip, workers, progress)
    found = contributions(model, data)
    contents = {"contributions.csv": found.to_csv().encode()}
    if find_spec("matplotlib"):
        contents["by_layer.png"] = plots.by_layer(found)
        contents["by_channel.png"] = plots.by_channel(found, layer)
        if found.classes:
            contents["by_class.png"] = plots.by_class(found)
    else:
        logger.warning('No plots were drawn. Run `pip install "stzoo[plots]"` first.')
    write(Path(folder), contents)
    return found, [Path(folder) / name for name in contents]


def of_video(model, folder, video, layer=None, label=None):
    """Writes the saliency of a video for a class, as a filmstrip and a film.

    It writes `NAME_saliency.png`, with the frames of the middle clip of the video,
    their saliency, and the five most probable classes, and `NAME_saliency.mp4`, the
    same as a film with all frames in between, at the speed of the video.

    Args:
        model: a model of the zoo.
        folder: path. It is created if it does not exist.
        video: path of a video, or of a folder of frames.
        layer: string, see `stzoo.explain.saliency.saliency`.
        label: string, the class to explain. Defaults to the most probable one. The
            classes of a model without labels are called `"class 0"`, `"class 1"`...

    Returns:
        Tuple of a title, the predictions as a list of tuples `(label, probability)`,
        and the list of paths of the files.

    Raises:
        OSError: there is no such file.
        ValueError: the file is not a video, or the model has no such class. `saliency`
            raises it for other reasons.
    """
    config = model.stzoo
    labels = config.class_names
    if label not in (None, *labels):
        shown = ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
        raise ValueError(
            f"{label!r} is not one of the {len(labels)} classes of {config.name}: "
            f"{shown}."
        )
    dense = config.clip.sampling == "dense"
    between = config.clip.stride if dense else WITHIN
    with open_video(video) as opened:
        clips = clip_views(opened, config.clip)
        frames = clips.shape[1] * between
        film = dataclasses.replace(config.clip, frames=frames, stride=1)
        shown = clip_views(opened, film)[0]
        fps = getattr(opened, "fps", motions.FPS)
        fps *= 1 if dense else frames / len(opened)
    probabilities = classify(model, clips)[0]
    number = labels.index(label) if label else int(probabilities.argmax())
    maps = saliency(model, clips, layer, [number])[0]

    folder, name = Path(folder), Path(video).stem
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}_saliency{suffix}" for suffix in (".png", ".mp4")]
    title = f"{Path(video).name}: saliency for {labels[number]} in {config.name}"
    if layer:
        title += f", at {layer}"
    if not maps.any():
        title += " (nothing)"
    answers = decode_predictions(probabilities, config, top=5, threshold=0.0)
    strip = np.concatenate([clips[0], overlay(clips[0], maps)], axis=1)
    filmstrip(strip, answers, paths[0], title)
    write_video(paths[1], _enlarged(overlay(shown, maps.repeat(between, 0))), fps)
    return title, answers, paths


def is_video(source):
    """Returns whether a path is one video: a file, or a folder of frames."""
    return files.is_video(source) or folders.is_folder_of_frames(source)


def _of_model(videos, source, config):
    """Returns videos whose labels are the class indices of a model.

    Classes are matched by name, or by number in a list of numbers. If the model has no
    names, they are matched by their order. Several labels of a video are left out.
    """
    if videos.multi_label:
        logger.info("A video can have several labels, so classes are not compared.")
        return dataclasses.replace(videos, labels=(), multi_label=False)
    names = config.labels
    if not names and len(videos.classes) == config.classes:
        names = videos.classes
    numbers = {str(number): number for number in range(config.classes)}
    numbers |= {name: number for number, name in enumerate(names)}
    if unknown := [name for name in videos.classes if name not in numbers]:
        raise ValueError(
            f"{source} has {len(videos.classes)} classes, {config.name} has "
            f"{config.classes}, and {unknown[0]!r} is not one of them. Choose videos "
            "of the classes of the model."
        )
    labels = tuple(numbers[videos.classes[label]] for label in videos.labels)
    return dataclasses.replace(videos, labels=labels)


def _batches(videos, clip, skip, workers, progress):
    """Yields batches of clips, with labels if they are known, and prefetches one."""

    def decode(row):
        try:
            with open_video(videos.paths[row]) as video:
                return clip_views(video, clip)[0], row
        except (OSError, ValueError) as error:
            if not skip:
                raise
            logger.warning("Skipped: %s", error)

    size = BATCH if clip.height else 1  # without a height, sizes can differ
    starts = range(0, len(videos), size)
    with ThreadPoolExecutor(workers) as pool:

        def submit(start):
            return pool.map(decode, range(len(videos))[start : start + size])

        ahead = submit(0)
        for start in progress(starts):
            decoded, ahead = [one for one in ahead if one], submit(start + size)
            if decoded:
                clips, rows = zip(*decoded, strict=True)
                labels = [videos.labels[row] for row in rows] if videos.labels else None
                yield np.stack(clips), labels


def _enlarged(frames):
    """Enlarges frames to about 256 pixels or more, with the even size H.264 needs."""
    scale = max(1, round(256 / frames.shape[1]))
    frames = frames.repeat(scale, 1).repeat(scale, 2)
    odd = [(0, size % 2) for size in frames.shape[1:3]]
    return np.pad(frames, [(0, 0), *odd, (0, 0)], "edge")
