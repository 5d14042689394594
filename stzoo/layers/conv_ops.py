"""How each backend convolves images and clips soonest.

Whichever way is taken, the numbers are the same. Padding is like in the originals,
`size // 2` zeros on both sides of every axis (`padding="same"` puts all of it behind
for stride 2 and an even size).
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from stzoo.layers.shapes import pad, reshape, shape_of


class End(NamedTuple):
    """What comes after a convolution, in this order; what joins it costs less.

    Args:
        bias: tensor `(filters,)`, or `None`.
        residual: tensor of the output's shape, which is added, or `None`.
        relu: bool, whether negative results become 0.
    """

    bias: Any = None
    residual: Any = None
    relu: bool = False


PLAIN = End()


def conv2d(x, kernel, strides=(1, 1), dilation=(1, 1), padded=True, end=PLAIN):
    """Convolves images, zeros on both sides, as many as keep their size.

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(height, width, channels, filters)`, of odd size, or of an
            even one with an even dilation.
        strides: tuple of 2 ints.
        dilation: tuple of 2 ints.
        padded: bool, `False` for no zeros.
        end: `End`. Its residual may have other axes than images: those of a clip.
    """
    size = tuple(kernel.shape[:2])
    # TensorFlow convolves 1x1 up to a third sooner than it multiplies, and strides
    # sooner than it subsamples.
    if size == (1, 1) and keras.backend.backend() != "tensorflow":
        x = _every(x, strides)
        return _matmul(x, reshape(kernel, kernel.shape[2:]), end)
    padding = [(0, 0), (0, 0)]
    if padded:
        margins = [(n - 1) * d // 2 for n, d in zip(size, dilation, strict=True)]
        padding = [(margin, margin) for margin in margins]
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            # With explicit padding the gradients take twice as long.
            same = padded and max(strides) == 1
            if not same:
                x = pad(x, [(0, 0), *padding, (0, 0)])
            method = "SAME" if same else "VALID"
            y = tf.nn.conv2d(x, kernel, strides, method, dilations=dilation)
        case "jax":
            from jax import lax

            y = lax.conv_general_dilated(
                x,
                kernel,
                strides,
                padding,
                rhs_dilation=dilation,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        case "torch":
            from torch.nn import functional

            # Views: channels last is how torch likes its images; `ops.conv` copies.
            y = functional.conv2d(
                x.permute(0, 3, 1, 2),
                kernel.permute(3, 2, 0, 1),
                end.bias,
                stride=strides,
                padding=[before for before, _ in padding],
                dilation=dilation,
            )
            y, end = y.permute(0, 2, 3, 1), end._replace(bias=None)
        case _:
            x = pad(x, [(0, 0), *padding, (0, 0)])
            y = ops.conv(x, kernel, strides, dilation_rate=dilation)
    return _finish(y, end)


def conv2d_by_frame(x, kernel, strides=(1, 1), **how):
    """Convolves every frame: time joins the batch.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(height, width, channels, filters)`.
        strides: tuple of 2 ints.
        **how: as of `conv2d`.
    """
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, height, width, channels))
    y = conv2d(y, kernel, strides, **how)
    return reshape(y, (-1, frames, *shape_of(y)[1:]))


def conv3d(x, kernel, strides=(1, 1, 1), end=PLAIN):
    """Convolves clips with an odd kernel, zeros on both sides.

    Every formulation gives the same numbers; which one is fast depends on the
    backend. On two CPU cores, 8x56x56 and 64 filters, ms forward:

    | kernel | TensorFlow Conv3D | JAX Conv3D | lowered | torch Conv3D | lowered |
    |--------|-------------------|------------|---------|--------------|---------|
    | 3x1x1  | 3.2               | 10.2       | 3.1     | 2.6          | 2.6     |
    | 3x3x3  | 23.0              | 87.7       | 59.6    | 21.9         | 26.2    |

    and at 4x28x28 and 128 filters:

    | 3x1x1  | 1.6               | 3.3        | 1.6     | 2.7          | 1.3     |
    | 3x1x3  | 4.0               | 5.4        | 5.0     | 7.9          | 3.7     |

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(frames, height, width, channels, filters)`.
        strides: tuple of 3 ints.
        end: `End`.
    """
    if kernel.shape[0] == 1:
        x = _every(x, (strides[0], 1, 1))
        kernel = _image(kernel, 0)
        return conv2d_by_frame(x, kernel, strides[1:], end=end)
    if keras.backend.backend() == "torch" and max(strides) > 1:
        # Twice as fast with its own strides.
        return _conv3d(x, kernel, strides, end)
    # Along an axis where the kernel has size 1, a stride only subsamples.
    keep = [s if n == 1 else 1 for n, s in zip(kernel.shape[:3], strides, strict=True)]
    x = _every(x, keep)
    strides = tuple(s // k for s, k in zip(strides, keep, strict=True))
    if native_conv3d(x):
        return _conv3d(x, kernel, strides, end)
    if tuple(kernel.shape[1:3]) == (1, 1):
        return _by_position(x, kernel, strides, end=end)
    if strides == (1, 1, 1) and kernel.shape[2] == 1:
        return _by_row(x, kernel, end=end)
    if strides == (1, 1, 1) and kernel.shape[1] == 1:
        return _by_column(x, kernel, end=end)
    if keras.backend.backend() == "torch":
        return _conv3d(x, kernel, strides, end)
    return _by_shift(x, kernel, strides, end=end)


def conv3d_without_corners(x, kernel, end=PLAIN):
    """Convolves clips with a 3x3x3 kernel whose eight corners are zero.

    3x3 in the frame, and of the frames before and after 3 columns and 2 rows. Where
    convolutions are lowered to 2D, that is 19 of the 27 products, and was sooner done
    on JAX than three views or the whole kernel. With Conv3D, which has no gaps on a
    CPU, zeros stand in them; on TensorFlow that pays for small maps only.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(3, 3, 3, channels, filters)`.
        end: `End`.
    """
    frame = conv2d_by_frame(x, kernel[1], end=End(end.bias))
    if native_conv3d(x):
        outer = reshape(ops.array([1, 0, 1], kernel.dtype), (3, 1, 1, 1, 1))
        columns = conv3d(x, kernel[:, 1:2] * outer)
        rows = conv3d(x, kernel[:, :, 1:2] * outer * ops.moveaxis(outer, 0, 1))
    else:
        columns = _by_column(x, kernel[::2, 1:2], step=2)
        rows = _by_row(x, kernel[::2, ::2, 1:2], step=2)
    return _finish(frame + columns + rows, end._replace(bias=None))


def native_conv3d(x):
    """Whether the backend's own Conv3D is the fastest: not on JAX's or torch's CPU."""
    match keras.backend.backend():
        case "jax":
            import jax

            return jax.default_backend() != "cpu"
        case "torch":
            return x.device.type != "cpu"
        case _:
            return True


def xla_pays():
    """Whether Keras should compile a model with XLA, which it does by default.

    TensorFlow on a CPU convolves with oneDNN, which XLA does not use: a training step
    of `cost_tiny` takes half as long again with it.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def lay_out(kernel):
    """Lays a variable out in memory as PyTorch's convolutions read it.

    They want the channels of the input last, and would turn the axes of each kernel in
    each call: that was a quarter of the time of P3D-199 on a clip. The shape stays.
    """
    if keras.backend.backend() == "torch":
        value = kernel.value
        value.data = value.data.movedim(-1, 0).contiguous().movedim(0, -1)


def _every(x, strides):
    """Every so many places along each axis of images or clips.

    As a pool of one place on TensorFlow: of 4x8x28x28x256 numbers every second row
    takes 2 ms on a CPU core, as a slice 40.
    """
    if max(strides) == 1:
        return x
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        layout = "NHWC" if len(strides) == 2 else "NDHWC"
        return tf.nn.avg_pool(x, 1, (1, *strides, 1), "VALID", layout)
    return x[(slice(None), *(slice(None, None, stride) for stride in strides))]


def _matmul(x, kernel, end):
    """A 1x1 convolution: on JAX two to four times faster than as a convolution."""
    shape = shape_of(x)
    x = reshape(x, (-1, shape[-1]))
    if end.bias is not None and keras.backend.backend() == "torch":
        y, end = end.bias.addmm(x, kernel), end._replace(bias=None)
    else:
        y = ops.matmul(x, kernel)
    return reshape(_finish(y, end), (*shape[:-1], kernel.shape[-1]))


def _finish(y, end):
    """What comes after a convolution, so that it can join the operation before it.

    TensorFlow joins what follows directly, without a change of shape between them;
    PyTorch writes over what the convolution has returned, which nobody else holds.
    """
    backend = keras.backend.backend()
    if end.bias is not None and backend == "tensorflow":
        import tensorflow as tf

        y = tf.nn.bias_add(y, end.bias)
    elif end.bias is not None:
        y = y + end.bias
    if end.residual is not None:
        residual = reshape(end.residual, shape_of(y))
        y = y.add_(residual) if backend == "torch" else y + residual
    if end.relu:
        y = y.relu_() if backend == "torch" else ops.relu(y)
    return y


def _conv3d(x, kernel, strides, end):
    """The backend's own 3D convolution."""
    padding = [(size // 2, size // 2) for size in kernel.shape[:3]]
    match keras.backend.backend():
        case "jax":
            from jax import lax

            layout = ("NDHWC", "DHWIO", "NDHWC")
            y = lax.conv_general_dilated(
                x, kernel, strides, padding, dimension_numbers=layout
            )
        case "torch":
            from torch.nn import functional

            y = functional.conv3d(
                x.permute(0, 4, 1, 2, 3),
                kernel.permute(4, 3, 0, 1, 2),
                end.bias,
                stride=strides,
                padding=[before for before, _ in padding],
            )
            y, end = y.permute(0, 2, 3, 4, 1), end._replace(bias=None)
        case _:
            if strides == (1, 1, 1):  # here `same` is exact, and saves a copy
                y = ops.conv(x, kernel, padding="same")
            else:
                x = pad(x, [(0, 0), *padding, (0, 0)])
                y = ops.conv(x, kernel, strides, padding="valid")
    return _finish(y, end)


def _image(kernel, axis):
    """A kernel without an axis of size 1; the gradient of a slice would be a copy."""
    sizes = list(kernel.shape)
    del sizes[axis]
    return reshape(kernel, sizes)


def _by_position(x, kernel, strides, end):
    """kx1x1: height and width become one axis that the kernel does not see."""
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, frames, height * width, channels))
    y = conv2d(y, _image(kernel, 2), (strides[0], 1), end=end)
    return reshape(y, (-1, shape_of(y)[1], height, width, kernel.shape[-1]))


def _by_row(x, kernel, step=1, end=PLAIN):
    """kxkx1: on the axis of rows joined end to end, the row below is one width on.

    The kernel sees every `step`-th frame and row; `_by_column` likewise.
    """
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, frames, height * width, channels))
    y = conv2d(y, _image(kernel, 2), dilation=(step, step * width), end=end)
    return reshape(y, (-1, frames, height, width, kernel.shape[-1]))


def _by_column(x, kernel, step=1, end=PLAIN):
    """kx1xk: rows joined end to end, with zeros between them."""
    batch, frames, height, width, channels = shape_of(x)
    zeros = kernel.shape[2] // 2
    y = pad(x, [(0, 0), (0, 0), (0, 0), (0, zeros), (0, 0)])
    y = reshape(y, (-1, frames, height * (width + zeros), channels))
    y = conv2d(y, _image(kernel, 1), dilation=(step, 1), end=End(end.bias))
    y = reshape(y, (-1, frames, height, width + zeros, kernel.shape[-1]))
    return _finish(y[:, :, :, :width], end._replace(bias=None))


def _by_shift(x, kernel, strides, end):
    """kxkxk: copies of the clip, shifted in time, joined along the channels."""
    batch, frames, height, width, channels = shape_of(x)
    size = kernel.shape[0]
    x = pad(x, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0), (0, 0)])
    shifted = [x[:, t : t + frames : strides[0]] for t in range(size)]
    kernel = ops.concatenate([kernel[t] for t in range(size)], axis=2)
    x = ops.concatenate(shifted, axis=-1)
    return conv2d_by_frame(x, kernel, strides[1:], end=end)
