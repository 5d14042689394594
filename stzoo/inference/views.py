"""Runs a network over the views of videos, of which the next are decoded meanwhile."""

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from keras import ops

from stzoo.backend import clips_at_once


def map_videos(function, paths, clip, reading):
    """Applies a function to the views of each video.

    Args:
        function: from `Views`, or an array of such, to an array `(views, width)`.
        paths: sequence of paths.
        clip: `stzoo.weights.config.ClipConfig`, how the model is fed.
        reading: `stzoo.data.reading.Reading`.

    Yields:
        For each path a tuple: float32 `(width,)`, averaged over the views, or `None`,
        and the error, or `""`.
    """
    together = max(1, clips_at_once() // reading.count)
    if clip.height is None:  # each video may have a size of its own
        together = 1
    found = _read_ahead(paths, clip, reading, together)
    while group := list(itertools.islice(found, together)):
        seen = [views for views, _ in group if views is not None]
        rows = iter(_mean_of_views(function, seen, together))
        for views, error in group:
            yield (None if views is None else next(rows)), error


def _read_ahead(paths, clip, reading, together):
    """Yields the views of each video and its error, while the next are decoded."""
    paths = iter(paths)
    with ThreadPoolExecutor(reading.num_workers) as pool:

        def submit(count):
            group = itertools.islice(paths, count)
            return [pool.submit(reading.read, path, clip) for path in group]

        waiting = deque(submit(max(together, 2 * reading.num_workers)))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(submit(1))
            yield found


def _mean_of_views(function, seen, together):
    """What a function says of each video: in one batch, always of the same size."""
    if not seen:
        return ()
    batch = seen[0]
    if together > 1:
        full = seen + [batch] * (together - len(seen))
        batch = np.concatenate([views[:] for views in full])
    return function(batch).reshape(together, len(seen[0]), -1).mean(1)


def predict_views(network, clips):
    """The outputs of a network for clips: a float array, the first axis theirs.

    Args:
        network: a model from clips to one output.
        clips: `Views`, or array `(clips, frames, height, width, channels)` of 0 to 255.
    """
    most = min(clips_at_once(), len(clips))
    # 30 views are five batches of 6: of 8, the last would be full of copies.
    size = min(range(most, most // 2, -1), key=lambda size: -len(clips) % size)
    outputs = []
    for start in range(0, len(clips), size):
        rows = np.arange(start, start + size).clip(max=len(clips) - 1)
        outputs.append(ops.convert_to_numpy(network.predict_on_batch(clips[rows])))
    return np.concatenate(outputs)[: len(clips)]
