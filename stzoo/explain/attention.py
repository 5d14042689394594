"""Attention maps of STPN over the frames of a video."""

import keras
import numpy as np
from keras import ops

from stzoo.data.decoders import open_video
from stzoo.data.transforms import crop
from stzoo.data.views import length, read_clips
from stzoo.explain.saliency import overlay
from stzoo.inference.predict import activate, decode_predictions
from stzoo.visualize.filmstrip import filmstrip

BATCH = 8  # clips at a time


def attention(model, clips):
    """Computes the attention weight of each location of a frame, and the logits.

    Args:
        model: a model of STPN with attention.
        clips: array `(clips, frames, height, width, 5)`, from 0 to 255.

    Returns:
        A tuple of two float32 arrays: the weights `(clips, rows, columns)` of the
        locations of the last map, which sum to 1 for each clip, and the logits
        `(clips, classes)`.

    Raises:
        ValueError: the model has no attention.
    """
    names = [layer.name for layer in model.layers]
    if "attention" not in names:
        raise ValueError(
            f"{model.name} has no attention. Build it with attention=True and "
            'streams="both".'
        )
    layer = model.get_layer("attention")
    _, pair = layer.input
    network = keras.Model(model.input, [pair, model.output])
    weights, logits = [], []
    for start in range(0, len(clips), BATCH):
        pairs, answers = network.predict_on_batch(clips[start : start + BATCH])
        weighed = layer.weigh(ops.convert_to_tensor(pairs))
        weights.append(ops.convert_to_numpy(weighed)[:, 0])
        logits.append(ops.convert_to_numpy(answers))
    return np.concatenate(weights), np.concatenate(logits)


def picture(model, video, path, frames=8, top=3):
    """Saves frames of a video in grey, with the attended locations in colour.

    Each frame is the RGB frame of one clip, between the flow before and after it. At
    the ends of the video, the flow is repeated.

    Args:
        model: a model of STPN with attention.
        video: path or URL of a video, or uint8 array `(frames, height, width, 3)`.
        path: path of the PNG file.
        frames: int, number of frames, evenly spread over the video.
        top: int, number of classes to show, with their averaged probabilities.

    Returns:
        List of tuples `(label, probability)`, the most probable first.
    """
    with open_video(video) as opened:
        clips = _around(model.stzoo.clip, opened, frames)
    weights, logits = attention(model, clips)
    config = model.stzoo
    answers = decode_predictions(
        activate(logits, config).mean(0), config, top, threshold=0.0
    )
    seen = clips[:, _middle(config.clip), ..., :3]
    maps = _enlarged(weights / weights.max((1, 2), keepdims=True), seen.shape[1:3])
    title = f"Where the attention of {config.name} looks"
    filmstrip(overlay(seen, maps), answers, path, title)
    return answers


def _around(clip, video, frames):
    """Returns clips whose RGB frames are spread over a video."""
    total = length(video, clip)
    times = ((np.arange(frames) + 0.5) * total / frames).astype(int)
    indices = times[:, None] + np.arange(clip.frames) - _middle(clip)
    clips = read_clips(video, clip, indices.clip(0, total - 1))
    return crop(clips, clip.height, clip.width)


def _middle(clip):
    """Returns the index of the RGB frame: the beginning of the middle snippet."""
    return clip.frames // clip.snippet // 2 * clip.snippet


def _enlarged(maps, size):
    """Enlarges maps `(batch, rows, columns)`, so that each location is a rectangle."""
    rows, columns = (
        np.arange(pixels) * count // pixels
        for pixels, count in zip(size, maps.shape[1:], strict=True)
    )
    return maps[:, rows][:, :, columns]
