"""What PyTorch computes fast: its own operations on views, channels last.

The operations of Keras first look for symbolic tensors among their arguments, for
longer than a reshape takes, and copy what they convolve.
"""

import torch
from torch.nn import functional

from stzoo.backend import generic
from stzoo.backend.generic import PLAIN

__all__ = (
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


def clips_at_once():
    """One on a CPU. There, what layers return is too large for memory that has been
    used before, once a batch is: a clip of CoST on ResNet-50 takes 304 ms alone, and
    477 ms among 8.
    """
    return generic.clips_at_once() if torch.accelerator.is_available() else 1


def shape_of(x):
    return (-1, *x.shape[1:])


def reshape(x, sizes):
    return x.reshape(sizes)


def subsample(x, strides):
    """While it is traced, without a slice that has a step: OpenVINO takes the size of
    its result for the size of its input (openvinotoolkit/openvino#37932).
    """
    if not torch.jit.is_tracing():
        return generic.subsample(x, strides)
    for axis, stride in enumerate(strides, 1):
        if stride > 1:
            places = torch.arange(0, x.shape[axis], stride, device=x.device)
            x = x.index_select(axis, places)
    return x


def pad(x, margins):
    """`torch.compile` cannot follow `keras.ops.pad`."""
    if not any(map(any, margins)):
        return x
    last_axis_first = [n for margin in reversed(margins) for n in margin]
    return functional.pad(x, last_axis_first)


def constant(values, like):
    """In a way that `torch.compile` follows."""
    return like.new_tensor(values)


def finish(y, epilogue):
    """Writes over what the convolution has returned, which nobody else holds."""
    if epilogue.bias is not None:
        y = y + epilogue.bias
    if epilogue.residual is not None:
        y = y.add_(reshape(epilogue.residual, shape_of(y)))
    return y.relu_() if epilogue.relu else y


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """On views: channels last is how PyTorch likes its images. 1x1 as a product."""
    if tuple(kernel.shape[:2]) == (1, 1):
        return _matmul(subsample(x, strides), kernel, epilogue)
    margins = generic.margins(kernel, dilation) if padded else [(0, 0), (0, 0)]
    y = functional.conv2d(
        x.permute(0, 3, 1, 2),
        kernel.permute(3, 2, 0, 1),
        epilogue.bias,
        stride=strides,
        padding=[before for before, _ in margins],
        dilation=dilation,
    )
    return finish(y.permute(0, 2, 3, 1), epilogue._replace(bias=None))


def _matmul(x, kernel, epilogue):
    shape = shape_of(x)
    x, kernel = x.reshape(-1, shape[-1]), kernel.reshape(kernel.shape[2:])
    if epilogue.bias is None:
        y = x @ kernel
    else:
        y = epilogue.bias.addmm(x, kernel)
    y = finish(y, epilogue._replace(bias=None))
    return y.reshape(*shape[:-1], kernel.shape[-1])


def has_fast_conv3d(x):
    return x.device.type != "cpu"


def prefers_conv3d(x, kernel, strides):
    """On a CPU with strides, twice as fast; or for a kernel with no axis of size 1."""
    whole = 1 not in kernel.shape[:3]
    return has_fast_conv3d(x) or max(strides) > 1 or whole


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    y = functional.conv3d(
        x.permute(0, 4, 1, 2, 3),
        kernel.permute(4, 3, 0, 1, 2),
        epilogue.bias,
        stride=strides,
        padding=[before for before, _ in generic.margins(kernel, (1, 1, 1))],
    )
    return finish(y.permute(0, 2, 3, 4, 1), epilogue._replace(bias=None))


def lay_out(kernel):
    """Convolutions want the channels of the input last, and would turn the axes of each
    kernel in each call: that was a quarter of the time of P3D-199 on a clip.
    """
    value = kernel.value
    value.data = value.data.movedim(-1, 0).contiguous().movedim(0, -1)


def max_pool(x, pool_size, strides, margins):
    before, after = zip(*margins, strict=True)
    if before != after:
        x, before = pad(x, [(0, 0), *margins, (0, 0)]), 0
    y = functional.max_pool3d(x.permute(0, 4, 1, 2, 3), pool_size, strides, before)
    return y.permute(0, 2, 3, 4, 1)


def average_pool_3x3(x):
    """As images: 8x28x28x256 takes 1.2 ms on a core, as Keras pools 24; with gradients
    8 instead of 56.
    """
    shape = shape_of(x)
    y = functional.avg_pool2d(x.reshape(-1, *shape[2:]).permute(0, 3, 1, 2), 3, 1, 1)
    return y.permute(0, 2, 3, 1).reshape(shape)


def batch_norm(x, layer, training):
    if x.dtype == torch.float64:  # of other types than the variables
        return generic.batch_norm(x, layer, training)
    shape = shape_of(x)
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    if training:
        mean, variance = torch.zeros_like(mean), torch.zeros_like(variance)
    y = functional.batch_norm(
        x.reshape(-1, *shape[2:]).permute(0, 3, 1, 2),
        mean,
        variance,
        layer.gamma.value,
        layer.beta.value,
        training,
        momentum=1.0,  # the statistics become those of the batch
        eps=layer.epsilon,
    )
    return y.permute(0, 2, 3, 1).reshape(shape), mean, variance


def count_sketch(x, hashes, dim):
    zeros = x.new_zeros((*x.shape[:-1], dim))
    return zeros.index_add(-1, hashes.value, x)


def gradient(function, x):
    x = torch.as_tensor(x).requires_grad_()
    with torch.enable_grad():
        value = function(x)
    return torch.autograd.grad(value, x)[0].cpu().numpy()
