"""The functions of every backend, by the operations of Keras alone."""

import math
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import keras
from keras import ops

__all__ = (
    "PLAIN",
    "Epilogue",
    "average_pool_3x3",
    "batch_norm",
    "clips_at_once",
    "constant",
    "conv2d",
    "conv3d",
    "count_sketch",
    "finish",
    "gradient",
    "has_fast_conv3d",
    "lay_out",
    "max_pool",
    "pad",
    "prefers_conv3d",
    "reshape",
    "shape_of",
    "subsample",
)


class Epilogue(NamedTuple):
    """What follows a convolution, in this order; what joins it costs less.

    Args:
        bias: tensor `(filters,)`, or `None`.
        residual: tensor of the output's shape, which is added, or `None`.
        relu: bool, whether negative results become 0.
    """

    bias: Any = None
    residual: Any = None
    relu: bool = False


PLAIN = Epilogue()


def clips_at_once():
    """How many clips to compute at a time, so that little memory is needed."""
    return 8


def shape_of(x):
    """The shape of a tensor as `reshape` takes it.

    Returns:
        Tuple: -1 for the batch, and ints, or tensors for what a graph does not know. An
        exported model takes any batch, so a size of it must not stand in a graph.
    """
    return (-1, *ops.shape(x)[1:])


def reshape(x, sizes):
    """Like `keras.ops.reshape`.

    Args:
        x: tensor.
        sizes: tuple of ints, of which one may be -1.
    """
    return ops.reshape(x, sizes)


def pad(x, margins):
    """Like `keras.ops.pad`, with zeros.

    Args:
        x: tensor.
        margins: sequence of pairs of ints, zeros before and after each axis.
    """
    return ops.pad(x, margins) if any(map(any, margins)) else x


def constant(values, like):
    """Numbers as a tensor of the type of another one."""
    return ops.array(values, like.dtype)


def subsample(x, strides):
    """Every so many places along each axis of images or clips.

    Args:
        x: tensor `(batch, ..., channels)`.
        strides: tuple of ints, one for each axis between those.
    """
    if max(strides) == 1:
        return x
    return x[(slice(None), *(slice(None, None, stride) for stride in strides))]


def finish(y, epilogue):
    """Applies what follows a convolution."""
    if epilogue.bias is not None:
        y = y + epilogue.bias
    if epilogue.residual is not None:
        y = y + reshape(epilogue.residual, shape_of(y))
    return ops.relu(y) if epilogue.relu else y


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Convolves images, with as many zeros on both sides as keep their size.

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(height, width, channels, filters)`, of odd size, or of an
            even one with an even dilation.
        strides: tuple of 2 ints.
        dilation: tuple of 2 ints.
        padded: bool, `False` for no zeros.
        epilogue: `Epilogue`. Its residual may have other axes than images: those of a
            clip.
    """
    if tuple(kernel.shape[:2]) == (1, 1):
        return matmul(subsample(x, strides), kernel, epilogue)
    if padded:
        x = pad(x, [(0, 0), *margins(kernel, dilation), (0, 0)])
    y = ops.conv(
        x, kernel, strides, data_format="channels_last", dilation_rate=dilation
    )
    return finish(y, epilogue)


def margins(kernel, dilation):
    """The zeros on both sides of each axis that keep the size of an image."""
    halves = [(n - 1) * d // 2 for n, d in zip(kernel.shape, dilation, strict=False)]
    return [(half, half) for half in halves]


def matmul(x, kernel, epilogue):
    """A 1x1 convolution as a product."""
    shape = shape_of(x)
    y = ops.matmul(reshape(x, (-1, shape[-1])), reshape(kernel, kernel.shape[2:]))
    return reshape(finish(y, epilogue), (*shape[:-1], kernel.shape[-1]))


def has_fast_conv3d(x):
    """Whether Conv3D is faster here than convolutions of images that do the same."""
    return True


def prefers_conv3d(x, kernel, strides):
    """Whether this convolution is faster as Conv3D than lowered to images.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.
    """
    return has_fast_conv3d(x)


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    """Convolves clips with an odd kernel, half of it as zeros on both sides.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.
        epilogue: `Epilogue`.
    """
    x, strides = subsample_flat_axes(x, kernel, strides)
    if strides == (1, 1, 1):  # here `same` is exact, and saves a copy
        y = ops.conv(x, kernel, padding="same", data_format="channels_last")
    else:
        x = pad(x, [(0, 0), *margins(kernel, (1, 1, 1)), (0, 0)])
        y = ops.conv(x, kernel, strides, data_format="channels_last")
    return finish(y, epilogue)


def subsample_flat_axes(x, kernel, strides):
    """Strides along axes where a kernel has size 1 only subsample.

    Returns:
        Tuple of the clip and the strides that are left.
    """
    flat = [s if n == 1 else 1 for n, s in zip(kernel.shape, strides, strict=False)]
    rest = tuple(s // f for s, f in zip(strides, flat, strict=True))
    return subsample(x, flat), rest


def lay_out(kernel):
    """Lays a variable out in memory as convolutions read it. Its shape stays."""


def max_pool(x, pool_size, strides, margins):
    """Maximum over boxes, zeros beyond the edge.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        pool_size: tuple of 3 ints.
        strides: tuple of 3 ints.
        margins: tuple of 3 pairs of ints, zeros before and after each axis.
    """
    x = pad(x, [(0, 0), *margins, (0, 0)])
    return ops.max_pool(x, pool_size, strides, "valid", "channels_last")


def average_pool_3x3(x):
    """Mean of the 3x3 pixels around each; beyond the edge they are zero and count."""
    x = pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    return ops.average_pool(x, (1, 3, 3), (1, 1, 1), "valid", "channels_last")


def pool_by_axis(function, x, pool_size, strides):
    """Pools one axis after the other: what stands in each place of the pool, as one."""
    for axis, (size, stride) in enumerate(zip(pool_size, strides, strict=True), 1):
        last = (x.shape[axis] - size) // stride * stride
        places = [
            (slice(None),) * axis + (slice(place, place + last + 1, stride),)
            for place in range(size)
        ]
        x = reduce(function, [x[place] for place in places])
    return x


def average_by_axis(x):
    """Like `average_pool_3x3`, by slices."""
    x = pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    return pool_by_axis(add, x, (1, 3, 3), (1, 1, 1)) / 9


def batch_norm(x, layer, training):
    """Normalises clips.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        layer: `keras.layers.BatchNormalization`, whose variables count.
        training: bool, by the statistics of the batch instead of the moving ones.

    Returns:
        Tuple of what is normalised and, for training, the mean and the unbiased
        variance of the batch.
    """
    mean, variance = layer.moving_mean, layer.moving_variance
    exact = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    if training:
        mean, variance = ops.moments(exact, (0, 1, 2, 3))
    scale = layer.gamma * ops.rsqrt(variance + layer.epsilon)
    y = ops.cast((exact - mean) * scale + layer.beta, x.dtype)
    if training:
        count = math.prod(ops.shape(x)[:-1])
        variance = variance * count / (count - 1)
    return y, mean, variance


def count_sketch(x, hashes, dim):
    """Adds up the channels that have the same hash.

    Which formulation is fast depends on the backend. With the FFT, three inputs of 1024
    channels to 1024, at the 7x7 locations of eight clips, best ms forward on one busy
    CPU core, so that only the order counts. At the other places of the network, 2048
    and 4096 channels, it is these two again, or a tie, on JAX and PyTorch; on
    TensorFlow that was not measured:

    | formulation                        | TensorFlow | JAX | torch |
    |------------------------------------|------------|-----|-------|
    | product with a matrix of 0, 1, -1  | 273        | 48  | 49    |
    | the same, transformed; no FFT      | 236        | 52  | 85    |
    | segments summed (here)             | 57         | 19  | 96    |
    | scattered (on torch)               | 108        | 28  | 42    |

    Args:
        x: tensor `(..., channels)`, times its signs.
        hashes: int variable `(channels,)`, from 0 to `dim - 1`.
        dim: int.

    Returns:
        Tensor `(..., dim)`.
    """
    x = ops.segment_sum(ops.moveaxis(x, -1, 0), hashes, dim)
    return ops.moveaxis(x, 0, -1)


def gradient(function, x):
    """The gradient of a function of an array, whose result is one number, as an array.

    Args:
        function: from a tensor to a tensor without axes.
        x: array.
    """
    raise NotImplementedError(
        f"Keras on {keras.backend.backend()} has no gradients. Use TensorFlow, JAX or "
        "PyTorch."
    )
