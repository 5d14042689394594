"""Pooling of clips, `(batch, frames, height, width, channels)`, as in the originals."""

import keras
from keras import ops

from stzoo import backend


@keras.saving.register_keras_serializable("stzoo")
class MaxPool(keras.layers.MaxPooling3D):
    """Max pooling of non-negative inputs, padded with zeros.

    Args:
        pool_size: tuple of 3 ints.
        strides: tuple of 3 ints.
        margins: tuple of 3 pairs of ints, zeros before and after each axis.
        **kwargs: see `keras.layers.MaxPooling3D`.

    Input shape: `(batch, frames, height, width, channels)`, after a ReLU.

    Output shape: `(batch, (frames + margins - pool_size[0]) // strides[0] + 1, ...,
        channels)`.
    """

    def __init__(self, pool_size, strides, margins=((0, 0),) * 3, **kwargs):
        kwargs["data_format"] = "channels_last"  # overrides the Keras config
        super().__init__(pool_size, strides, **kwargs)
        self.margins = tuple(map(tuple, margins))

    def call(self, inputs):
        return backend.max_pool(inputs, self.pool_size, self.strides, self.margins)

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        padded = [
            n and n + sum(margin) for n, margin in zip(sizes, self.margins, strict=True)
        ]
        return super().compute_output_shape((batch, *padded, channels))

    def get_config(self):
        return {**super().get_config(), "margins": self.margins}


@keras.saving.register_keras_serializable("stzoo")
class FrameAverage(keras.layers.Layer):
    """Average pooling of 3x3 pixels with stride 1. The mean includes zero padding.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.
    """

    def call(self, inputs):
        return backend.average_pool_3x3(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("stzoo")
class SpatialMean(keras.layers.Layer):
    """Averages each frame over height and width.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames, channels)`.
    """

    def call(self, inputs):
        return ops.mean(inputs, axis=(2, 3))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], input_shape[-1])


@keras.saving.register_keras_serializable("stzoo")
class WindowMean(keras.layers.Layer):
    """Averages all windows of a clip.

    It is an average pooling with stride 1, followed by the mean over its outputs.
    Positions near an edge are in fewer windows, so they count less, unless the window
    is as large as the clip. A window that is larger than the clip is reduced to it.

    Args:
        window: tuple of 3 ints: frames, height and width.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, channels)`.
    """

    def __init__(self, window, **kwargs):
        super().__init__(**kwargs)
        self.window = tuple(window)

    def call(self, inputs):
        x = inputs
        for window in self.window:  # each axis becomes axis 1 in turn
            weights = _share_of_windows(ops.shape(x)[1], window, x.dtype)
            sizes = (-1, *[1] * (len(x.shape) - 2))
            x = ops.sum(x * ops.reshape(weights, sizes), axis=1)
        return x

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "window": self.window}


def _share_of_windows(size, window, dtype):
    """Returns the weight of each position in the mean over all windows.

    Args:
        size: int or tensor, the size of the axis.
        window: int.
        dtype: dtype of the weights.
    """
    window = ops.minimum(size, window)
    places = size - window + 1
    before = ops.arange(1, size + 1, dtype="int32")
    count = ops.minimum(before, size + 1 - before)  # of windows with this position
    count = ops.minimum(count, ops.minimum(window, places))
    return ops.cast(count, dtype) / ops.cast(window * places, dtype)


def max_pool(x, pool_size, strides, name, ceil=False, padded=True):
    """Max pooling of non-negative inputs, padded with half the pool on both sides.

    Args:
        x: tensor `(batch, frames, height, width, channels)`, after a ReLU, so that
            the padding is never the maximum.
        pool_size: tuple of 3 ints. Each is odd, or 2 for no padding.
        strides: tuple of 3 ints.
        ceil: bool, whether to pool like Caffe: without padding, and with a partial
            pool at the end of an axis.
        padded: bool. If false, there is no padding, and inputs may be negative.

    Raises:
        ValueError: the clip is smaller than the pool.
    """
    margins = [((size - 1) // 2 * padded,) * 2 for size in pool_size]
    if ceil:
        margins = [
            (0, stride - 1 if n is None else (size - n) % stride)
            for n, size, stride in zip(x.shape[1:4], pool_size, strides, strict=True)
        ]
    for size, margin, place in zip(x.shape[1:4], margins, pool_size, strict=True):
        if size is not None and size + sum(margin) < place:
            raise ValueError(
                f"The pool of the layer {name} is {_times(pool_size)} (frames, height, "
                f"width), but its input is only {_times(x.shape[1:4])}. Choose a "
                "larger input_shape."
            )
    return MaxPool(pool_size, strides, margins, name=name)(x)


def _times(sizes):
    return "x".join("?" if size is None else str(size) for size in sizes)
