"""From a model and a video to the most probable classes."""

import numpy as np

from stzoo.data.decoders import open_video
from stzoo.data.transforms import Views
from stzoo.inference.views import predict_views


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
    with open_video(video) as opened:
        clips = Views(opened, config.clip, views)
    return decode_predictions(classify(model, clips).mean(0), config, top)


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
