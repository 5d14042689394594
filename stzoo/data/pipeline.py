"""From a list of videos to batches of clips: decoded in threads, in a known order.

Which clip stands where depends on the seed, the epoch and the number of the video, and
on nothing else: not on threads, on where a run began, or on how many processes share
the work.
"""

import dataclasses
import functools
import logging
import sys
from dataclasses import dataclass

import numpy as np
from keras import ops

from stzoo.data.decoders import open_video
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.reading import Reading
from stzoo.data.transforms import Augment, clip_views, training_clip

logger = logging.getLogger("stzoo")
BLACK = None, 0, 0.0  # a clip that is not there, its class and its weight


@dataclass(frozen=True)
class Order:
    """Which clip stands where.

    Args:
        seed: int from 0, of the order and of the clips.
        start: int, number of the batch to begin with. With the number of steps that a
            run has taken, it resumes where it ended.
        shard: tuple of two ints, which process this is, from 0, and of how many. The
            batches of all processes, put together in order, are those that one process
            would have with as many times the batch.
        repeat: bool, begin the list again at its end, as the validation of `fit` needs
            it, with `validation_steps`: Keras warns where data ends. Training always
            does.
        drop_remainder: bool, leave out the videos that do not fill a batch. `False`:
            black clips of class 0 fill it. Batches are then `(clips, labels, weights)`
            with a weight of 0 for those: give `weighted_metrics` to `compile`.
            `None`: `True` for training and else `False`.
    """

    seed: int = 0
    start: int = 0
    shard: tuple[int, int] = (0, 1)
    repeat: bool = False
    drop_remainder: bool | None = None


def clips(
    videos,
    clip,
    batch_size,
    train=False,
    augment=None,
    order=Order(),
    reading=Reading(),
):
    """Batches of clips for `fit`, `evaluate` and `predict` of Keras, on any backend.

    Args:
        videos: `stzoo.data.datasets.Videos`.
        clip: `stzoo.weights.config.ClipConfig`, what the model expects:
            `model.stzoo.clip`.
        batch_size: int, number of clips in a batch (of this process).
        train: bool. `True`: random clips in a random order, another one in each epoch,
            without an end, so `fit` needs `steps_per_epoch`, see `steps`. `False`: the
            middle of each video, once, in the order of the list.
        augment: `stzoo.data.transforms.Augment`, how clips for training are varied.
            Default: `Augment()`. If it has no `pairs`, the names of the classes tell
            them, see `stzoo.data.mirroring.mirror_pairs`.
        order: `Order`.
        reading: `stzoo.data.reading.Reading`.

    Returns:
        `grain.IterDataset` of tuples `(clips, labels)`: uint8
        `(batch_size, frames, height, width, channels)` and int32 `(batch_size,)`, or of
        clips alone if the classes are not known. Its iterators have `get_state` and
        `set_state`.

    Raises:
        ValueError: if an argument is not one of those, or there are too few videos.

    Example:

    ```python
    from stzoo.data.pipeline import clips, steps

    train = stzoo.read_videos("videos/train")
    model.fit(
        clips(train, model.stzoo.clip, batch_size=8, train=True),
        steps_per_epoch=steps(train, 8),
        epochs=10,
        shuffle=False,  # they are
    )
    ```
    """
    import grain

    if order.drop_remainder is None:
        order = dataclasses.replace(order, drop_remainder=train)
    augment = augment or Augment()
    if augment.pairs is None:
        augment = dataclasses.replace(augment, pairs=mirror_pairs(videos.classes))
    clip = reading.timed(clip)
    samples = _Samples(videos, clip, batch_size, augment if train else None, order)
    end = sys.maxsize if train or order.repeat else samples.steps * batch_size
    return (
        grain.MapDataset.range(order.start * batch_size, end)
        .map(functools.partial(samples.load, reading=reading))
        .to_iter_dataset(grain.ReadOptions(reading.num_workers, 2 * batch_size))
        .batch(batch_size, batch_fn=samples.stack)
    )


def steps(videos, batch_size, drop_remainder=True, shard=(0, 1)):
    """The number of batches in an epoch of `clips`."""
    width = batch_size * shard[1]
    return len(videos) // width if drop_remainder else -(-len(videos) // width)


class _Samples:
    """The clips of a list by their number, and batches of them.

    `augment` is `None` for the middle of each video, in the order of the list.
    """

    def __init__(self, videos, clip, batch_size, augment, order):
        self.videos, self.clip, self.batch_size = videos, clip, batch_size
        self.augment, self.order = augment, order
        self.steps = steps(videos, batch_size, order.drop_remainder, order.shard)
        self.rows = functools.lru_cache(2)(self._rows)
        if not self.steps:
            width = batch_size * order.shard[1]
            raise ValueError(
                f"{len(videos)} videos do not fill a batch of {width}. Choose a "
                "smaller batch_size, or drop_remainder=False."
            )

    def _rows(self, epoch):
        """The videos of this process in an epoch; -1 where there are no more."""
        order, rows = self.order, np.arange(len(self.videos))
        if self.augment:
            rows = np.random.default_rng((order.seed, epoch)).permutation(rows)
        number, count = order.shard
        width = self.batch_size * count
        rows = np.pad(rows, (0, width), constant_values=-1)[: self.steps * width]
        return rows.reshape(self.steps, count, self.batch_size)[:, number].ravel()

    def load(self, index, reading):
        """A clip, its label and its weight; what cannot be decoded is skipped."""
        epoch, index = divmod(index, self.steps * self.batch_size)
        first = int(self.rows(epoch)[index])
        if first < 0:
            return BLACK
        for row in range(first, first + len(self.videos)):
            try:
                return self.read(epoch, row % len(self.videos), reading.decoder)
            except (OSError, ValueError) as error:
                if not reading.skip:
                    raise
                logger.warning("Skipped: %s", error)
            if not self.order.drop_remainder:
                return BLACK
        raise ValueError("None of the videos can be decoded.")

    def read(self, epoch, row, decoder):
        """The clip of a video, its label and its weight."""
        label = self.videos.labels[row] if self.videos.labels else 0
        with open_video(self.videos.paths[row], decoder) as video:
            if not self.augment:
                return clip_views(video, self.clip)[0], label, 1.0
            rng = np.random.default_rng((self.order.seed, epoch, row))
            return *training_clip(video, self.clip, rng, self.augment, label), 1.0

    def stack(self, samples):
        """A batch of what `load` returns."""
        views, labels, weights = zip(*samples, strict=True)
        shapes = {view.shape for view in views if view is not None} or {self.clip.shape}
        if len(shapes) > 1:
            raise ValueError(
                f"The clips of a batch must have one size. Received: {sorted(shapes)}. "
                "Give the clip a height and a width, or use batch_size=1."
            )
        black = np.zeros(shapes.pop(), np.uint8)
        views = np.stack([black if view is None else view for view in views])
        if not self.videos.labels:
            return views
        batch = views, np.array(labels, np.int32), np.array(weights, np.float32)
        return batch[: 2 if self.order.drop_remainder else 3]


def with_layer(dataset, layer, classes, start=0):
    """Puts batches through an image layer of Keras, all frames of a clip alike.

    `MixUp`, `CutMix`, `RandAugment` and the others take images, not clips. Here each
    frame goes through a copy of the layer that draws the same numbers.

    Args:
        dataset: what `clips` returns.
        layer: a layer such as `keras.layers.MixUp(0.2, seed=1)`; it must have a seed.
        classes: int, number of classes. Labels become probabilities: give `compile`
            `keras.losses.CategoricalCrossentropy(from_logits=True)`, which also knows
            `label_smoothing`.
        start: int, what `clips` received.

    Returns:
        `grain.IterDataset` of tuples `(clips, probabilities)`, and weights if there
        are any: uint8 `(batch, frames, height, width, 3)` and float32
        `(batch, classes)`.

    Example:

    ```python
    from stzoo.data.pipeline import clips, with_layer

    videos = stzoo.read_videos("videos/train")
    batches = clips(videos, model.stzoo.clip, batch_size=8, train=True)
    mixed = with_layer(batches, keras.layers.MixUp(seed=1), len(videos.classes))
    views, probabilities = next(iter(mixed))
    ```
    """
    config = layer.get_config()
    if config.get("seed") is None:
        raise ValueError(f"The layer {layer.name!r} needs a seed, to draw from.")

    def apply(index, batch):
        views, labels, *weights = batch
        one_hot = np.eye(classes, dtype=np.float32)[labels]
        seed = config["seed"] + start + index
        frames = []
        for frame in np.moveaxis(views, 1, 0):
            copy = type(layer).from_config({**config, "seed": seed})
            images = {"images": frame, "labels": one_hot}
            answer = copy(images, training=True)
            frames.append(np.rint(ops.convert_to_numpy(answer["images"])))
        views = np.stack(frames, axis=1).clip(0, 255).astype(np.uint8)
        return views, ops.convert_to_numpy(answer["labels"]), *weights

    return dataset.map_with_index(apply)
