"""Multi-scale temporal relations (TRN).

Zhou, Andonian, Oliva, Torralba: Temporal Relational Reasoning in Videos. ECCV 2018.
https://arxiv.org/abs/1711.08496, https://github.com/zhoubolei/TRN-pytorch
"""

import itertools

import keras
import numpy as np
from keras import ops

from stzoo.backend import select, table
from stzoo.layers import initializers
from stzoo.layers.nested import configs, nested

DRAWN = 3  # subsets of each scale that the code of the authors draws
FRAMES = 16  # at most, as they have 65519 subsets


@keras.saving.register_keras_serializable("stzoo")
class TemporalRelation(keras.layers.Layer):
    """Relates subsets of 2, 3, ... and all frames (TRN).

    A *scale* is the number of frames in a subset. The features of a subset are
    concatenated in the order of its frames, and a dense layer of the scale turns them
    into `units` hidden values: `relu(fc(relu(features)))`. The hidden values of three
    subsets of a scale are added, or of all subsets if there are fewer. The sums of all
    scales are concatenated. One dense layer after this layer then equals the sum of one
    dense layer for each scale.

    In training, three subsets are drawn at random in each step, the same ones for all
    clips of a batch. In inference, `subsets` decides:

    * `"even"`: three fixed subsets. For two of them, the frames are divided into as
      many equal parts as a subset has frames: the first frame of each part, and the
      last frame of each part. The third spreads evenly from the first to the last
      frame.
    * `"random"`: three subsets are drawn as in training, so outputs differ between
      calls. The code of the authors does this.
    * `"all"`: three times the mean over all subsets, which is the expected value of
      `"random"`. It is used in training, too.

    Args:
        units: int, hidden values of each scale.
        subsets: `"even"`, `"random"` or `"all"`.
        seed: int, seed of the random subsets.
        dense: dict from names to configs of the inner Dense layers that are quantized
            or have LoRA enabled. `get_config` fills it in.

    Input shape: `(batch, frames, features)`, with 2 to 16 frames.

    Output shape: `(batch, (frames - 1) * units)`, the scale of all frames first, the
        scale of 2 frames last.

    Example:

    >>> x = np.random.rand(2, 8, 64)
    >>> stzoo.layers.TemporalRelation(32)(x).shape
    (2, 224)
    """

    def __init__(self, units=256, subsets="even", seed=0, dense=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.subsets = subsets
        self.seed = seed
        self.dense = dense or {}
        self.seed_generator = keras.random.SeedGenerator(seed)
        if subsets not in ("even", "random", "all"):
            raise ValueError(
                f'subsets must be "even", "random" or "all". Received: {subsets!r}.'
            )

    def build(self, input_shape):
        _, frames, features = input_shape
        if frames is None or not 2 <= frames <= FRAMES:
            raise ValueError(
                f"TemporalRelation takes a fixed number of frames, from 2 to {FRAMES}. "
                f"Received: input_shape={tuple(input_shape)}."
            )
        self.scales = range(frames, 1, -1)
        self.every = {n: table(every_subset(frames, n)) for n in self.scales}
        self.even = {n: table(even_subsets(frames, n)) for n in self.scales}
        for scale in self.scales:
            name = f"scale_{scale}"
            fc = nested(self, initializers.dense(self.units, "relu", name=name))
            fc.build((None, None, scale * features))
            setattr(self, name, fc)

    def call(self, inputs, training=None):
        x = ops.relu(ops.cast(inputs, "float32"))
        sums = [self._relate(x, scale, training) for scale in self.scales]
        return ops.cast(ops.concatenate(sums, axis=-1), self.compute_dtype)

    def _relate(self, x, scale, training):
        """The sum of the hidden values of some subsets."""
        features = x.shape[-1]
        places = self._choose(scale, training)
        subsets = places.shape[0]
        x = select(x, ops.reshape(places, (-1,)))
        x = ops.reshape(x, (-1, subsets, scale * features))
        hidden = getattr(self, f"scale_{scale}")(x)
        if self.subsets == "all":
            return min(DRAWN, subsets) * ops.mean(hidden, axis=1)
        return ops.sum(hidden, axis=1)

    def _choose(self, scale, training):
        """The frames of some subsets, `(subsets, scale)`."""
        if self.subsets == "even" and not training:
            return ops.convert_to_tensor(self.even[scale])
        places = ops.convert_to_tensor(self.every[scale])
        count = places.shape[0]
        if self.subsets == "all" or count <= DRAWN:
            return places
        noise = keras.random.uniform((count,), seed=self.seed_generator)
        return ops.take(places, ops.argsort(noise)[:DRAWN], axis=0)

    def compute_output_shape(self, input_shape):
        batch, frames, _ = input_shape
        return (batch, (frames - 1) * self.units)

    def get_config(self):
        names = [f"scale_{scale}" for scale in getattr(self, "scales", ())]
        return {
            **super().get_config(),
            "units": self.units,
            "subsets": self.subsets,
            "seed": self.seed,
            "dense": configs(self, *names),
        }


def every_subset(frames, scale):
    """Returns all subsets of `scale` frames, in lexicographic order.

    Returns:
        int array `(subsets, scale)`.
    """
    return np.array(list(itertools.combinations(range(frames), scale)), "int32")


def even_subsets(frames, scale):
    """Returns the three subsets of `"even"`, see `TemporalRelation`.

    They differ: the first has frame 0 only, the second the last frame only, and the
    third has both.

    Returns:
        int array `(subsets, scale)`, with one row if the subset has all frames.
    """
    if scale == frames:
        return every_subset(frames, scale)
    part = np.arange(scale)
    first = part * frames // scale
    last = frames - 1 - first[::-1]
    spread = (2 * part * (frames - 1) + scale - 1) // (2 * (scale - 1))  # rounded
    return np.array([first, last, spread], "int32")
