"""What a network learned, and what it sees in a video, as files in a folder."""

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stzoo.data import datasets, files, motions
from stzoo.data.decoders import open_video
from stzoo.data.transforms import clip_views
from stzoo.data.writer import write_video
from stzoo.explain.contributions import contributions, operators
from stzoo.explain.saliency import overlay, saliency
from stzoo.inference.predict import classify, decode_predictions
from stzoo.visualize import contributions as plots
from stzoo.visualize.filmstrip import filmstrip
from stzoo.writer import write

logger = logging.getLogger("stzoo")
BATCH = 8  # clips at a time
WITHIN = 8  # frames of a film for each segment of a video


def of_network(
    model, folder, source=None, layer=None, workers=4, progress=iter, **reading
):
    """Writes the shares of what the operators of a model weigh.

    The folder gets `contributions.csv` and, if matplotlib is there, `by_layer.png`,
    `by_channel.png`, and, if the classes of the videos are known, `by_class.png`.

    Args:
        model: a model of the zoo.
        folder: path; made if it is not there.
        source: a folder or a list of videos, see `stzoo.data.datasets.read`; of each,
            the clip in the middle is taken. `None` for CoST of variant `"a"`.
        layer: string, the operator whose channels are drawn; by default the last one.
        workers: int, number of threads that decode.
        progress: function that takes a sequence of what is to be done and yields it,
            for a progress bar.
        **reading: how the list is read, arguments of `datasets.read`. With `skip=True`
            a video that cannot be decoded is logged and left out, too.

    Returns:
        `stzoo.explain.contributions.Contributions`, and the list of paths of the files.

    Raises:
        OSError: there is no such file.
        ValueError: the model has no such operator, the classes of the videos are not
            those of the model, a video cannot be decoded, or what `datasets.read` and
            `contributions` raise.
    """
    known = [operator.name for operator in operators(model)]
    if layer not in (None, *known):
        raise ValueError(
            f"{layer!r} weighs nothing in {model.name}. The layers that do: "
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
        logger.warning('No pictures: they need `pip install "stzoo[plots]"`.')
    write(Path(folder), contents)
    return found, [Path(folder) / name for name in contents]


def of_video(model, folder, video, layer=None, label=None):
    """Writes where a video shows what speaks for a class, as a filmstrip and a film.

    The folder gets `NAME_saliency.png`, the frames of the clip in the middle of the
    video, what is salient in them, and the five most probable classes, and
    `NAME_saliency.mp4`, the same with the frames of the video in between, at its speed.

    Args:
        model: a model of the zoo.
        folder: path; made if it is not there.
        video: path of a video, or of a folder of frames.
        layer: string, see `stzoo.explain.saliency.saliency`.
        label: string, the class to explain; by default the most probable one. The
            classes of a model without labels are called `"class 0"`, `"class 1"`...

    Returns:
        Tuple: a title, string; the answers, list of tuples `(label, probability)`; the
        list of paths of the files.

    Raises:
        OSError: there is no such file.
        ValueError: it is not a video, the model has no such class, or what `saliency`
            raises.
    """
    config = model.stzoo
    labels = config.class_names
    if label not in (None, *labels):
        shown = ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
        raise ValueError(
            f"{label!r} is none of the {len(labels)} classes of {config.name}: {shown}."
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
    title = f"{Path(video).name}: what speaks for {labels[number]} in {config.name}"
    if layer:
        title += f", at {layer}"
    if not maps.any():
        title += " (nothing)"
    answers = decode_predictions(probabilities, config)
    strip = np.concatenate([clips[0], overlay(clips[0], maps)], axis=1)
    filmstrip(strip, answers, paths[0], title)
    write_video(paths[1], _enlarged(overlay(shown, maps.repeat(between, 0))), fps)
    return title, answers, paths


def is_video(source):
    """Whether a path is that of one video: a file, or a folder of frames."""
    return files.is_video(source) or datasets.is_folder_of_frames(source)


def _of_model(videos, source, config):
    """Videos whose labels are numbers of the classes of a model.

    Classes are told by their name; by their number in a list of numbers; or by their
    order, where the model does not know their names.
    """
    names = config.labels
    if not names and len(videos.classes) == config.classes:
        names = videos.classes
    numbers = {str(number): number for number in range(config.classes)}
    numbers |= {name: number for number, name in enumerate(names)}
    if unknown := [name for name in videos.classes if name not in numbers]:
        raise ValueError(
            f"{source} has {len(videos.classes)} classes, {config.name} has "
            f"{config.classes}, and {unknown[0]!r} is none of them. Choose videos of "
            "the classes of the model."
        )
    labels = tuple(numbers[videos.classes[label]] for label in videos.labels)
    return dataclasses.replace(videos, labels=labels)


def _batches(videos, clip, skip, workers, progress):
    """Batches of clips, and of labels if they are known; the next one is read ahead."""

    def decode(row):
        try:
            with open_video(videos.paths[row]) as video:
                return clip_views(video, clip)[0], row
        except (OSError, ValueError) as error:
            if not skip:
                raise
            logger.warning("Left out: %s", error)

    size = BATCH if clip.height else 1  # without one, each may have a size of its own
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
    """Frames of about 256 pixels or more, and of even size, as H.264 wants it."""
    scale = max(1, round(256 / frames.shape[1]))
    frames = frames.repeat(scale, 1).repeat(scale, 2)
    odd = [(0, size % 2) for size in frames.shape[1:3]]
    return np.pad(frames, [(0, 0), *odd, (0, 0)], "edge")
