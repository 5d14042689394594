"""Predicts the most probable classes of videos."""

import dataclasses
import functools
import logging

import numpy as np

from stzoo.data import files
from stzoo.data.decoders import open_video
from stzoo.data.reading import Reading
from stzoo.data.views import Views
from stzoo.inference.views import map_videos, predict_views

logger = logging.getLogger("stzoo")
TOP = 5  # classes of an answer, if a video has one label
MUCH, SPARSE = 10, 10  # a video is long from so many clips, or segments of frames


def predict(model, video, top=None, views="1x1", sample_fps=None, threshold=None):
    """Predicts the most probable classes of a video.

    If the model can give several labels to a video (`model.stzoo.multi_label`), these
    are the classes whose probabilities reach their thresholds.

    Args:
        model: a model of the zoo, or an exported one. Its record `model.stzoo`
            determines the preparation.
        video: path or URL of a video or of a folder of frames, binary file object of
            a video, or uint8 array `(frames, height, width, 3)`, RGB.
        top: int, number of classes. Defaults to 5, or to all classes that reach their
            thresholds if there can be several labels.
        views: string, clips x crops. Their probabilities are averaged. The papers use
            `"10x3"`.
        sample_fps: float, the frame rate to which the video is resampled, so that a
            clip spans the same time in all videos. `None`: the setting of the model.
            For most weights, videos keep their frame rate.
        threshold: float from 0 to 1, the minimum probability. Defaults to 0, or, if
            there can be several labels, to the thresholds of the model.

    Returns:
        List of tuples `(label, probability)`, the most probable first. It is empty if
        no class reaches its threshold. If the model has no labels, they are
        `"class 0"`, `"class 1"`, ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a video, or it is damaged.

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
    return decode_predictions(classify(model, clips).mean(0), config, top, threshold)


def predict_videos(
    model, videos, top=None, views="1x1", reading=Reading(), threshold=None
):
    """Predicts the most probable classes of several videos.

    Threads decode the next videos meanwhile. The clips of several videos form a batch.

    Args:
        model: a model of the zoo.
        videos: sequence of strings, paths or URLs of videos or of folders of frames.
        top, views, threshold: see `predict`.
        reading: `stzoo.data.reading.Reading`.

    Yields:
        A tuple for each video: the result of `predict` and `""`, or `None` and the
        error message.
    """
    config = record_of(model)
    warn_without_weights(model)
    reading = _Warning(**dataclasses.asdict(reading))
    function = functools.partial(classify, model)
    for mean, error in map_videos(function, videos, config.clip, views, reading):
        if error:
            yield None, error
        else:
            yield decode_predictions(mean, config, top, threshold), error


class _Warning(Reading):
    """Logs a warning for images and short videos."""

    def read(self, path, clip, views="1x1"):
        try:
            found, error = super().read(path, clip, views)
        except ImportError as missing:  # other videos may not need this library
            return None, str(missing)
        if found is not None:
            _warn_of_short(path, found, self.timed(clip))
            _warn_of_long(path, found, self.timed(clip))
        return found, error


def _warn_of_short(name, views, clip):
    """Logs a warning if a video is an image, or shorter than a clip."""
    frames = clip.frames
    if clip.sampling == "dense":
        frames = (clip.frames // clip.snippet - 1) * clip.stride + clip.snippet
    if name and files.is_image(name):
        logger.warning("%s is an image, but the model needs a video.", name)
    elif views.total < frames:
        logger.warning(
            "%s has %d frames and a clip spans %d, so frames are repeated.",
            name or "The video",
            views.total,
            frames,
        )


def _warn_of_long(name, views, clip):
    """Logs a warning if a clip sees a small part of a video."""
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
    """Logs a warning if the weights of a model are random."""
    config, optimizer = model.stzoo, getattr(model, "optimizer", None)
    trained = optimizer is not None and int(optimizer.iterations) > 0
    if not (config.tag or config.sha256 or trained):
        logger.warning(
            "The weights of %s may be random, so its predictions would be meaningless. "
            "Build it with pretrained=..., load it, or train it.",
            config.name,
        )


def classify(model, clips):
    """Computes the class probabilities of each clip.

    Args:
        model: a model that returns logits.
        clips: `Views`, or array `(clips, frames, height, width, channels)`, from 0 to
            255.

    Returns:
        float32 array `(clips, classes)`.
    """
    return activate(predict_views(model, clips), model.stzoo)


def activate(logits, config):
    """Computes the probabilities of the classes from the logits of a model.

    Args:
        logits: array `(..., classes)`.
        config: `stzoo.weights.config.ModelConfig`.

    Returns:
        Array `(..., classes)`. With `config.multi_label`, each class has a probability
        of its own, the sigmoid. Otherwise they sum to 1, the softmax.
    """
    return sigmoid(logits) if config.multi_label else softmax(logits)


def sigmoid(logits):
    """Computes the probability of each logit."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)  # does not overflow


def softmax(logits):
    """Computes probabilities from logits, along the last axis."""
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def decode_predictions(probabilities, config, top=None, threshold=None):
    """Returns the most probable classes.

    Args:
        probabilities: float array `(classes,)`.
        config: `stzoo.weights.config.ModelConfig` with the labels.
        top, threshold: see `predict`.

    Returns:
        See `predict`.

    Raises:
        ValueError: the threshold is not a probability.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1. Received: {threshold!r}.")
    least = thresholds_of(config) if threshold is None else threshold
    least = np.asarray(least, probabilities.dtype)  # 0.7 is reached by 0.7
    if top is None and not config.multi_label:
        top = TOP
    best = np.argsort(-probabilities, kind="stable")
    best = best[(probabilities >= least)[best] | np.isnan(probabilities[best])][:top]
    return [(config.class_names[i], float(probabilities[i])) for i in best]


def thresholds_of(config):
    """Returns the probability from which each class is predicted, `(classes,)`."""
    if not config.multi_label:
        return np.zeros(config.classes)
    return np.array(config.thresholds or [0.5] * config.classes)


def record_of(model):
    """Returns the record of a model of the zoo."""
    config = getattr(model, "stzoo", None)
    if config is None:
        raise ValueError(
            f"The model {model.name!r} was not built by stzoo, so the preparation of "
            "its videos is unknown. Build or load it with stzoo."
        )
    return config
