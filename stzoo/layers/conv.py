"""Layers that convolve clips, `(batch, frames, height, width, channels)`.

Kernels keep the shapes of the original checkpoints: the 2D kernel of an image network
is applied to every frame. `stzoo.layers.lowering` describes how they are computed.
"""

import keras
from keras import ops

from stzoo.backend import Epilogue, lay_out
from stzoo.layers.initializers import HeNormal
from stzoo.layers.lowering import conv2d_by_frame, convolve, depthwise_by_frame
from stzoo.layers.norm import BatchNorm


@keras.saving.register_keras_serializable("stzoo")
class ClipConv(keras.layers.Layer):
    """3D convolution over clips.

    The layer can be called with `residual`, a tensor of the shape of the output. It is
    added before the activation, which is faster than a separate `Add` layer.

    Args:
        filters: int, number of output channels.
        kernel_size: tuple of 3 odd ints: frames, height and width.
        strides: int, the spatial stride, or tuple of 3 ints.
        use_bias: bool.
        activation: `None`, `"relu"` or `"relu6"`, which is faster here than as a
            separate layer.
        kernel_initializer: `keras.initializers.Initializer`, or its name. Defaults to
            `HeNormal`.

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
                "kernel_size must be odd, so that padding is the same on both sides. "
                f"Received: kernel_size={kernel_size}."
            )
        if activation not in (None, "relu", "relu6"):
            raise ValueError(
                f'activation must be None, "relu" or "relu6". Received: {activation!r}.'
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

    def call(self, inputs, residual=None):
        kernel = ops.convert_to_tensor(self.kernel)
        return convolve(inputs, kernel, self.strides, self._epilogue(inputs, residual))

    def _epilogue(self, inputs, residual):
        if residual is not None:
            shape, given = self.compute_output_shape(inputs.shape), residual.shape
            if len(given) != len(shape) or any(
                None not in (one, other) and one != other
                for one, other in zip(given, shape, strict=True)
            ):
                raise ValueError(
                    f"{self.name}: residual must have the shape of the output. "
                    f"Expected: {tuple(shape)}. Received: {tuple(given)}."
                )
        bias = ops.convert_to_tensor(self.bias) if self.use_bias else None
        return Epilogue(bias, residual, self.activation)

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
        filters: int, number of output channels.
        kernel_size: odd int, or tuple of 2 odd ints: height and width.
        strides: int, or tuple of 2 ints.
        use_bias: bool.
        padded: bool, whether to pad each side with `kernel_size // 2` zeros.
        **kwargs: see `ClipConv`.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames, height / strides[0], width / strides[1], filters)`,
        rounded up. Without padding, it is smaller.

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

    def call(self, inputs, residual=None):
        kernel = ops.convert_to_tensor(self.kernel)
        how = {
            "padded": self.padded,
            "epilogue": self._epilogue(inputs, residual),
        }
        return conv2d_by_frame(inputs, kernel, self.strides, **how)

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


@keras.saving.register_keras_serializable("stzoo")
class DepthwiseConv(ClipConv):
    """2D convolution of every frame, with one kernel for each channel.

    Args:
        kernel_size: odd int, or tuple of 2 odd ints: height and width.
        strides: int, or tuple of 2 equal ints.
        **kwargs: `use_bias`, `activation` and `kernel_initializer`, see `ClipConv`.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames, height / strides[0], width / strides[1], channels)`,
        rounded up.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 16)
    >>> stzoo.layers.DepthwiseConv(3, strides=2)(x).shape
    (2, 8, 7, 7, 16)
    """

    def __init__(self, kernel_size, strides=1, **kwargs):
        super().__init__(None, pair(kernel_size), pair(strides), **kwargs)
        if len(set(self.strides)) > 1:
            raise ValueError(
                "DepthwiseConv has the same stride along height and width. "
                f"Received: strides={self.strides}."
            )

    def build(self, input_shape):
        self.filters = input_shape[-1]
        super().build((*input_shape[:-1], 1))

    def call(self, inputs, residual=None):
        kernel = ops.convert_to_tensor(self.kernel)
        return depthwise_by_frame(
            inputs, kernel, self.strides, self._epilogue(inputs, residual)
        )

    def compute_output_shape(self, input_shape):
        return clip_shape(input_shape, (1, *self.strides), input_shape[-1])

    def get_config(self):
        config = super().get_config()
        del config["filters"]
        return config


def pair(value):
    """Returns `(value, value)` for an int, and a tuple unchanged."""
    return (value, value) if isinstance(value, int) else tuple(value)


def spatial(strides):
    """Returns `(1, s, s)` for an int, and a tuple unchanged."""
    return (1, strides, strides) if isinstance(strides, int) else tuple(strides)


def clip_shape(input_shape, strides, filters):
    """Returns the output shape of a padded convolution."""
    batch, *sizes, _ = input_shape
    sizes = [n and -(-n // s) for n, s in zip(sizes, strides, strict=True)]
    return (batch, *sizes, filters)


def conv_bn(x, filters, kernel_size, strides=1, *, name, bn):
    """Applies a convolution to every frame, then a batch norm.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
        name: string, name of the convolution.
        bn: string, name of the batch norm.
    """
    x = FrameConv(filters, kernel_size, strides, name=name)(x)
    return BatchNorm(name=bn)(x)
