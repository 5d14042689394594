"""Operations of the graphs that `stzoo.export` makes for LiteRT.

LiteRT has fast convolutions and pools of images, and no max pool of clips.
"""

import tensorflow as tf

from stzoo.backend import fourier, generic
from stzoo.backend.generic import reshape, shape_of, subsample

__all__ = (
    "average_pool_3x3",
    "batch_norm",
    "count_sketch",
    "has_fast_conv3d",
    "inverse_spectrum",
    "max_pool",
    "pad",
    "prefers_conv3d",
    "spectrum",
    "subsample",
)


def has_fast_conv3d(x):
    return False


def prefers_conv3d(x, kernel, strides):
    return False


def pad(x, margins):
    return tf.pad(x, margins) if any(map(any, margins)) else x


def max_pool(x, pool_size, strides, margins):
    x = pad(x, [(0, 0), *margins, (0, 0)])
    x = _by_frame(tf.nn.max_pool2d, x, pool_size[1:], strides[1:])
    time = (pool_size[0], 1, 1), (strides[0], 1, 1)
    return generic.pool_by_axis(tf.maximum, x, *time)


def average_pool_3x3(x):
    x = pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    return _by_frame(tf.nn.avg_pool2d, x, (3, 3), (1, 1))


def _by_frame(pool, x, size, strides):
    frames = x.shape[1]
    y = pool(reshape(x, (-1, *shape_of(x)[2:])), size, strides, "VALID")
    return reshape(y, (-1, frames, *y.shape[1:]))


def batch_norm(x, layer, training):
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    scale = layer.gamma.value * tf.math.rsqrt(variance + layer.epsilon)
    return x * scale + (layer.beta.value - mean * scale), mean, variance


def count_sketch(x, hashes, dim):
    """Multiplies by a matrix, since LiteRT lacks a sum by index."""
    matrix = tf.cast(hashes.value[:, None] == tf.range(dim), x.dtype)
    return tf.linalg.matmul(x, matrix)


def spectrum(x):
    real, imaginary = fourier.forward(x.shape[-1])
    return tf.linalg.matmul(x, real), tf.linalg.matmul(x, imaginary)


def inverse_spectrum(parts, dim):
    real, imaginary = fourier.inverse(dim)
    return tf.linalg.matmul(parts[0], real) + tf.linalg.matmul(parts[1], imaginary)
