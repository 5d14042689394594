"""Batches of clips for training and evaluation, decoded in threads.

The order is reproducible. It depends only on the seed, the epoch and the list of
videos, not on the number of threads or processes, or on interruptions.
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
from stzoo.data.mixing import mix, one_hot
from stzoo.data.reading import Reading
from stzoo.data.transforms import Augment
from stzoo.data.views import clip_views, training_clip

logger = logging.getLogger("stzoo")
MIXED = 1  # tells the random numbers of mixed batches from those of clips


@dataclass(frozen=True)
class Order:
    """The order of the clips.

    Args:
        seed: int, at least 0, the seed of the order and of random clips.
        start: int, the index of the first batch. To resume a run, pass its number of
            steps.
        shard: tuple of two ints, the index of this process and the number of
            processes. The batches of all processes, concatenated, are the larger
            batches of a single process.
        repeat: bool, whether to repeat the list. The validation of `fit` needs it, with
            `validation_steps`, since Keras warns if data ends. Training always repeats.
        drop_remainder: bool, whether to drop the last batch if it is incomplete.
            `False`: it is filled with black clips of class 0. Batches are then
            `(clips, labels, weights)`, with weight 0 for black clips. Pass
            `weighted_metrics` to `compile`. `None`: `True` for training, or else
            `False`.
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
    """Creates batches of clips for `fit`, `evaluate` and `predict` of Keras.

    Args:
        videos: `stzoo.data.datasets.Videos`.
        clip: `stzoo.weights.config.ClipConfig`, the input of the model:
            `model.stzoo.clip`.
        batch_size: int, number of clips in a batch of this process.
        train: bool. `True`: random clips in a random order, which differ in each epoch.
            They never end, so `fit` needs `steps_per_epoch`, see `steps`. `False`: the
            middle of each video, once, in the order of the list.
        augment: `stzoo.data.transforms.Augment`, the augmentation of training clips.
            Default: `Augment()`. If it has no `pairs`, they are found by the names of
            the classes, see `stzoo.data.mirroring.mirror_pairs`.
        order: `Order`.
        reading: `stzoo.data.reading.Reading`.

    Returns:
        `grain.IterDataset` of tuples `(clips, labels)`: uint8
        `(batch_size, frames, height, width, channels)` and int32 `(batch_size,)`, or of
        clips only, if there are no labels. If a video can have several labels, they are
        float32 `(batch_size, classes)`, 0 and 1. With `mixup` or `cutmix` of `Augment`,
        labels are probabilities of that shape. Clips are mixed with clips of this
        process. The iterators have `get_state` and `set_state`.

    Raises:
        ValueError: there are too few videos, or the augmentation does not fit them.

    Example:

    ```python
    from stzoo.data.pipeline import clips, steps

    train = stzoo.read_videos("videos/train")
    model.fit(
        clips(train, model.stzoo.clip, batch_size=8, train=True),
        steps_per_epoch=steps(train, 8),
        epochs=10,
        shuffle=False,  # the clips are shuffled already
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
    if train:
        _check_augment(augment, videos, clip, batch_size)
    samples = _Samples(videos, clip, batch_size, augment if train else None, order)
    end = sys.maxsize if train or order.repeat else samples.steps * batch_size
    batches = (
        grain.MapDataset.range(order.start * batch_size, end)
        .map(functools.partial(samples.load, reading=reading))
        .to_iter_dataset(grain.ReadOptions(reading.num_workers, 2 * batch_size))
        .batch(batch_size, batch_fn=samples.stack)
    )
    return batches.map_with_index(samples.mix) if train and augment.mixes else batches


def _check_augment(augment, videos, clip, batch_size):
    if augment.mixes and not videos.labels:
        raise ValueError("mixup and cutmix need videos with classes.")
    if augment.mixes and batch_size < 2:
        raise ValueError("mixup and cutmix need batches of at least 2 clips.")
    if augment.randaugment and clip.uses_flow:
        raise ValueError(
            "randaugment is for RGB. This model uses optical flow: remove randaugment."
        )
    if batch_size % augment.repeats:
        raise ValueError(
            f"A batch of {batch_size} clips cannot have each video "
            f"{augment.repeats} times. repeats must divide batch_size."
        )


def steps(videos, batch_size, drop_remainder=True, shard=(0, 1), repeats=1):
    """Returns the number of batches in an epoch of `clips`.

    Args:
        videos, batch_size: see `clips`.
        drop_remainder, shard: see `Order`.
        repeats: int, see `stzoo.data.transforms.Augment`.
    """
    width, count = batch_size * shard[1], len(videos) * repeats
    return count // width if drop_remainder else -(-count // width)


class _Samples:
    """Loads clips by their index, and stacks batches.

    Without `augment`, clips are the middles of the videos, in the order of the list.
    """

    def __init__(self, videos, clip, batch_size, augment, order):
        self.videos, self.clip, self.batch_size = videos, clip, batch_size
        self.augment, self.order = augment, order
        none = (0,) * len(videos.classes) if videos.multi_label else 0
        self.black = None, none, 0.0  # a missing clip, its label and its weight
        self.repeats = augment.repeats if augment else 1
        how = (order.drop_remainder, order.shard, self.repeats)
        self.steps = steps(videos, batch_size, *how)
        self.rows = functools.lru_cache(2)(self._rows)
        if not self.steps:
            width = batch_size * order.shard[1]
            raise ValueError(
                f"{len(videos)} videos do not fill a batch of {width}. Choose a "
                "smaller batch_size, or drop_remainder=False."
            )

    def _rows(self, epoch):
        """Returns what this process draws: video * repeats + repetition, or -1."""
        order, rows = self.order, np.arange(len(self.videos))
        if self.augment:
            rows = np.random.default_rng((order.seed, epoch)).permutation(rows)
        rows = (rows[:, None] * self.repeats + np.arange(self.repeats)).ravel()
        number, count = order.shard
        width = self.batch_size * count
        rows = np.pad(rows, (0, width), constant_values=-1)[: self.steps * width]
        return rows.reshape(self.steps, count, self.batch_size)[:, number].ravel()

    def load(self, index, reading):
        """Returns a clip, its label and its weight. Skips undecodable videos."""
        epoch, index = divmod(index, self.steps * self.batch_size)
        drawn = int(self.rows(epoch)[index])
        if drawn < 0:
            return self.black
        first, repetition = divmod(drawn, self.repeats)
        for row in range(first, first + len(self.videos)):
            try:
                row = row % len(self.videos)
                return self.read((epoch, row, repetition), reading.decoder)
            except (OSError, ValueError) as error:
                if not reading.skip:
                    raise
                logger.warning("Skipped: %s", error)
            if not self.order.drop_remainder:
                return self.black
        raise ValueError("No video can be decoded.")

    def read(self, drawn, decoder):
        """Returns the clip of a video, its label and its weight."""
        epoch, row, repetition = drawn
        label = self.videos.labels[row] if self.videos.labels else 0
        with open_video(self.videos.paths[row], decoder) as video:
            if not self.augment:
                return clip_views(video, self.clip)[0], label, 1.0
            rng = np.random.default_rng((self.order.seed, epoch, row, repetition))
            return *training_clip(video, self.clip, rng, self.augment, label), 1.0

    def stack(self, samples):
        """Stacks results of `load` to a batch."""
        views, labels, weights = zip(*samples, strict=True)
        shapes = {view.shape for view in views if view is not None} or {self.clip.shape}
        if len(shapes) > 1:
            raise ValueError(
                "The clips of a batch must have the same shape. Received: "
                f"{sorted(shapes)}. Set a height and a width in the ClipConfig, or use "
                "batch_size=1."
            )
        black = np.zeros(shapes.pop(), np.uint8)
        views = np.stack([black if view is None else view for view in views])
        if not self.videos.labels:
            return views
        kind = np.float32 if self.videos.multi_label else np.int32
        batch = views, np.array(labels, kind), np.array(weights, np.float32)
        return batch[: 2 if self.order.drop_remainder else 3]

    def mix(self, index, batch):
        """Mixes the clips of a batch, see `stzoo.data.mixing`."""
        views, labels, *weights = batch
        labels = one_hot(labels, len(self.videos.classes))
        order = self.order
        place = (order.seed, order.start + index, order.shard[0], 0, MIXED)
        rng = np.random.default_rng(place)
        return *mix(views, labels, self.augment, rng), *weights


def with_layer(dataset, layer, classes, start=0):
    """Applies an image layer of Keras to batches, in the same way for all frames.

    `MixUp`, `CutMix`, `RandAugment` and similar layers need images, not clips. Here, a
    copy of the layer with the same random numbers is applied to each frame of a clip.

    Args:
        dataset: result of `clips`.
        layer: a layer with a seed, such as `keras.layers.MixUp(0.2, seed=1)`.
        classes: int, number of classes. Labels become probabilities, so compile the
            model with `keras.losses.CategoricalCrossentropy(from_logits=True)`, which
            also has `label_smoothing`, or with `keras.losses.BinaryCrossentropy` if a
            video can have several labels.
        start: int, `Order.start` of `clips`.

    Returns:
        `grain.IterDataset` of tuples `(clips, probabilities)` or
        `(clips, probabilities, weights)`: uint8 `(batch, frames, height, width, 3)` and
        float32 `(batch, classes)`.

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
        raise ValueError(f"The layer {layer.name!r} needs a seed. Pass seed=...")

    def apply(index, batch):
        views, labels, *weights = batch
        labels = one_hot(labels, classes)
        seed = config["seed"] + start + index
        frames = []
        for frame in np.moveaxis(views, 1, 0):
            copy = type(layer).from_config({**config, "seed": seed})
            images = {"images": frame, "labels": labels}
            answer = copy(images, training=True)
            frames.append(np.rint(ops.convert_to_numpy(answer["images"])))
        views = np.stack(frames, axis=1).clip(0, 255).astype(np.uint8)
        return views, ops.convert_to_numpy(answer["labels"]), *weights

    return dataset.map_with_index(apply)
