"""Generic implementations that use only Keras operations."""

import math
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import keras
from keras import ops

__all__ = (
    "PLAIN",
    "Epilogue",
    "attend",
    "average_pool_3x3",
    "batch_norm",
    "clips_at_once",
    "concatenate",
    "constant",
    "conv2d",
    "conv3d",
    "count_sketch",
    "depthwise_by_slices",
    "depthwise_conv2d",
    "finish",
    "has_dilated_conv3d",
    "has_fast_conv3d",
    "inverse_spectrum",
    "keeps_images",
    "lay_out",
    "layer_norm",
    "max_over_clip",
    "max_pool",
    "normalize",
    "pad",
    "prefers_conv3d",
    "reshape",
    "select",
    "shape_of",
    "spectrum",
    "split_strides",
    "subsample",
    "table",
    "weighted_sum",
)


class Epilogue(NamedTuple):
    """The operations after a convolution, in this order. Fused, they are faster.

    Args:
        bias: tensor `(filters,)`, or `None`.
        residual: tensor of the shape of the output, which is added, or `None`.
        activation: `None`, `"relu"` or `"relu6"`.
    """

    bias: Any = None
    residual: Any = None
    activation: str | None = None


PLAIN = Epilogue()


def clips_at_once():
    """Returns the number of clips to compute at a time, to limit memory."""
    return 8


def shape_of(x):
    """Returns the shape of a tensor as `reshape` takes it.

    Returns:
        Tuple of -1 for the batch, and an int for each other axis, or a tensor if it is
        dynamic. The batch size must not be part of a graph, since an exported model
        takes any batch.
    """
    return (-1, *ops.shape(x)[1:])


def reshape(x, sizes):
    """Like `keras.ops.reshape`.

    Args:
        x: tensor.
        sizes: tuple of ints, one of which may be -1.
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
    """Returns numbers as a tensor with the dtype of another tensor."""
    return ops.array(values, like.dtype)


def table(array):
    """Returns an array that a layer keeps, for `keras.ops` to index in each call."""
    return array


def select(x, places):
    """Returns the frames at some places, of features `(batch, frames, ...)`."""
    return ops.take(x, places, axis=1)


def subsample(x, strides):
    """Subsamples images or clips.

    Args:
        x: tensor `(batch, ..., channels)`.
        strides: tuple of ints, one for each axis between batch and channels.
    """
    if max(strides) == 1:
        return x
    return x[(slice(None), *(slice(None, None, stride) for stride in strides))]


def finish(y, epilogue):
    """Applies the epilogue of a convolution."""
    if epilogue.bias is not None:
        y = y + epilogue.bias
    if epilogue.residual is not None:
        y = y + reshape(epilogue.residual, shape_of(y))
    return activate(y, epilogue.activation)


def activate(y, activation):
    """Applies `None`, `"relu"` or `"relu6"`."""
    match activation:
        case "relu":
            return ops.relu(y)
        case "relu6":
            return ops.relu6(y)
    return y


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Convolves images, with the same zero padding on both sides.

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(height, width, channels, filters)`. An even size needs an even
            dilation.
        strides: tuple of 2 ints.
        dilation: tuple of 2 ints.
        padded: bool, whether to pad, so that stride 1 keeps the size.
        epilogue: `Epilogue`. Its residual may have the axes of a clip.
    """
    if tuple(kernel.shape[:2]) == (1, 1):
        return matmul(subsample(x, strides), kernel, epilogue)
    if padded:
        x = pad(x, [(0, 0), *margins(kernel, dilation), (0, 0)])
    y = ops.conv(
        x, kernel, strides, data_format="channels_last", dilation_rate=dilation
    )
    return finish(y, epilogue)


def depthwise_conv2d(x, kernel, strides=(1, 1), epilogue=PLAIN):
    """Convolves each channel of images with its own kernel, padded with half its size.

    Best ms forward, and forward with gradients, on two CPU cores, 3x3:

    | formulation     | 8x56x56x144                      | 8x14x14x384              |
    |-----------------|----------------------------------|--------------------------|
    | TensorFlow      | **3.3, 14**; slices 24, 679      | **0.7, 2.7**; 9.7, 42    |
    | JAX             | 105, 672; **slices 23, 292**     | 36, 119; **0.4, 53**     |
    | PyTorch         | **14, 48**; slices 119, 509      | **0.2, 1.1**; 1.4, 65    |

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(height, width, 1, channels)` of an odd size.
        strides: tuple of 2 equal ints.
        epilogue: `Epilogue`. Its residual may have the axes of a clip.
    """
    x = pad(x, [(0, 0), *margins(kernel, (1, 1)), (0, 0)])
    y = ops.depthwise_conv(x, per_channel(kernel), strides, data_format="channels_last")
    return finish(y, epilogue)


def per_channel(kernel):
    """Swaps the last two axes of a depthwise kernel: Keras has `(..., channels, 1)`."""
    height, width, _, channels = kernel.shape
    return reshape(kernel, (height, width, channels, 1))


def depthwise_by_slices(x, kernel, strides, epilogue):
    """Like `depthwise_conv2d`, as a sum of shifted images."""
    height, width = kernel.shape[:2]
    x = pad(x, [(0, 0), *margins(kernel, (1, 1)), (0, 0)])
    rows, columns = (x.shape[1] - height) + 1, (x.shape[2] - width) + 1
    terms = [
        x[:, i : i + rows : strides[0], j : j + columns : strides[1]] * kernel[i, j, 0]
        for i in range(height)
        for j in range(width)
    ]
    return finish(reduce(add, terms), epilogue)


def margins(kernel, dilation):
    """Returns the padding of each axis that keeps the size of an image."""
    halves = [(n - 1) * d // 2 for n, d in zip(kernel.shape, dilation, strict=False)]
    return [(half, half) for half in halves]


def matmul(x, kernel, epilogue):
    """Computes a 1x1 convolution as a matrix product."""
    shape = shape_of(x)
    y = ops.matmul(reshape(x, (-1, shape[-1])), reshape(kernel, kernel.shape[2:]))
    return reshape(finish(y, epilogue), (*shape[:-1], kernel.shape[-1]))


def attend(query, key, value):
    """Computes attention by the fused kernel of the backend.

    Args:
        query, key, value: tensors `(batch, tokens, heads, channels)`.
    """
    return ops.dot_product_attention(query, key, value)


def has_fast_conv3d(x):
    """Returns whether Conv3D is faster than equivalent 2D convolutions."""
    return True


def has_dilated_conv3d():
    """Returns whether `conv3d` takes a dilation, and is faster with fewer products."""
    return False


def keeps_images():
    """Returns whether `conv2d` takes clips, and keeps their images for the next one."""
    return False


def prefers_conv3d(x, kernel, strides):
    """Returns whether this convolution is faster as Conv3D than lowered to 2D.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.
    """
    return has_fast_conv3d(x)


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    """Convolves clips with an odd kernel, padded with half its size on both sides.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.
        epilogue: `Epilogue`.
    """
    flat, strides = split_strides(kernel, strides)
    x = subsample(x, flat)
    if strides == (1, 1, 1):  # here `same` is symmetric, and saves a copy
        y = ops.conv(x, kernel, padding="same", data_format="channels_last")
    else:
        x = pad(x, [(0, 0), *margins(kernel, (1, 1, 1)), (0, 0)])
        y = ops.conv(x, kernel, strides, data_format="channels_last")
    return finish(y, epilogue)


def split_strides(kernel, strides):
    """Splits strides into those that only subsample, where the kernel has size 1, and
    the rest.

    Args:
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.

    Returns:
        Two tuples of 3 ints. Their product is `strides`.
    """
    flat = tuple(
        s if n == 1 else 1 for n, s in zip(kernel.shape, strides, strict=False)
    )
    return flat, tuple(s // f for s, f in zip(strides, flat, strict=True))


def lay_out(kernel):
    """Changes the memory layout of a kernel to that of convolutions, not its shape."""


def max_over_clip(x):
    """Returns the maximum of each channel of clips, `(batch, channels)`."""
    return ops.amax(x, axis=(1, 2, 3))


def weighted_sum(clips, weights):
    """Adds clips, with a weight for each of their channels.

    Args:
        clips: list of tensors `(batch, frames, height, width, channels)`.
        weights: list of as many tensors `(batch, channels)`.
    """
    # One axis less than indexing after: LiteRT indexes five axes at most.
    weights = [ops.expand_dims(w, (1, 2, 3)) for w in weights]
    return sum(w * clip for w, clip in zip(weights, clips, strict=True))


def concatenate(clips):
    """Concatenates the channels of clips.

    Args:
        clips: list of tensors `(batch, frames, height, width, channels)`.
    """
    return ops.concatenate(clips, axis=-1)


def normalize(x, mean, std, reverse):
    """Returns `(x - mean) / std`, with the channels reversed if asked.

    Args:
        x: float tensor `(..., channels)`.
        mean, std: tuples of floats, one for each channel of `x`.
        reverse: bool, whether to reverse the channels afterwards.
    """
    x = (x - constant(mean, x)) / constant(std, x)
    return ops.flip(x, axis=-1) if reverse else x


def max_pool(x, pool_size, strides, margins):
    """Max pooling with zero padding.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        pool_size: tuple of 3 ints.
        strides: tuple of 3 ints.
        margins: tuple of 3 pairs of ints, zeros before and after each axis.
    """
    x = pad(x, [(0, 0), *margins, (0, 0)])
    return ops.max_pool(x, pool_size, strides, "valid", "channels_last")


def average_pool_3x3(x):
    """Average pooling of 3x3 pixels with stride 1. The mean includes zero padding."""
    x = pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    return ops.average_pool(x, (1, 3, 3), (1, 1, 1), "valid", "channels_last")


def pool_by_axis(function, x, pool_size, strides):
    """Pools one axis after the other, by reducing shifted slices with a function."""
    for axis, (size, stride) in enumerate(zip(pool_size, strides, strict=True), 1):
        last = (x.shape[axis] - size) // stride * stride
        places = [
            (slice(None),) * axis + (slice(place, place + last + 1, stride),)
            for place in range(size)
        ]
        x = reduce(function, [x[place] for place in places])
    return x


def average_by_axis(x):
    """Like `average_pool_3x3`, with slices."""
    x = pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    return pool_by_axis(add, x, (1, 3, 3), (1, 1, 1)) / 9


def batch_norm(x, layer, training):
    """Normalises clips.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        layer: `keras.layers.BatchNormalization`, whose variables are used.
        training: bool, whether to use the statistics of the batch instead of the moving
            ones.

    Returns:
        Tuple of the normalised clips, a mean and a variance. In training, these are the
        mean and the unbiased variance of the batch.
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


def layer_norm(x, layer):
    """Normalises each token.

    Args:
        x: tensor `(batch, tokens, channels)`.
        layer: `keras.layers.LayerNormalization`, whose variables are used.
    """
    return ops.layer_normalization(x, layer.gamma, layer.beta, -1, layer.epsilon)


def count_sketch(x, hashes, dim):
    """Sums the channels that have the same hash.

    The fastest formulation depends on the backend. The table has the best ms of the
    forward pass with the FFT, for three inputs of 1024 channels to 1024, at the 7x7
    locations of eight clips. The CPU core was busy, so only the order is meaningful.
    With the 2048 and 4096 channels of the other layers, JAX and PyTorch have the same
    order or a tie. TensorFlow was not measured there.

    | formulation                        | TensorFlow | JAX | torch |
    |------------------------------------|------------|-----|-------|
    | product with a matrix of 0, 1, -1  | 273        | 48  | 49    |
    | the same, transformed; no FFT      | 236        | 52  | 85    |
    | segments summed (here)             | 57         | 19  | 96    |
    | scattered (on torch)               | 108        | 28  | 42    |

    Args:
        x: tensor `(..., channels)`, already multiplied by the signs.
        hashes: int variable `(channels,)`, from 0 to `dim - 1`.
        dim: int, number of output channels.

    Returns:
        Tensor `(..., dim)`.
    """
    x = ops.segment_sum(ops.moveaxis(x, -1, 0), hashes, dim)
    return ops.moveaxis(x, 0, -1)


def spectrum(x):
    """Fourier transform of real numbers, along the last axis.

    Returns:
        Tuple of the real and the imaginary part, `(..., channels // 2 + 1)`.
    """
    return ops.rfft(x)


def inverse_spectrum(parts, dim):
    """The inverse of `spectrum`.

    Args:
        parts: tuple of the real and the imaginary part.
        dim: int, number of output channels.
    """
    return ops.irfft(parts, fft_length=dim)
