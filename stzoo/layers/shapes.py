"""Shapes of tensors, where what Keras does costs a backend more than it has to.

On PyTorch, each of its operations first looks for symbolic tensors among its arguments,
for longer than to reshape a tensor takes. P3D-199 does that a thousand times.
"""

import keras
from keras import ops


def shape_of(x):
    """Like `keras.ops.shape`: a tuple, with tensors for what a graph does not know."""
    return tuple(x.shape) if _torch() else ops.shape(x)


def reshape(x, sizes):
    """Like `keras.ops.reshape`.

    Args:
        x: tensor.
        sizes: tuple of ints, of which one may be -1.
    """
    return x.reshape(sizes) if _torch() else ops.reshape(x, sizes)


def pad(x, margins):
    """Like `keras.ops.pad`, with zeros.

    `torch.compile` cannot follow that one; and TensorFlow joins its `Pad` with a Conv3D
    after it, in whose gradients it misses it then, and optimises nothing.

    Args:
        x: tensor.
        margins: sequence of pairs of ints, zeros before and after each axis.
    """
    if not any(map(any, margins)):
        return x
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            return tf.raw_ops.PadV2(
                input=x, paddings=margins, constant_values=tf.zeros((), x.dtype)
            )
        case "torch":
            from torch.nn import functional

            last_axis_first = [n for margin in reversed(margins) for n in margin]
            return functional.pad(x, last_axis_first)
        case _:
            return ops.pad(x, margins)


def _torch():
    return keras.backend.backend() == "torch"
