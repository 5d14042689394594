"""Operations of the graphs that `stzoo.export` makes on PyTorch.

Clips stay clips: time is not merged into the batch, so the permutations to channels
first cancel out between all layers, and a runtime fuses convolutions with what follows.
Sizes are numbers, so that only the batch is dynamic.
"""

import torch
from torch.nn import functional

from stzoo.backend import fourier
from stzoo.backend.generic import PLAIN, margins

__all__ = (
    "average_pool_3x3",
    "batch_norm",
    "conv3d",
    "count_sketch",
    "finish",
    "has_fast_conv3d",
    "inverse_spectrum",
    "keeps_clips",
    "lay_out",
    "prefers_conv3d",
    "shape_of",
    "spectrum",
    "subsample",
)
FIRST, LAST = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)  # orders of axes: channels first, last


def keeps_clips():
    return True


def has_fast_conv3d(x):
    return True


def prefers_conv3d(x, kernel, strides):
    return True


def lay_out(kernel):
    """A file holds a kernel as the runtime reads it."""


def shape_of(x):
    return (-1, *map(int, x.shape[1:]))


def subsample(x, strides):
    """Uses a pool of size 1: OpenVINO computes a wrong size for a slice with a step
    (openvinotoolkit/openvino#37932).
    """
    if max(strides) == 1:
        return x
    return functional.max_pool3d(x.permute(FIRST), 1, strides).permute(LAST)


def finish(y, epilogue):
    """Works out of place, as a graph has no memory."""
    if epilogue.bias is not None:
        y = y + epilogue.bias
    if epilogue.residual is not None:
        y = y + epilogue.residual
    return functional.relu(y) if epilogue.relu else y


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN, padded=True):
    padding = [before for before, _ in margins(kernel, (1, 1, 1))] if padded else 0
    y = functional.conv3d(
        x.permute(FIRST),
        kernel.permute(4, 3, 0, 1, 2).contiguous(),
        epilogue.bias,
        stride=strides,
        padding=padding,
    )
    return finish(y.permute(LAST), epilogue._replace(bias=None))


def average_pool_3x3(x):
    y = functional.avg_pool3d(x.permute(FIRST), (1, 3, 3), 1, (0, 1, 1))
    return y.permute(LAST)


def batch_norm(x, layer, training):
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    scale = layer.gamma.value * torch.rsqrt(variance + layer.epsilon)
    return x * scale + (layer.beta.value - mean * scale), mean, variance


def count_sketch(x, hashes, dim):
    """Multiplies by a matrix, since runtimes lack a sum by index."""
    return x @ torch.from_numpy(fourier.sketch(hashes.value.numpy(), dim))


def spectrum(x):
    real, imaginary = map(torch.from_numpy, fourier.forward(x.shape[-1]))
    return x @ real, x @ imaginary


def inverse_spectrum(parts, dim):
    real, imaginary = map(torch.from_numpy, fourier.inverse(dim))
    return parts[0] @ real + parts[1] @ imaginary
