"""3D convolutions, lowered to 2D convolutions where these are faster.

The result is the same in each case. Padding is that of the originals: `size // 2` zeros
on both sides of every axis (`padding="same"` pads only the end for stride 2 and an even
size). `stzoo.backend` decides which way is faster.
"""

from keras import ops

from stzoo.backend import (
    PLAIN,
    Epilogue,
    conv2d,
    conv3d,
    depthwise_conv2d,
    finish,
    has_dilated_conv3d,
    has_fast_conv3d,
    keeps_images,
    pad,
    prefers_conv3d,
    reshape,
    shape_of,
    split_strides,
    subsample,
)


def conv2d_by_frame(x, kernel, strides=(1, 1), **how):
    """Convolves every frame with a 2D kernel. Time is merged into the batch.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(height, width, channels, filters)`.
        strides: tuple of 2 ints.
        **how: see `stzoo.backend.conv2d`.
    """
    batch, frames, height, width, channels = shape_of(x)
    if keeps_images():
        return conv2d(x, kernel, strides, **how)
    y = reshape(x, (-1, height, width, channels))
    y = conv2d(y, kernel, strides, **how)
    return reshape(y, (-1, frames, *shape_of(y)[1:]))


def depthwise_by_frame(x, kernel, strides=(1, 1), epilogue=PLAIN):
    """Convolves each channel of every frame. Time is merged into the batch.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel, strides, epilogue: see `stzoo.backend.depthwise_conv2d`.
    """
    batch, frames, height, width, channels = shape_of(x)
    if keeps_images():
        return depthwise_conv2d(x, kernel, strides, epilogue)
    y = reshape(x, (-1, height, width, channels))
    y = depthwise_conv2d(y, kernel, strides, epilogue)
    return reshape(y, (-1, frames, *shape_of(y)[1:]))


def convolve(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    """Convolves clips with an odd kernel, padded with half its size on both sides.

    Forward pass in ms on two CPU cores, for 8x56x56 and 64 filters:

    | kernel | TensorFlow Conv3D | JAX Conv3D | lowered | torch Conv3D | lowered |
    |--------|-------------------|------------|---------|--------------|---------|
    | 3x1x1  | 3.2               | 10.2       | 3.1     | 2.6          | 2.6     |
    | 3x3x3  | 23.0              | 87.7       | 59.6    | 21.9         | 26.2    |

    and for 4x28x28 and 128 filters:

    | 3x1x1  | 1.6               | 3.3        | 1.6     | 2.7          | 1.3     |
    | 3x1x3  | 4.0               | 5.4        | 5.0     | 7.9          | 3.7     |

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.
        epilogue: `stzoo.backend.Epilogue`.
    """
    if kernel.shape[0] == 1:
        x = subsample(x, (strides[0], 1, 1))
        kernel = _image(kernel, 0)
        return conv2d_by_frame(x, kernel, strides[1:], epilogue=epilogue)
    if prefers_conv3d(x, kernel, strides):
        return conv3d(x, kernel, strides, epilogue)
    flat, strides = split_strides(kernel, strides)
    x = subsample(x, flat)
    if tuple(kernel.shape[1:3]) == (1, 1):
        return _by_position(x, kernel, strides, epilogue=epilogue)
    if strides == (1, 1, 1) and kernel.shape[2] == 1:
        return _by_row(x, kernel, epilogue=epilogue)
    if strides == (1, 1, 1) and kernel.shape[1] == 1:
        return _by_column(x, kernel, epilogue=epilogue)
    return _by_shift(x, kernel, strides, epilogue=epilogue)


def convolve_without_corners(x, kernel, epilogue=PLAIN):
    """Convolves clips with a 3x3x3 kernel whose eight corners are zero.

    It is the sum of a 3x3 convolution of the frame, and of two convolutions of the
    frames before and after: one with the 3 values of the middle row, one with the 2
    other values of the middle column. Where convolutions are lowered to 2D, that is 19
    of the 27 products, and was faster on JAX than three views or the whole kernel.
    Conv3D of TensorFlow has no dilation on a CPU, so the gaps of the kernel are filled
    with zeros there, and this is faster for small maps only. An export has dilation:
    with OpenVINO, 64 filters of 8x56x56 take 38 ms instead of 46 for the whole kernel,
    128 of 4x28x28 12 instead of 23, 256 of 4x14x14 12 instead of 21, and 512 of 4x7x7
    18 instead of 33 (two cores of an AMD EPYC, AVX-512).

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(3, 3, 3, channels, filters)`.
        epilogue: `stzoo.backend.Epilogue`.
    """
    frame = conv2d_by_frame(x, kernel[1], epilogue=Epilogue(epilogue.bias))
    if has_dilated_conv3d():
        columns = conv3d(x, kernel[::2, 1:2], dilation=(2, 1, 1))
        rows = conv3d(x, kernel[::2, ::2, 1:2], dilation=(2, 2, 1))
    elif has_fast_conv3d(x):
        outer = reshape(ops.array([1, 0, 1], kernel.dtype), (3, 1, 1, 1, 1))
        columns = convolve(x, kernel[:, 1:2] * outer)
        rows = convolve(x, kernel[:, :, 1:2] * outer * ops.moveaxis(outer, 0, 1))
    else:
        columns = _by_column(x, kernel[::2, 1:2], step=2)
        rows = _by_row(x, kernel[::2, ::2, 1:2], step=2)
    return finish(frame + columns + rows, epilogue._replace(bias=None))


def _image(kernel, axis):
    """Removes an axis of size 1 by a reshape: the gradient of a slice is a copy."""
    sizes = list(kernel.shape)
    del sizes[axis]
    return reshape(kernel, sizes)


def _by_position(x, kernel, strides, epilogue):
    """kx1x1: height and width become one axis, along which the kernel has size 1."""
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, frames, height * width, channels))
    y = conv2d(y, _image(kernel, 2), (strides[0], 1), epilogue=epilogue)
    return reshape(y, (-1, shape_of(y)[1], height, width, kernel.shape[-1]))


def _by_row(x, kernel, step=1, epilogue=PLAIN):
    """kxkx1: rows are concatenated, so the next row has an offset of one width.

    The kernel sees every `step`-th frame and row.
    """
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, frames, height * width, channels))
    y = conv2d(y, _image(kernel, 2), dilation=(step, step * width), epilogue=epilogue)
    return reshape(y, (-1, frames, height, width, kernel.shape[-1]))


def _by_column(x, kernel, step=1, epilogue=PLAIN):
    """kx1xk: rows are concatenated, with zeros between them.

    The kernel sees every `step`-th frame.
    """
    batch, frames, height, width, channels = shape_of(x)
    zeros = kernel.shape[2] // 2
    y = pad(x, [(0, 0), (0, 0), (0, 0), (0, zeros), (0, 0)])
    y = reshape(y, (-1, frames, height * (width + zeros), channels))
    y = conv2d(
        y, _image(kernel, 1), dilation=(step, 1), epilogue=Epilogue(epilogue.bias)
    )
    y = reshape(y, (-1, frames, height, width + zeros, kernel.shape[-1]))
    return finish(y[:, :, :, :width], epilogue._replace(bias=None))


def _by_shift(x, kernel, strides, epilogue):
    """kxkxk: copies of the clip, shifted in time, are concatenated in channels."""
    batch, frames, height, width, channels = shape_of(x)
    size = kernel.shape[0]
    x = pad(x, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0), (0, 0)])
    shifted = [x[:, t : t + frames : strides[0]] for t in range(size)]
    kernel = ops.concatenate([kernel[t] for t in range(size)], axis=2)
    x = ops.concatenate(shifted, axis=-1)
    return conv2d_by_frame(x, kernel, strides[1:], epilogue=epilogue)
