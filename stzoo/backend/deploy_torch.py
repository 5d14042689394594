"""Operations of the graphs that `stzoo.export` makes on PyTorch.

A clip is also kept as images `(batch * frames, channels, height, width)`, from one
convolution of frames to the next. So nothing is transposed or reshaped between them,
and a runtime fuses them with the bias, the residual and the ReLU. For C2D on ResNet-50,
OpenVINO runs one transposition instead of 101, and no separate addition instead of 16.

Sizes are numbers, so that only the batch is dynamic.
"""

import torch
from torch.nn import functional

from stzoo.backend import fourier
from stzoo.backend.generic import PLAIN, activate, margins

__all__ = (
    "average_pool_3x3",
    "batch_norm",
    "conv2d",
    "conv3d",
    "count_sketch",
    "depthwise_conv2d",
    "has_fast_conv3d",
    "inverse_spectrum",
    "keeps_images",
    "lay_out",
    "max_pool",
    "prefers_conv3d",
    "shape_of",
    "spectrum",
    "subsample",
)
FIRST, LAST = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)  # orders of axes: channels first, last


def keeps_images():
    return True


def has_fast_conv3d(x):
    return True


def prefers_conv3d(x, kernel, strides):
    return True


def lay_out(kernel):
    """A file holds a kernel as the runtime reads it."""


def shape_of(x):
    return (-1, *map(int, x.shape[1:]))


def _images(x):
    """Returns the images of a clip."""
    if hasattr(x, "stzoo_images"):
        return x.stzoo_images
    return x.reshape(-1, *x.shape[2:]).permute(0, 3, 1, 2)


def _clip(images, frames):
    """Returns the clip of images, which it remembers."""
    x = images.permute(0, 2, 3, 1)
    x = x.reshape(-1, frames, *map(int, x.shape[1:]))
    x.stzoo_images = images
    return x


def _finish(y, epilogue, residual):
    """Works out of place, as a graph has no memory."""
    if epilogue.residual is not None:
        y = y + residual(epilogue.residual)
    return activate(y, epilogue.activation)


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Convolves the frames of clips, and returns clips."""
    y = functional.conv2d(
        _images(x),
        kernel.permute(3, 2, 0, 1).contiguous(),
        epilogue.bias,
        stride=strides,
        padding=[n for n, _ in margins(kernel, dilation)] if padded else 0,
        dilation=dilation,
    )
    return _clip(_finish(y, epilogue, _images), int(x.shape[1]))


def depthwise_conv2d(x, kernel, strides=(1, 1), epilogue=PLAIN):
    """Convolves the channels of the frames of clips, and returns clips."""
    y = functional.conv2d(
        _images(x),
        kernel.permute(3, 2, 0, 1).contiguous(),
        epilogue.bias,
        stride=strides,
        padding=[n for n, _ in margins(kernel, (1, 1))],
        groups=int(x.shape[-1]),
    )
    return _clip(_finish(y, epilogue, _images), int(x.shape[1]))


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    y = functional.conv3d(
        x.permute(FIRST),
        kernel.permute(4, 3, 0, 1, 2).contiguous(),
        epilogue.bias,
        stride=strides,
        padding=[n for n, _ in margins(kernel, (1, 1, 1))],
    )
    return _finish(y, epilogue, lambda x: x.permute(FIRST)).permute(LAST)


def subsample(x, strides):
    """Uses a pool of size 1: OpenVINO computes a wrong size for a slice with a step
    (openvinotoolkit/openvino#37932).
    """
    if max(strides) == 1:
        return x
    return functional.max_pool3d(x.permute(FIRST), 1, strides).permute(LAST)


def max_pool(x, pool_size, strides, margins):
    """Pools images, then time: often only one of them is needed."""
    ends, *sides = margins
    if max(pool_size[1:]) > 1 or max(strides[1:]) > 1:
        images, padding = _images(x), [before for before, _ in sides]
        if any(before != after for before, after in sides):
            zeros = [n for pair in reversed(sides) for n in pair]
            images, padding = functional.pad(images, zeros), 0
        images = functional.max_pool2d(images, pool_size[1:], strides[1:], padding)
        x = _clip(images, int(x.shape[1]))
    return _max_in_time(x, pool_size[0], strides[0], ends)


def _max_in_time(x, size, stride, ends):
    frames, *sizes = map(int, x.shape[1:])
    if size == stride == 1:
        return x
    if size == stride and frames % size == 0 and not any(ends):
        return x.reshape(-1, frames // size, size, *sizes).amax(2)
    x = functional.pad(x, (0, 0, 0, 0, 0, 0, *ends)).permute(FIRST)
    return functional.max_pool3d(x, (size, 1, 1), (stride, 1, 1)).permute(LAST)


def average_pool_3x3(x):
    images = functional.avg_pool2d(_images(x), 3, 1, 1)
    return _clip(images, int(x.shape[1]))


def batch_norm(x, layer, training):
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    scale = layer.gamma.value * torch.rsqrt(variance + layer.epsilon)
    return x * scale + (layer.beta.value - mean * scale), mean, variance


def count_sketch(x, hashes, dim):
    """Multiplies by a matrix, since runtimes lack a sum by index."""
    matrix = hashes.value[:, None] == torch.arange(dim, dtype=torch.int32)
    return x @ matrix.to(x.dtype)


def spectrum(x):
    real, imaginary = map(torch.from_numpy, fourier.forward(int(x.shape[-1])))
    return x @ real, x @ imaginary


def inverse_spectrum(parts, dim):
    real, imaginary = map(torch.from_numpy, fourier.inverse(dim))
    return parts[0] @ real + parts[1] @ imaginary
