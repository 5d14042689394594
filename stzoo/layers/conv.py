"""Convolutions over clips, `(batch, frames, height, width, channels)`.

Padding is like in the originals, `size // 2` zeros on both sides of every axis
(`padding="same"` puts all of it behind for stride 2 and an even size). Weights stay
those of the original: an image checkpoint's 2D kernel serves every frame.
"""

import keras
from keras import ops

from stzoo.layers.initializers import HeNormal
from stzoo.layers.norm import BatchNorm
from stzoo.layers.shapes import pad, reshape, shape_of


def conv2d(
    x,
    kernel,
    strides=(1, 1),
    dilation=(1, 1),
    padded=True,
    bias=None,
    relu=False,
):
    """Convolves images, zeros on both sides, as many as keep their size.

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(height, width, channels, filters)`, of odd size, or of an
            even one with an even dilation.
        strides: tuple of 2 ints.
        dilation: tuple of 2 ints.
        padded: bool, `False` for no zeros.
        bias: tensor `(filters,)`, or `None`. TensorFlow and PyTorch add it on the way.
        relu: bool, whether negative results become 0, on the way as well.
    """
    size = tuple(kernel.shape[:2])
    # TensorFlow convolves 1x1 up to a third sooner than it multiplies.
    if size == (1, 1) and keras.backend.backend() != "tensorflow":
        x = _every(x, strides)
        return _matmul(x, reshape(kernel, kernel.shape[2:]), bias, relu)
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
                bias,
                stride=strides,
                padding=[before for before, _ in padding],
                dilation=dilation,
            )
            y, bias = y.permute(0, 2, 3, 1), None
        case _:
            x = pad(x, [(0, 0), *padding, (0, 0)])
            y = ops.conv(x, kernel, strides, dilation_rate=dilation)
    return _finish(y, bias, relu)


def conv3d(x, kernel, strides=(1, 1, 1), bias=None, relu=False):
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
        bias: tensor `(filters,)`, or `None`.
        relu: bool, whether negative results become 0.
    """
    if keras.backend.backend() == "torch" and kernel.shape[0] > 1 < max(strides):
        # Twice as fast with its own strides.
        return _conv3d(x, kernel, strides, bias, relu)
    # Along an axis where the kernel has size 1, a stride only subsamples.
    keep = [s if n == 1 else 1 for n, s in zip(kernel.shape[:3], strides, strict=True)]
    if keep != [1, 1, 1]:
        x = _every(x, keep)
        strides = tuple(s // k for s, k in zip(strides, keep, strict=True))
    if kernel.shape[0] == 1:
        return _by_frame(x, kernel, strides, bias=bias, relu=relu)
    if native_conv3d(x):
        return _conv3d(x, kernel, strides, bias, relu)
    if tuple(kernel.shape[1:3]) == (1, 1):
        return _by_position(x, kernel, strides, bias=bias, relu=relu)
    if strides == (1, 1, 1) and kernel.shape[2] == 1:
        return _by_row(x, kernel, bias=bias, relu=relu)
    if strides == (1, 1, 1) and kernel.shape[1] == 1:
        return _by_column(x, kernel, bias=bias, relu=relu)
    if keras.backend.backend() == "torch":
        return _conv3d(x, kernel, strides, bias, relu)
    return _by_shift(x, kernel, strides, bias=bias, relu=relu)


def conv3d_without_corners(x, kernel, bias=None, relu=False):
    """Convolves clips with a 3x3x3 kernel whose eight corners are zero.

    3x3 in the frame, and of the frames before and after 3 columns and 2 rows. Where
    convolutions are lowered to 2D, that is 19 of the 27 products, and was sooner done
    on JAX than three views or the whole kernel. With Conv3D, which has no gaps on a
    CPU, zeros stand in them; on TensorFlow that pays for small maps only.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        kernel: tensor `(3, 3, 3, channels, filters)`.
        bias: tensor `(filters,)`, or `None`.
        relu: bool, whether negative results become 0.
    """
    frame = _by_frame(x, kernel[1:2], (1, 1, 1), bias=bias)
    if native_conv3d(x):
        outer = reshape(ops.array([1, 0, 1], kernel.dtype), (3, 1, 1, 1, 1))
        columns = conv3d(x, kernel[:, 1:2] * outer)
        rows = conv3d(x, kernel[:, :, 1:2] * outer * ops.moveaxis(outer, 0, 1))
    else:
        columns = _by_column(x, kernel[::2, 1:2], step=2)
        rows = _by_row(x, kernel[::2, ::2, 1:2], step=2)
    return _finish(frame + columns + rows, None, relu)


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


def _matmul(x, kernel, bias, relu):
    """A 1x1 convolution: on JAX two to four times faster than as a convolution."""
    shape = shape_of(x)
    x = reshape(x, (-1, shape[-1]))
    if bias is not None and keras.backend.backend() == "torch":
        y, bias = bias.addmm(x, kernel), None
    else:
        y = ops.matmul(x, kernel)
    return reshape(_finish(y, bias, relu), (*shape[:-1], kernel.shape[-1]))


def _finish(y, bias, relu):
    """What comes after a convolution, so that it can join the operation before it.

    TensorFlow joins what follows directly, without a change of shape between them;
    PyTorch writes over what the convolution has returned, which nobody else holds.
    """
    backend = keras.backend.backend()
    if bias is not None and backend == "tensorflow":
        import tensorflow as tf

        y = tf.nn.bias_add(y, bias)
    elif bias is not None:
        y = y + bias
    if relu:
        y = y.relu_() if backend == "torch" else ops.relu(y)
    return y


def _conv3d(x, kernel, strides, bias, relu):
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
                bias,
                stride=strides,
                padding=[before for before, _ in padding],
            )
            y, bias = y.permute(0, 2, 3, 4, 1), None
        case _:
            if strides == (1, 1, 1):  # here `same` is exact, and saves a copy
                y = ops.conv(x, kernel, padding="same")
            else:
                x = pad(x, [(0, 0), *padding, (0, 0)])
                y = ops.conv(x, kernel, strides, padding="valid")
    return _finish(y, bias, relu)


def _image(kernel, axis):
    """A kernel without an axis of size 1; the gradient of a slice would be a copy."""
    sizes = list(kernel.shape)
    del sizes[axis]
    return reshape(kernel, sizes)


def _by_frame(x, kernel, strides, padded=True, **end):
    """1xkxk: time joins the batch."""
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, height, width, channels))
    y = conv2d(y, _image(kernel, 0), strides[1:], padded=padded, **end)
    return reshape(y, (-1, frames, *shape_of(y)[1:]))


def _by_position(x, kernel, strides, **end):
    """kx1x1: height and width become one axis that the kernel does not see."""
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, frames, height * width, channels))
    y = conv2d(y, _image(kernel, 2), (strides[0], 1), **end)
    return reshape(y, (-1, shape_of(y)[1], height, width, kernel.shape[-1]))


def _by_row(x, kernel, step=1, **end):
    """kxkx1: on the axis of rows joined end to end, the row below is one width on.

    The kernel sees every `step`-th frame and row; `_by_column` likewise.
    """
    batch, frames, height, width, channels = shape_of(x)
    y = reshape(x, (-1, frames, height * width, channels))
    y = conv2d(y, _image(kernel, 2), dilation=(step, step * width), **end)
    return reshape(y, (-1, frames, height, width, kernel.shape[-1]))


def _by_column(x, kernel, step=1, **end):
    """kx1xk: rows joined end to end, with zeros between them."""
    batch, frames, height, width, channels = shape_of(x)
    zeros = kernel.shape[2] // 2
    y = pad(x, [(0, 0), (0, 0), (0, 0), (0, zeros), (0, 0)])
    y = reshape(y, (-1, frames, height * (width + zeros), channels))
    y = conv2d(y, _image(kernel, 1), dilation=(step, 1), **end)
    y = reshape(y, (-1, frames, height, width + zeros, kernel.shape[-1]))
    return y[:, :, :, :width]


def _by_shift(x, kernel, strides, **end):
    """kxkxk: copies of the clip, shifted in time, joined along the channels."""
    batch, frames, height, width, channels = shape_of(x)
    size = kernel.shape[0]
    x = pad(x, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0), (0, 0)])
    shifted = [x[:, t : t + frames : strides[0]] for t in range(size)]
    kernel = ops.concatenate([kernel[t] for t in range(size)], axis=2)
    x = ops.concatenate(shifted, axis=-1)
    return _by_frame(x, kernel[None], strides, **end)


@keras.saving.register_keras_serializable("stzoo")
class ClipConv(keras.layers.Layer):
    """3D convolution over clips, without or with bias.

    Args:
        filters: int, the dimension of the output.
        kernel_size: tuple of 3 odd ints, frames, height and width.
        strides: int, stride in space, or tuple of 3 ints.
        use_bias: bool.
        activation: `None`, or `"relu"`, which costs less here than as a layer.
        kernel_initializer: `keras.initializers.Initializer`, or its name; `HeNormal`
            by default.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames / strides[0], height / strides[1],
        width / strides[2], filters)`, rounded up.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 16)
    >>> stzoo.layers.ClipConv(32, (3, 1, 1))(x).shape
    (2, 8, 14, 14, 32)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        use_bias=False,
        activation=None,
        kernel_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_jit = xla_pays()
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = spatial(strides)
        self.use_bias = use_bias
        self.activation = activation
        self.kernel_initializer = (
            keras.initializers.get(kernel_initializer) or HeNormal()
        )
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(
                "Kernel sizes must be odd, so that padding is the same on both sides. "
                f"Received: kernel_size={kernel_size}."
            )
        if activation not in (None, "relu"):
            raise ValueError(
                f'activation must be None or "relu". Received: {activation!r}.'
            )

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(*self.kernel_size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            name="kernel",
        )
        lay_out(self.kernel)
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.filters,), initializer="zeros", name="bias"
            )

    def call(self, inputs):
        return self._convolve(inputs, ops.convert_to_tensor(self.kernel), self.strides)

    def _convolve(self, inputs, kernel, strides, padded=True):
        if padded:
            return conv3d(inputs, kernel, strides, **self._end())
        return _by_frame(inputs, kernel, strides, padded, **self._end())

    def _end(self):
        """What comes after the convolution."""
        bias = ops.convert_to_tensor(self.bias) if self.use_bias else None
        return {"bias": bias, "relu": self.activation == "relu"}

    def compute_output_shape(self, input_shape):
        return clip_shape(input_shape, self.strides, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "use_bias": self.use_bias,
            "activation": self.activation,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("stzoo")
class FrameConv(ClipConv):
    """2D convolution of every frame, with the kernel of an image network.

    Args:
        filters: int, the dimension of the output.
        kernel_size: odd int, or tuple of 2, height and width.
        strides: int, or tuple of 2.
        use_bias: bool.
        padded: bool, zeros on both sides, half a kernel; `False` for none.
        **kwargs: as of `ClipConv`.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames, height / strides[0], width / strides[1], filters)`,
        rounded up; less without padding.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 16)
    >>> stzoo.layers.FrameConv(32, 3, strides=2)(x).shape
    (2, 8, 7, 7, 32)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        use_bias=False,
        padded=True,
        **kwargs,
    ):
        super().__init__(filters, pair(kernel_size), pair(strides), use_bias, **kwargs)
        self.padded = padded

    def call(self, inputs):
        kernel = ops.expand_dims(self.kernel, 0)
        return self._convolve(inputs, kernel, (1, *self.strides), self.padded)

    def compute_output_shape(self, input_shape):
        if not self.padded:
            batch, frames, *sizes, channels = input_shape
            sizes = [
                n and n - k + 1 for n, k in zip(sizes, self.kernel_size, strict=True)
            ]
            input_shape = (batch, frames, *sizes, channels)
        return clip_shape(input_shape, (1, *self.strides), self.filters)

    def get_config(self):
        return {**super().get_config(), "padded": self.padded}


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


def pair(value):
    """An int twice, or a tuple as it is."""
    return (value, value) if isinstance(value, int) else tuple(value)


def spatial(strides):
    """An int as `(1, s, s)`, or a tuple as it is."""
    return (1, strides, strides) if isinstance(strides, int) else tuple(strides)


def clip_shape(input_shape, strides, filters):
    """The shape that a convolution with padding and these strides leaves."""
    batch, *sizes, _ = input_shape
    sizes = [n and -(-n // s) for n, s in zip(sizes, strides, strict=True)]
    return (batch, *sizes, filters)


def conv_bn(x, filters, kernel_size, strides=1, *, name, bn):
    """A convolution of every frame and its batch norm.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        name: string, name of the convolution.
        bn: string, name of the batch norm.
    """
    x = FrameConv(filters, kernel_size, strides, name=name)(x)
    return BatchNorm(name=bn)(x)
