"""Zeros around a tensor."""

import keras
from keras import ops


def pad(x, margins):
    """Like `keras.ops.pad`, which `torch.compile` cannot follow.

    Args:
        x: tensor.
        margins: sequence of pairs of ints, zeros before and after each axis.
    """
    if keras.backend.backend() != "torch":
        return ops.pad(x, margins)
    from torch.nn import functional

    last_axis_first = [n for margin in reversed(margins) for n in margin]
    return functional.pad(x, last_axis_first)
