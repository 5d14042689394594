"""From a model and videos to answers."""

import numpy as np
from keras import ops

from stzoo.data.transforms import clip_views
from stzoo.data.video import Video

BATCH = 8  # views at a time: one shape for all of them, and little memory


def predict(model, video, top=5, views="1x1"):
    """The most probable classes of a video.

    Args:
        model: a model of the zoo. Its `stzoo` record says how videos are prepared.
        video: path or binary file object of a video, or uint8 array
            `(frames, height, width, 3)`, RGB.
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
    >>> stzoo.predict(model, "ball.mp4", top=2)
    [("rising", 0.97), ("approaching", 0.02)]
    """
    about = getattr(model, "stzoo", None)
    if about is None:
        raise ValueError(
            f"The model {model.name!r} does not say how videos are prepared for it. "
            "Build or load it with stzoo."
        )
    if isinstance(video, np.ndarray):
        clips = clip_views(video, about.clip, views)
    else:
        with Video(video) as frames:
            clips = clip_views(frames, about.clip, views)
    probabilities = classify(model, clips).mean(0)
    best = np.argsort(-probabilities, kind="stable")[:top]
    labels = about.labels or range(about.classes)
    return [(labels[i], float(probabilities[i])) for i in best]


def classify(model, clips):
    """Class probabilities of each clip.

    Args:
        model: a model from clips to logits.
        clips: array `(clips, frames, height, width, 3)`, RGB of 0 to 255.

    Returns:
        float32 array `(clips, classes)`.
    """
    size = min(BATCH, len(clips))
    answers = []
    for start in range(0, len(clips), size):
        rows = np.arange(start, start + size).clip(max=len(clips) - 1)
        logits = model.predict_on_batch(clips[rows])
        answers.append(ops.convert_to_numpy(ops.softmax(logits)))
    return np.concatenate(answers)[: len(clips)]
