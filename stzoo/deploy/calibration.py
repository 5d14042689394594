"""The clips that calibrate an int8 export, and how many answers for them it keeps."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stzoo.data import datasets
from stzoo.data.reading import Reading
from stzoo.inference.predict import activate, thresholds_of

logger = logging.getLogger("stzoo")
CLIPS = 100  # NNCF's own default is 300 images, and a clip has several
AGREEMENT = 0.9  # the least share of answers that an export must keep


def read_clips(calibration, model):
    """Returns the clips of a calibration set, at most `CLIPS` of them.

    They are evenly spaced, since a list of videos is often sorted by class.

    Args:
        calibration: see `stzoo.export`.
        model: a model of the zoo.

    Returns:
        Array `(clips, frames, height, width, channels)` of 0 to 255, uint8 or float.

    Raises:
        FileNotFoundError: there is no such folder or list.
        ValueError: there is no clip, or its shape is not that of the model.
    """
    if isinstance(calibration, np.ndarray):
        _check_array(calibration, model)
        return calibration[_spaced(len(calibration))]
    if isinstance(calibration, str | os.PathLike):
        calibration = datasets.read(calibration)
    try:
        paths = list(getattr(calibration, "paths", calibration))
    except TypeError:
        raise ValueError(
            "calibration must be the videos of `stzoo.read_videos`, a folder or a list "
            "of videos, a sequence of paths, or an array of clips. Received: "
            f"{calibration!r}."
        ) from None
    reading, clip = Reading(), model.stzoo.clip.resized(model.input_shape[1:])

    def read(index):
        views, error = reading.read(paths[index], clip)
        return error if views is None else views[:][0]

    with ThreadPoolExecutor(reading.num_workers) as pool:
        found = list(pool.map(read, _spaced(len(paths))))
    errors = [one for one in found if isinstance(one, str)]
    for error in errors:
        logger.warning("A video of the calibration set was skipped: %s", error)
    if len(errors) == len(found):
        raise ValueError(
            "No video of the calibration set can be decoded. "
            f"{errors[0] if errors else 'It has no videos.'}"
        )
    return np.stack([one for one in found if not isinstance(one, str)])


def _spaced(count):
    """Returns the indices of at most `CLIPS` of `count` entries, evenly spaced."""
    return np.arange(min(count, CLIPS)) * count // max(min(count, CLIPS), 1)


def _check_array(clips, model):
    """Raises a `ValueError` unless these are clips of the model, of 0 to 255."""
    shape = model.input_shape[1:]
    if clips.shape[1:] != shape or not len(clips):
        raise ValueError(
            f"calibration must be an array of clips {('clips', *shape)}, or videos. "
            f"Received an array of shape {clips.shape}."
        )
    if clips.dtype.kind in "uif":
        low, high = clips.min(), clips.max()
        if 0 <= low and high <= 255 and (clips.dtype.kind != "f" or high > 1):
            return
        found = f"values from {low} to {high}"
    else:
        found = f"an array of {clips.dtype}"
    raise ValueError(f"Clips of calibration have values of 0 to 255. Received {found}.")


def agreement(expected, found, config):
    """Compares the answers of two models.

    Args:
        expected, found: arrays `(clips, classes)` of logits.
        config: `stzoo.weights.config.ModelConfig`.

    Returns:
        Float, the share of clips with the same most probable class. For several
        labels, of those that either model gives to a clip, the share that both give.
        And a bool, whether only the second model gives all clips the same answer.
    """
    before, after = _answers(expected, config), _answers(found, config)
    if config.multi_label:
        either = (before | after).sum()
        share = (before & after).sum() / either if either else 1.0
    else:
        share = (before == after).mean()
    constant = [len(np.unique(one, axis=0)) == 1 for one in (before, after)]
    return float(share), constant == [False, True]


def _answers(logits, config):
    """Returns the class of each clip, or for several labels which ones it has."""
    if config.multi_label:
        return activate(logits, config) >= thresholds_of(config)
    return logits.argmax(-1)
