"""The input and the classifier of every network."""

import keras

from stzoo.layers.dropout import Dropout
from stzoo.layers.initializers import dense
from stzoo.layers.preprocessing import Normalize

HEAD = "fc"  # the name of the final dense layer of every model


def clip_input(clip):
    """Creates the input of a network and normalises it.

    Args:
        clip: `stzoo.weights.config.ClipConfig`.

    Returns:
        Tuple of two tensors `(batch, frames, height, width, channels)`: the input, RGB
        from 0 to 255, and the normalised clip.
    """
    inputs = keras.Input(clip.shape, dtype="float32", name="clip")
    return inputs, Normalize(clip.mean, clip.std, clip.order, name="normalize")(inputs)


def classifier(x, classes, dropout):
    """Applies global average pooling, dropout and the final dense layer.

    They run in float32 under any dtype policy.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        classes: int.
        dropout: float, fraction of the features that is dropped in training.

    Returns:
        Tensor `(batch, classes)`, logits.
    """
    x = keras.layers.GlobalAveragePooling3D(
        dtype="float32", data_format="channels_last", name="avgpool"
    )(x)
    return head(x, classes, dropout)


def head(x, classes, dropout):
    """Applies dropout and the final dense layer to `(batch, features)`.

    See `classifier`.
    """
    return dense(classes, name=HEAD)(drop(x, dropout))


def drop(x, rate):
    """Applies dropout to features. See `classifier`."""
    return Dropout(rate, dtype="float32", name="dropout")(x)
