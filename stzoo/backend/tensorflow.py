"""Fast operations on TensorFlow. Most of them use oneDNN on a CPU."""

import tensorflow as tf

from stzoo.backend import generic
from stzoo.backend.generic import PLAIN, reshape, shape_of

__all__ = (
    "attend",
    "batch_norm",
    "conv2d",
    "conv3d",
    "depthwise_conv2d",
    "finish",
    "gradient",
    "max_pool",
    "pad",
    "subsample",
)
SCORES = 2**22  # of attention that are computed at once, for a clip


def pad(x, margins):
    """Uses `PadV2`, since TensorFlow fuses `Pad` with the Conv3D after it. The
    gradients then lack the `Pad`, and TensorFlow stops optimising the graph.
    """
    if not any(map(any, margins)):
        return x
    zero = tf.zeros((), x.dtype)
    return tf.raw_ops.PadV2(input=x, paddings=margins, constant_values=zero)


def subsample(x, strides):
    """Uses a pool of size 1: every second row of 4x8x28x28x256 numbers takes 2 ms on a
    CPU core, instead of 40 with a slice. Clips of float16 and float64 have no pool.
    """
    clips = len(strides) == 3
    if max(strides) == 1 or (clips and x.dtype in (tf.float16, tf.float64)):
        return generic.subsample(x, strides)
    layout = "NDHWC" if clips else "NHWC"
    return tf.nn.avg_pool(x, 1, (1, *strides, 1), "VALID", layout)


def finish(y, epilogue):
    """TensorFlow fuses a convolution with the operations that directly follow it. A
    change of shape between them prevents this.
    """
    if epilogue.bias is not None:
        y = tf.nn.bias_add(y, epilogue.bias)
    if epilogue.residual is not None:
        y = y + reshape(epilogue.residual, shape_of(y))
    return generic.activate(y, epilogue.activation)


def attend(query, key, value):
    """Computes the scores of some queries at a time, which stay in the cache of a CPU,
    as TensorFlow has no fused kernel. The 1568 tokens and 12 heads of `videomae_base`
    take 45 ms on two cores, instead of 60 with all scores at once.
    """
    query, key, value = (tf.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
    query *= query.shape[-1] ** -0.5
    _, heads, queries, _ = query.shape
    if queries is None or key.shape[2] is None:
        parts = [query]
    else:
        rows = max(1, SCORES // (heads * key.shape[2]))
        parts = [query[:, :, n : n + rows] for n in range(0, queries, rows)]
    found = [_attend(part, key, value) for part in parts]
    return tf.transpose(tf.concat(found, axis=2), (0, 2, 1, 3))


def _attend(query, key, value):
    """The softmax is computed in float32, as in Keras."""
    scores = tf.matmul(query, key, transpose_b=True)
    shares = tf.nn.softmax(tf.cast(scores, tf.float32))
    return tf.matmul(tf.cast(shares, value.dtype), value)


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Also used for 1x1, where it is up to a third faster than a matrix product.
    Strides are faster than subsampling. With explicit padding, gradients take twice as
    long.
    """
    same = padded and max(strides) == 1
    if padded and not same:
        x = pad(x, [(0, 0), *generic.margins(kernel, dilation), (0, 0)])
    method = "SAME" if same else "VALID"
    y = tf.nn.conv2d(x, kernel, strides, method, dilations=dilation)
    return finish(y, epilogue)


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    flat, strides = generic.split_strides(kernel, strides)
    x = subsample(x, flat)
    same = strides == (1, 1, 1)
    if not same:
        x = pad(x, [(0, 0), *generic.margins(kernel, (1, 1, 1)), (0, 0)])
    y = tf.nn.conv3d(x, kernel, (1, *strides, 1), "SAME" if same else "VALID")
    return finish(y, epilogue)


def depthwise_conv2d(x, kernel, strides=(1, 1), epilogue=PLAIN):
    same = max(strides) == 1
    if not same:
        x = pad(x, [(0, 0), *generic.margins(kernel, (1, 1)), (0, 0)])
    y = tf.nn.depthwise_conv2d(
        x, generic.per_channel(kernel), (1, *strides, 1), "SAME" if same else "VALID"
    )
    return finish(y, epilogue)


def max_pool(x, pool_size, strides, margins):
    """Uses float32 for float16 and float64, too: TensorFlow has no float16 kernel on a
    CPU, and no float64 kernel at all.
    """
    x = pad(x, [(0, 0), *margins, (0, 0)])
    other = x.dtype in (tf.float16, tf.float64)
    exact = tf.cast(x, tf.float32) if other else x
    y = tf.nn.max_pool3d(exact, pool_size, strides, "VALID")
    return tf.cast(y, x.dtype)


def batch_norm(x, layer, training):
    """Uses the fused kernel, which takes images and no float64: forward and gradients
    of 32x8x32x32x16 numbers take 10 ms on a CPU, instead of 54 when composed.
    """
    if x.dtype == tf.float64:
        return generic.batch_norm(x, layer, training)
    shape = shape_of(x)
    values = [layer.gamma, layer.beta]
    if not training:
        values += [layer.moving_mean, layer.moving_variance]
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        reshape(x, (-1, *shape[2:])),
        *[tf.cast(value.value, "float32") for value in values],
        epsilon=layer.epsilon,
        is_training=training,
    )
    return reshape(y, shape), mean, variance


def gradient(function, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()
