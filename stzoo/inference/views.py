"""Runs a network on the views of videos, and decodes the next videos meanwhile."""

import functools
import itertools
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stzoo.data.sampling import parse_views


def clips_at_once():
    """Returns the number of clips to compute at a time, to limit memory."""
    if "keras" not in sys.modules:  # an exported model
        return 8
    from stzoo import backend

    return backend.clips_at_once()


def map_videos(function, paths, clip, views, reading):
    """Applies a function to the views of each video.

    Args:
        function: function from `Views`, or from an array of clips, to an array
            `(clips, width)`.
        paths: sequence of paths.
        clip: `stzoo.weights.config.ClipConfig`, the input of the model.
        views: string, clips x crops.
        reading: `stzoo.data.reading.Reading`.

    Yields:
        A tuple for each path: float32 array `(width,)`, averaged over the views, and
        `""`, or `None` and the error message.
    """
    clips, crops = parse_views(views)
    together = max(1, clips_at_once() // (clips * crops))
    if clip.height is None:  # videos can have different sizes
        together = 1
    read = functools.partial(reading.read, clip=clip, views=views)
    found = _read_ahead(read, paths, reading.num_workers, together)
    while group := list(itertools.islice(found, together)):
        seen = [video for video, _ in group if video is not None]
        rows = iter(_mean_of_views(function, seen, together))
        for video, error in group:
            yield (None if video is None else next(rows)), error


def _read_ahead(read, paths, num_workers, together):
    """Yields the results of `read` in order, while threads read the next videos."""
    paths = iter(paths)
    with ThreadPoolExecutor(num_workers) as pool:

        def submit(count):
            group = itertools.islice(paths, count)
            return [pool.submit(read, path) for path in group]

        waiting = deque(submit(max(together, 2 * num_workers)))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(submit(1))
            yield found


def _mean_of_views(function, seen, together):
    """Applies a function to several videos, in one batch of constant size."""
    if not seen:
        return ()
    batch = seen[0]
    if together > 1:
        full = seen + [batch] * (together - len(seen))
        batch = np.concatenate([views[:] for views in full])
    return function(batch).reshape(together, len(seen[0]), -1).mean(1)


def predict_views(network, clips):
    """Computes the outputs of a network for clips.

    Args:
        network: a model with one output, see `stzoo.inference.network`.
        clips: `Views`, or array `(clips, frames, height, width, channels)`, from 0 to
            255.

    Returns:
        Float array `(clips, ...)`.
    """
    most = min(clips_at_once(), len(clips))
    # 30 views become five batches of 6. With batches of 8, the last one would have
    # copies.
    size = min(range(most, most // 2, -1), key=lambda size: -len(clips) % size)
    outputs = []
    for start in range(0, len(clips), size):
        rows = np.arange(start, start + size).clip(max=len(clips) - 1)
        outputs.append(np.asarray(network.predict_on_batch(clips[rows])))
    return np.concatenate(outputs)[: len(clips)]
