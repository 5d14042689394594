"""The two ends of every network: a clip comes in, logits go out."""

import random

import keras

from stzoo.layers.initializers import dense
from stzoo.layers.preprocessing import Normalize


def clip_input(clip):
    """The input of a network and its normalised clip.

    Args:
        clip: `stzoo.weights.config.ClipConfig`.

    Returns:
        Tuple of two tensors `(batch, frames, height, width, channels)`: RGB of 0 to
        255, and normalised.
    """
    inputs = keras.Input(clip.shape, dtype="float32", name="clip")
    return inputs, Normalize(clip.mean, clip.std, clip.order, name="normalize")(inputs)


def classifier(x, classes, dropout):
    """Global average, dropout, logits: in float32 under any precision policy.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        classes: int.
        dropout: float, share of the features that training drops.

    Returns:
        Tensor `(batch, classes)`.
    """
    x = keras.layers.GlobalAveragePooling3D(
        dtype="float32", data_format="channels_last", name="avgpool"
    )(x)
    return head(x, classes, dropout)


def head(x, classes, dropout):
    """Dropout and logits of vectors `(batch, features)`, see `classifier`."""
    # Drawn as Keras draws it. Without one, dropout on torch follows torch's own state
    # instead of the layer's, and a training that is resumed would not be the same.
    seed = random.randint(1, 10**9)
    x = keras.layers.Dropout(dropout, seed=seed, dtype="float32", name="dropout")(x)
    return dense(classes, name="fc")(x)
