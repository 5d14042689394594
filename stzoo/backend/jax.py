"""Fast operations on JAX. XLA has few optimised kernels for clips on a CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from keras import ops

from stzoo.backend import generic
from stzoo.backend.generic import PLAIN, finish, pad, subsample

__all__ = (
    "attend",
    "average_pool_3x3",
    "conv2d",
    "conv3d",
    "depthwise_conv2d",
    "gradient",
    "has_fast_conv3d",
    "max_pool",
    "prefers_conv3d",
)
QUERIES = 256  # of attention that are computed at once, for a head


def _is_on_cpu():
    return jax.default_backend() == "cpu"


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, epilogue=PLAIN):
    """Computes 1x1 as a matrix product, which is two to four times as fast."""
    if tuple(kernel.shape[:2]) == (1, 1):
        return generic.matmul(subsample(x, strides), kernel, epilogue)
    margins = generic.margins(kernel, dilation) if padded else [(0, 0), (0, 0)]
    convolve = _convolve_on_cpu if _is_on_cpu() else _convolve
    y = convolve(x, kernel, tuple(strides), tuple(margins), tuple(dilation))
    return finish(y, epilogue)


def _convolve(x, kernel, strides, margins, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        margins,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_on_cpu(x, kernel, strides, margins, dilation):
    """Has its own gradient of the kernel. That of XLA takes 97 ms for the 3x3
    convolution of 8x56x56x64, which takes 31 itself, and 617 for the first one of a
    ResNet. Here they take 68 and 43.
    """
    return _convolve(x, kernel, strides, margins, dilation)


def _keep_inputs(x, kernel, *how):
    return _convolve(x, kernel, *how), (x, kernel)


def _gradients(strides, margins, dilation, inputs, gradient):
    x, kernel = inputs
    how = strides, margins, dilation
    (of_x,) = jax.vjp(lambda x: _convolve(x, kernel, *how), x)[1](gradient)
    return of_x, _gradient_of_kernel(x, kernel, gradient, *how)


def _gradient_of_kernel(x, kernel, gradient, strides, margins, dilation):
    """Adds up the images. Each row of a kernel is one matrix product."""
    rows, columns, channels, filters = kernel.shape
    height, width = (
        (n - 1) * s + 1 for n, s in zip(gradient.shape[1:3], strides, strict=True)
    )
    exact = jnp.promote_types(kernel.dtype, "float32")

    def window(image, row, column):
        """Returns what a weight of the kernel is multiplied by."""
        y, x = row * dilation[0], column * dilation[1]
        last = y + height, x + width, channels
        return lax.slice(image, (y, x, 0), last, (*strides, 1))

    def add_image(total, pair):
        image, gradient = pair
        gradient = gradient.reshape(-1, filters)
        products = []
        for row in range(rows):
            parts = [window(image, row, column) for column in range(columns)]
            seen = jnp.concatenate(parts, -1).reshape(-1, columns * channels)
            products.append(jnp.matmul(seen.T, gradient, preferred_element_type=exact))
        return total + jnp.stack(products), None

    x = pad(x, [(0, 0), *margins, (0, 0)])
    total = jnp.zeros((rows, columns * channels, filters), exact)
    total, _ = lax.scan(add_image, total, (x, gradient))
    return total.reshape(kernel.shape).astype(kernel.dtype)


_convolve_on_cpu.defvjp(_keep_inputs, _gradients)


def has_fast_conv3d(x):
    return not _is_on_cpu()


def prefers_conv3d(x, kernel, strides):
    return has_fast_conv3d(x)


def conv3d(x, kernel, strides=(1, 1, 1), epilogue=PLAIN):
    flat, strides = generic.split_strides(kernel, strides)
    x = subsample(x, flat)
    layout = ("NDHWC", "DHWIO", "NDHWC")
    padding = generic.margins(kernel, (1, 1, 1))
    y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)
    return finish(y, epilogue)


def depthwise_conv2d(x, kernel, strides=(1, 1), epilogue=PLAIN):
    """Uses slices on a CPU, where XLA has no fast kernel for groups."""
    if _is_on_cpu():
        return generic.depthwise_by_slices(x, kernel, strides, epilogue)
    y = lax.conv_general_dilated(
        x,
        kernel,
        strides,
        generic.margins(kernel, (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )
    return finish(y, epilogue)


def max_pool(x, pool_size, strides, margins):
    """Uses slices on a CPU: 8x114x114x64, 3x3, takes 1.3 ms on a core instead of 10.3,
    and with gradients 27 instead of 171.
    """
    if not _is_on_cpu():
        return generic.max_pool(x, pool_size, strides, margins)
    x = pad(x, [(0, 0), *margins, (0, 0)])
    return generic.pool_by_axis(ops.maximum, x, pool_size, strides)


def average_pool_3x3(x):
    """Uses slices on a CPU: 8x28x28x256 takes 1.1 ms on a core instead of 7.9, and with
    gradients 3 instead of 16.
    """
    return generic.average_by_axis(x) if _is_on_cpu() else generic.average_pool_3x3(x)


def attend(query, key, value):
    """Computes one head at a time on a CPU, and the scores of some queries at a time,
    which stay in the cache. XLA has no fast product for several heads. The 1568 tokens
    and 12 heads of `videomae_base` take 95 ms on two cores instead of 277. The backward
    pass computes the scores again, which takes no more time than storing them, and a
    fifth of the memory.
    """
    if not _is_on_cpu():
        return generic.attend(query, key, value)
    shape = query.shape
    heads = [
        x.swapaxes(1, 2).reshape(-1, x.shape[1], x.shape[3])
        for x in (query * shape[-1] ** -0.5, key, value)
    ]
    y = lax.map(jax.checkpoint(_attend_in_a_head), heads)
    return y.reshape(shape[0], shape[2], shape[1], -1).swapaxes(1, 2)


def _attend_in_a_head(parts):
    """The softmax is computed in float32 or better, as in Keras."""
    query, key, value = parts
    exact = jnp.promote_types(query.dtype, "float32")
    found = []
    for first in range(0, len(query), QUERIES):
        part = query[first : first + QUERIES]
        scores = jnp.matmul(part, key.T, preferred_element_type=exact)
        found.append(jax.nn.softmax(scores).astype(value.dtype) @ value)
    return jnp.concatenate(found)


def gradient(function, x):
    return np.asarray(jax.grad(function)(x))
