"""Fast operations on PyTorch: native operations on channels-last views.

Keras operations first search their arguments for symbolic tensors, which takes longer
than a reshape, and copy the input of a convolution.
"""

import torch
from torch.nn import functional

from stzoo.backend import generic
from stzoo.backend.generic import PLAIN

__all__ = (
    "attend",
    "average_pool_3x3",
    "batch_norm",
    "clips_at_once",
    "constant",
    "conv2d",
    "conv3d",
    "count_sketch",
    "depthwise_conv2d",
    "finish",
    "gradient",
    "has_fast_conv3d",
    "lay_out",
    "max_pool",
    "pad",
    "prefers_conv3d",
    "reshape",
    "select",
    "shape_of",
    "subsample",
    "table",
)


def clips_at_once():
    """Returns 1 on a CPU, where the outputs for a larger batch are too large to reuse
    memory: a clip of CoST on ResNet-50 takes 304 ms alone, and 477 ms in a batch of 8.
    """
    return generic.clips_at_once() if torch.accelerator.is_available() else 1


def shape_of(x):
    return (-1, *x.shape[1:])


def reshape(x, sizes):
    return x.reshape(sizes)


def subsample(x, strides):
    """Avoids a slice with a step while a model is traced: OpenVINO computes a wrong
    size for it, that of the input (openvinotoolkit/openvino#37932).
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
    """Uses an operation that `torch.compile` can follow."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def select(x, places):
    """Keras' `take` uses an operation that cannot be exported to ONNX."""
    return x.index_select(1, places)


def table(array):
    """A tensor, since `torch.compile` cannot follow NumPy. Of nested tuples, a training
    step of `trn_tiny` with 16 frames would take 5.3 s instead of 0.4 s.
    """
    return torch.from_numpy(array)


def finish(y, epilogue):
    """Works in place, since nothing else holds the output of the convolution."""
    if epilogue.bias is not None:
        y = y + epilogue.bias
    if epilogue.residual is not None:
        y = y.add_(reshape(epilogue.residual, shape_of(y)))
    match epilogue.activation:
        case "relu":
            return y.relu_()
        case "relu6":
            return functional.relu6(y, inplace=True)
    return y


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Uses channels-last views, and a matrix product for 1x1."""
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


def depthwise_conv2d(x, kernel, strides=(1, 1), epilogue=PLAIN):
    """Uses channels-last views."""
    y = functional.conv2d(
        x.permute(0, 3, 1, 2),
        kernel.permute(3, 2, 0, 1),
        epilogue.bias,
        stride=strides,
        padding=[before for before, _ in generic.margins(kernel, (1, 1))],
        groups=x.shape[-1],
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


def attend(query, key, value):
    """`torch.compile` cannot follow `keras.ops.dot_product_attention`."""
    parts = (x.transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(*parts).transpose(1, 2)


def has_fast_conv3d(x):
    return x.device.type != "cpu"


def prefers_conv3d(x, kernel, strides):
    """On a CPU, Conv3D is twice as fast with strides, and faster for a kernel without
    an axis of size 1.
    """
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
    """Convolutions need the input channels of a kernel last in memory. Without this,
    they transpose each kernel in each call, which took a quarter of the time of
    P3D-199.
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
    """Pools images: 8x28x28x256 takes 1.2 ms on a core instead of 24 with Keras, and
    with gradients 8 instead of 56.
    """
    shape = shape_of(x)
    y = functional.avg_pool2d(x.reshape(-1, *shape[2:]).permute(0, 3, 1, 2), 3, 1, 1)
    return y.permute(0, 2, 3, 1).reshape(shape)


def batch_norm(x, layer, training):
    if x.dtype == torch.float64:  # PyTorch needs the dtype of the variables
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
        momentum=1.0,  # returns the statistics of the batch
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
