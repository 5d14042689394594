"""From a model and a video to the most probable classes."""

import dataclasses
import functools
import logging

import numpy as np

from stzoo.data import files
from stzoo.data.decoders import open_video
from stzoo.data.reading import Reading
from stzoo.data.transforms import Views
from stzoo.inference.views import map_videos, predict_views

logger = logging.getLogger("stzoo")
MUCH, SPARSE = 10, 10  # a video is long from so many clips, or segments of frames


def predict(model, video, top=5, views="1x1", sample_fps=None):
    """The most probable classes of a video.

    Args:
        model: a model of the zoo. Its `stzoo` record says how videos are prepared.
        video: path or URL of a video or of a folder of frames, binary file object of
            a video, or uint8 array `(frames, height, width, 3)`, RGB.
        top: int, number of classes.
        views: string, clips x crops, whose probabilities are averaged; `"10x3"` is
            the protocol of the papers.
        sample_fps: float, see the video as if it had so many frames per second, so
            that a clip spans the same time of any video. `None`: as the model says,
            which is to count frames for most weights.

    Returns:
        List of tuples `(label, probability)`, the most probable first. A model whose
        classes have no known names answers "class 217".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a video that can be read.

    Example:

    >>> model = stzoo.cost_tiny(pretrained="motions")
    >>> stzoo.predict(model, "ball.mp4", top=1)
    [('rising', 0.9...)]
    """
    config = record_of(model)
    clip = Reading(sample_fps=sample_fps).timed(config.clip)
    warn_without_weights(model)
    with open_video(video) as opened:
        clips = Views(opened, clip, views)
        _warn_of_short(opened.name, clips, clip)
        _warn_of_long(opened.name, clips, clip)
    return decode_predictions(classify(model, clips).mean(0), config, top)


def predict_videos(model, videos, top=5, reading=Reading()):
    """The most probable classes of each of several videos.

    Videos are decoded in threads, ahead of the network, and clips of short videos go
    through it in batches.

    Args:
        model: a model of the zoo.
        videos: sequence of strings, paths or URLs of videos or of folders of frames.
        top: int, number of classes.
        reading: `stzoo.data.reading.Reading`.

    Yields:
        For each video a tuple: what `predict` returns, or `None`, and the error, or
        `""`.
    """
    config = record_of(model)
    warn_without_weights(model)
    reading = _Warning(**dataclasses.asdict(reading))
    function = functools.partial(classify, model)
    for mean, error in map_videos(function, videos, config.clip, reading):
        yield None if error else decode_predictions(mean, config, top), error


class _Warning(Reading):
    """Logs what may make an answer wrong."""

    def read(self, path, clip):
        try:
            views, error = super().read(path, clip)
        except ImportError as missing:  # that this video needs, and others may not
            return None, str(missing)
        if views is not None:
            _warn_of_short(path, views, self.timed(clip))
            _warn_of_long(path, views, self.timed(clip))
        return views, error


def _warn_of_short(name, views, clip):
    """Logs a line if a video is an image, or shorter than a clip."""
    frames = clip.frames
    if clip.sampling == "dense":
        frames = (clip.frames // clip.snippet - 1) * clip.stride + clip.snippet
    if name and files.is_image(name):
        logger.warning("%s is an image, but the model looks at motion.", name)
    elif views.total < frames:
        logger.warning(
            "%s has %d frames and a clip spans %d, so frames are repeated.",
            name or "The video",
            views.total,
            frames,
        )


def _warn_of_long(name, views, clip):
    """Logs a line if a clip sees a small part of a video."""
    if clip.frames is None or len(views) > 1:
        return
    spanned = clip.frames * (clip.stride if clip.sampling == "dense" else SPARSE)
    if views.total >= MUCH * spanned // clip.snippet:
        logger.warning(
            "The model sees %d of the %d frames of %s. `stzoo stream` answers for each "
            "moment of a long video.",
            clip.frames,
            views.total,
            name or "the video",
        )


def warn_without_weights(model):
    """Logs a line if the weights of a model are random."""
    config, optimizer = model.stzoo, getattr(model, "optimizer", None)
    trained = optimizer is not None and int(optimizer.iterations) > 0
    if not (config.tag or config.sha256 or trained):
        logger.warning(
            "The weights of %s may be random, and so are its answers: build it with "
            "pretrained=..., load it, or train it.",
            config.name,
        )


def classify(model, clips):
    """Class probabilities of each clip.

    Args:
        model: a model from clips to logits.
        clips: `Views`, or array `(clips, frames, height, width, channels)` of 0 to 255.

    Returns:
        float32 array `(clips, classes)`.
    """
    return softmax(predict_views(model, clips))


def softmax(logits):
    """Probabilities from logits, along the last axis."""
    with np.errstate(invalid="ignore"):  # infinity is for the caller to see
        powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def decode_predictions(probabilities, config, top=5):
    """The most probable classes.

    Args:
        probabilities: float array `(classes,)`.
        config: `stzoo.weights.config.ModelConfig`, which knows the labels.
        top: int, number of classes.

    Returns:
        List of tuples `(label, probability)`, the most probable first. Without labels,
        classes are called "class 0", "class 1" and so on.
    """
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [(config.class_names[i], float(probabilities[i])) for i in best]


def record_of(model):
    """The record of a model of the zoo."""
    config = getattr(model, "stzoo", None)
    if config is None:
        raise ValueError(
            f"The model {model.name!r} does not say how videos are prepared for it. "
            "Build or load it with stzoo."
        )
    return config
