"""From a list of videos to batches of clips: decoded in threads, in a known order.

Which clip stands where depends on the seed, the epoch and the number of the video, and
on nothing else: not on threads, on where a run began, or on how many processes share
the work.
"""

import dataclasses
import functools
import logging
import sys

import numpy as np
from keras import ops

from stzoo.data.decoders import open_video
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.transforms import Augment, clip_views, training_clip

logger = logging.getLogger("stzoo")


def clips(
    videos,
    clip,
    batch,
    *,
    train=False,
    repeat=False,
    augment=None,
    seed=0,
    start=0,
    last=None,
    shard=(0, 1),
    workers=4,
    decoder="av",
    skip=False,
):
    """Batches of clips for `fit`, `evaluate` and `predict` of Keras, on any backend.

    Args:
        videos: `stzoo.data.datasets.Videos`.
        clip: `stzoo.spec.Clip`, what the model expects: `model.stzoo.clip`.
        batch: int, number of clips in a batch (of this process).
        train: bool. `True`: random clips in a random order, another one in each epoch,
            without an end, so `fit` needs `steps_per_epoch`, see `steps`. `False`: the
            middle of each video, once, in the order of the list.
        repeat: bool, begin the list again at its end, as the validation of `fit` needs
            it, with `validation_steps`: Keras warns where data ends. Training always
            does.
        augment: `stzoo.data.transforms.Augment`, how clips for training are varied.
            Default: `Augment()`. If it has no `pairs`, the names of the classes tell
            them, see `stzoo.data.mirroring.mirror_pairs`.
        seed: int from 0, of the order and of the clips.
        start: int, number of the batch to begin with. With the number of steps that a
            run has taken, it goes on where it ended.
        last: what becomes of the videos that do not fill a batch: `"drop"`, or `"pad"`
            with black clips of class 0. Batches are then `(clips, labels, weights)`
            with a weight of 0 for those: give `weighted_metrics` to `compile`.
            Default: `"drop"` for training and else `"pad"`.
        shard: tuple of two ints, which process this is, from 0, and of how many. The
            batches of all processes, put together in order, are those that one process
            would have with as many times the batch.
        workers: int, number of threads that decode.
        decoder: string, see `stzoo.data.decoders.open_video`.
        skip: bool. A video that cannot be decoded is an error, or, with `skip=True`, it
            is logged, and the next one of the list stands in its place (with
            `last="pad"`: a black clip that has no weight).

    Returns:
        `grain.IterDataset` of tuples `(clips, labels)`: uint8
        `(batch, frames, height, width, channels)` and int32 `(batch,)`, or of clips
        alone if the classes are not known. Its iterators have `get_state` and
        `set_state`.

    Raises:
        ValueError: if an argument is not one of those, or there are too few videos.

    Example:

    ```python
    from stzoo.data.pipeline import clips, steps

    train = stzoo.data.datasets.read("videos/train")
    model.fit(
        clips(train, model.stzoo.clip, batch=8, train=True),
        steps_per_epoch=steps(train, 8),
        epochs=10,
        shuffle=False,  # they are
    )
    ```
    """
    import grain

    last = last or ("drop" if train else "pad")
    augment = augment or Augment()
    if augment.pairs is None:
        augment = dataclasses.replace(augment, pairs=mirror_pairs(videos.classes))
    count = steps(videos, batch, last, shard)
    if not count:
        raise ValueError(
            f"{len(videos)} videos do not fill a batch of {batch * shard[1]}. Choose a "
            'smaller batch, or last="pad".'
        )

    @functools.lru_cache(2)
    def order(epoch):
        """The videos of this process; -1 where there are no more."""
        rows = np.arange(len(videos))
        if train:
            rows = np.random.default_rng((seed, epoch)).permutation(rows)
        width = batch * shard[1]
        rows = np.pad(rows, (0, width), constant_values=-1)[: count * width]
        return rows.reshape(count, shard[1], batch)[:, shard[0]].ravel()

    def sample(index):
        """A clip, its label and its weight; `None` for black."""
        epoch, index = divmod(index, count * batch)
        first = int(order(epoch)[index])
        if first < 0:
            return None, 0, 0.0
        for row in range(first, first + len(videos)):
            try:
                return load(epoch, row % len(videos))
            except (OSError, ValueError) as error:
                if not skip:
                    raise
                logger.warning("Skipped: %s", error)
            if last == "pad":
                return None, 0, 0.0
        raise ValueError("None of the videos can be decoded.")

    def load(epoch, row):
        label = videos.labels[row] if videos.labels else 0
        with open_video(videos.paths[row], decoder) as video:
            if not train:
                return clip_views(video, clip)[0], label, 1.0
            rng = np.random.default_rng((seed, epoch, row))
            return *training_clip(video, clip, rng, augment, label), 1.0

    def stack(samples):
        views, labels, weights = zip(*samples, strict=True)
        shapes = {view.shape for view in views if view is not None} or {clip.shape}
        if len(shapes) > 1:
            raise ValueError(
                f"The clips of a batch must have one size. Received: {sorted(shapes)}. "
                "Give the clip a height and a width, or use batch=1."
            )
        (shape,) = shapes
        black = np.zeros(shape, np.uint8)
        views = np.stack([black if view is None else view for view in views])
        if not videos.labels:
            return views
        labels = np.array(labels, np.int32), np.array(weights, np.float32)
        return views, *labels[: 2 if last == "pad" else 1]

    end = sys.maxsize if train or repeat else count * batch
    numbers = grain.MapDataset.range(start * batch, end)
    reading = grain.ReadOptions(workers, 2 * batch)
    return numbers.map(sample).to_iter_dataset(reading).batch(batch, batch_fn=stack)


def steps(videos, batch, last="drop", shard=(0, 1)):
    """The number of batches in an epoch of `clips`."""
    width = batch * shard[1]
    return len(videos) // width if last == "drop" else -(-len(videos) // width)


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

    videos = stzoo.data.datasets.read("videos/train")
    batches = clips(videos, model.stzoo.clip, batch=8, train=True)
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
