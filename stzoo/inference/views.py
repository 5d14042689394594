"""Runs a network over the views of videos, of which the next are decoded meanwhile."""

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from keras import ops

from stzoo.backend import clips_at_once
from stzoo.data.decoders import open_video
from stzoo.data.sampling import parse_views
from stzoo.data.transforms import Views
from stzoo.weights.config import Clip


@dataclass(frozen=True)
class Reading:
    """How the videos of a list become views.

    Args:
        clip: `stzoo.weights.config.Clip`, how the model is fed.
        views: string, clips x crops; `"10x3"` is the protocol of the papers.
        num_workers: int, number of threads that decode.
    """

    clip: Clip
    views: str = "1x1"
    num_workers: int = 4

    @property
    def count(self):
        """How many views each video has."""
        clips, crops = parse_views(self.views)
        return clips * crops

    def read(self, path):
        """The views of a video and `""`, or `None` and why it cannot be decoded."""
        try:
            with open_video(path) as video:
                return Views(video, self.clip, self.views), ""
        except (OSError, ValueError) as error:
            return None, str(error)

    def read_all(self, paths, ahead):
        """Yields what `read` returns for each path, of which some are read ahead."""
        with ThreadPoolExecutor(self.num_workers) as pool:
            paths = iter(paths)
            waiting = deque(
                pool.submit(self.read, path) for path in itertools.islice(paths, ahead)
            )
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(
                    pool.submit(self.read, path) for path in itertools.islice(paths, 1)
                )
                yield found


def map_videos(function, paths, reading):
    """Applies a function to the views of each video.

    Args:
        function: from `Views`, or an array of such, to an array `(views, width)`.
        paths: sequence of paths.
        reading: `Reading`.

    Yields:
        For each path a tuple: float32 `(width,)`, averaged over the views, or `None`,
        and the error, or `""`.
    """
    together = max(1, clips_at_once() // reading.count)
    if reading.clip.height is None:  # each video may have a size of its own
        together = 1
    found = reading.read_all(paths, max(together, 2 * reading.num_workers))
    while group := list(itertools.islice(found, together)):
        seen = [views for views, _ in group if views is not None]
        rows = iter(_mean_of_views(function, seen, together))
        for views, error in group:
            yield (None if views is None else next(rows)), error


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
