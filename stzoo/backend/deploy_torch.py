"""Operations of the graphs that `stzoo.export` makes on PyTorch.

A clip is also kept as its convolution left it, channels first, for the next one. So
nothing is transposed or reshaped between them, and a runtime fuses them with the bias,
the residual and the ReLU. STZOO_DEPLOY says which of two forms that is:

* `images`, `(batch * frames, channels, height, width)`, for networks whose
  convolutions and pools are all of frames, and for ONNX Runtime;
* `volumes`, `(batch, channels, frames, height, width)`, for networks that also
  convolve or pool along time. Every convolution is then one of volumes.

Sizes are numbers, so that only the batch is dynamic.
"""

import math
import os

import torch
from torch.nn import functional

from stzoo.backend import fourier
from stzoo.backend.generic import PLAIN, activate

__all__ = (
    "average_pool_3x3",
    "batch_norm",
    "concatenate",
    "conv2d",
    "conv3d",
    "count_sketch",
    "depthwise_conv2d",
    "has_dilated_conv3d",
    "has_fast_conv3d",
    "inverse_spectrum",
    "keeps_images",
    "lay_out",
    "layer_norm",
    "max_over_clip",
    "max_pool",
    "normalize",
    "prefers_conv3d",
    "shape_of",
    "spectrum",
    "subsample",
    "weighted_sum",
)
FIRST, LAST = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)  # orders of axes: channels first, last
VOLUMES = os.environ.get("STZOO_DEPLOY") == "volumes"


def keeps_images():
    return True


def has_fast_conv3d(x):
    return True


def has_dilated_conv3d():
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


def _of_images(images, frames):
    """Returns the clip of images, which it remembers."""
    x = images.permute(0, 2, 3, 1)
    x = x.reshape(-1, frames, *map(int, x.shape[1:]))
    x.stzoo_images = images
    return x


def _volume(x):
    """Returns the volume of a clip."""
    return x.stzoo_volume if hasattr(x, "stzoo_volume") else x.permute(FIRST)


def _of_volume(volume):
    """Returns the clip of a volume, which it remembers."""
    x = volume.permute(LAST)
    x.stzoo_volume = volume
    return x


def _finish(y, epilogue, residual):
    """Works out of place, as a graph has no memory."""
    if epilogue.residual is not None:
        y = y + residual(epilogue.residual)
    return activate(y, epilogue.activation)


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Convolves the frames of clips, and returns clips."""
    how = _of_frames(kernel, strides, dilation)
    return _convolve(x, *how, epilogue, padded=padded)


def depthwise_conv2d(x, kernel, strides=(1, 1), epilogue=PLAIN):
    """Convolves the channels of the frames of clips, and returns clips."""
    how = _of_frames(kernel, strides, (1, 1))
    return _convolve(x, *how, epilogue, groups=int(x.shape[-1]))


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN, dilation=(1, 1, 1)):
    return _convolve(x, kernel, strides, dilation, epilogue)


def _of_frames(kernel, strides, dilation):
    """Returns a convolution of frames as one of volumes, if that is the layout."""
    if VOLUMES:
        return kernel[None], (1, *strides), (1, *dilation)
    return kernel, strides, dilation


def _convolve(x, kernel, strides, dilation, epilogue, groups=1, padded=True):
    """Convolves volumes or images, whichever the axes of the kernel are of."""
    axes = len(kernel.shape)
    kernel = kernel.permute(axes - 1, axes - 2, *range(axes - 2)).contiguous()
    margins = _margins(kernel, dilation) if padded else 0
    how = (epilogue.bias, strides, margins, dilation, groups)
    if axes == 5:
        y = functional.conv3d(_volume(x), kernel, *how)
        return _of_volume(_finish(y, epilogue, _volume))
    y = functional.conv2d(_images(x), kernel, *how)
    return _of_images(_finish(y, epilogue, _images), int(x.shape[1]))


def _margins(kernel, dilation):
    """Returns the padding of each axis that keeps the size."""
    return [(n - 1) * d // 2 for n, d in zip(kernel.shape[2:], dilation, strict=True)]


def concatenate(clips):
    if VOLUMES:
        return _of_volume(torch.cat(list(map(_volume, clips)), 1))
    images = torch.cat(list(map(_images, clips)), 1)
    return _of_images(images, int(clips[0].shape[1]))


def normalize(x, mean, std, reverse):
    """Uses long rows, as an operation of few channels is slow, and indices instead of a
    flip, which is slower in OpenVINO.
    """
    _, frames, height, width, channels = x.shape
    row = torch.tensor([mean, std], dtype=x.dtype).repeat(1, width)
    rows = x.reshape(-1, frames * height, width * channels)
    rows = (rows - row[0]) / row[1]  # no product, which ONNX Runtime would quantize
    x = rows.reshape(-1, frames, height, width, channels)
    last = int(channels) - 1
    return x.index_select(-1, torch.arange(last, -1, -1)) if reverse else x


def max_over_clip(x):
    return _volume(x).amax((2, 3, 4))


def weighted_sum(clips, weights):
    volumes = zip(map(_volume, clips), weights, strict=True)
    return _of_volume(sum(w[:, :, None, None, None] * volume for volume, w in volumes))


def subsample(x, strides):
    """Uses a pool of size 1: OpenVINO computes a wrong size for a slice with a step
    (openvinotoolkit/openvino#37932).
    """
    if max(strides) == 1:
        return x
    return _of_volume(functional.max_pool3d(_volume(x), 1, strides))


def max_pool(x, pool_size, strides, margins):
    if VOLUMES:
        volume, how = _margined(_volume(x), pool_size, strides, margins)
        return _of_volume(functional.max_pool3d(volume, pool_size, strides, **how))
    frames, (ends, *sides) = int(x.shape[1]), margins
    window = pool_size[1:], strides[1:]
    if window != ((1, 1), (1, 1)) or any(map(any, sides)):
        images, how = _margined(_images(x), *window, sides)
        x = _of_images(functional.max_pool2d(images, *window, **how), frames)
    if pool_size[0] == strides[0] == 1 and not any(ends):
        return x
    return _max_in_time(_images(x), frames, pool_size[0], strides[0], ends)


def _margined(x, pool_size, strides, margins):
    """Returns the input of a max pool, padded if need be, and its other arguments.

    A pool of PyTorch pads both ends alike, and `ceil_mode` adds a partial window.
    OpenVINO takes no window that is larger than its input.
    """
    if all(before == after for before, after in margins):
        return x, {"padding": [before for before, _ in margins]}
    sizes = zip(map(int, x.shape[2:]), pool_size, strides, margins, strict=True)
    if all(
        before == 0
        and size <= n
        and (n + after - size) // stride == -(-(n - size) // stride)
        for n, size, stride, (before, after) in sizes
    ):
        return x, {"ceil_mode": True}
    return functional.pad(x, [n for pair in reversed(margins) for n in pair]), {}


def _max_in_time(images, frames, size, stride, ends):
    """Pools without a transposition of images, which would take long."""
    sizes = tuple(map(int, images.shape[1:]))
    if size == stride and frames % size == 0 and not any(ends):
        images = images.reshape(-1, size, *sizes).amax(1)
        return _of_images(images, frames // size)
    rows = images.reshape(-1, 1, frames, math.prod(sizes))
    rows, how = _margined(rows, (size, 1), (stride, 1), (ends, (0, 0)))
    rows = functional.max_pool2d(rows, (size, 1), (stride, 1), **how)
    return _of_images(rows.reshape(-1, *sizes), int(rows.shape[2]))


def average_pool_3x3(x):
    if VOLUMES:
        pooled = functional.avg_pool3d(_volume(x), (1, 3, 3), 1, (0, 1, 1))
        return _of_volume(pooled)
    images = functional.avg_pool2d(_images(x), 3, 1, 1)
    return _of_images(images, int(x.shape[1]))


def batch_norm(x, layer, training):
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    scale = layer.gamma.value * torch.rsqrt(variance + layer.epsilon)
    return x * scale + (layer.beta.value - mean * scale), mean, variance


def layer_norm(x, layer):
    """Calls the operation with a number: Keras passes a size of the graph."""
    channels, scale, offset = int(x.shape[-1]), layer.gamma.value, layer.beta.value
    return functional.layer_norm(x, (channels,), scale, offset, layer.epsilon)


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
