"""Pooling of clips, `(batch, frames, height, width, channels)`, like the originals."""

import keras

from stzoo import backend


@keras.saving.register_keras_serializable("stzoo")
class MaxPool(keras.layers.MaxPooling3D):
    """Max pooling of what is not negative: zeros beyond the edge never win.

    Args:
        pool_size: tuple of 3 ints.
        strides: tuple of 3 ints.
        margins: tuple of 3 pairs of ints, zeros before and after each axis.
        **kwargs: of `keras.layers.MaxPooling3D`.

    Input shape: `(batch, frames, height, width, channels)`, after a ReLU.

    Output shape: `(batch, (frames + margins - pool_size[0]) // strides[0] + 1, ...,
        channels)`.
    """

    def __init__(self, pool_size, strides, margins=((0, 0),) * 3, **kwargs):
        kwargs["data_format"] = "channels_last"  # whatever Keras' settings say
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
    """The mean of 3x3 pixels around each; beyond the edge they are zero and count.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: as the input.
    """

    def call(self, inputs):
        return backend.average_pool_3x3(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


def max_pool(x, pool_size, strides, name, ceil=False):
    """Max pooling of what is not negative, half of the pool as zeros on both sides.

    Args:
        x: tensor `(batch, frames, height, width, channels)`, after a ReLU, so that
            zeros never win.
        pool_size: tuple of 3 ints. An even size is not padded.
        strides: tuple of 3 ints.
        ceil: bool, pool as Caffe does: no margins, and what is left over at the end
            of an axis is pooled as well.

    Raises:
        ValueError: the clip is smaller than the pool.
    """
    margins = [((size - 1) // 2,) * 2 for size in pool_size]
    if ceil:
        margins = [
            (0, stride - 1 if n is None else (size - n) % stride)
            for n, size, stride in zip(x.shape[1:4], pool_size, strides, strict=True)
        ]
    for size, margin, place in zip(x.shape[1:4], margins, pool_size, strict=True):
        if size is not None and size + sum(margin) < place:
            raise ValueError(
                f"The layer {name} pools {_times(pool_size)} places (frames, height, "
                f"width), but of the clip {_times(x.shape[1:4])} are left. Choose a "
                "larger input_shape."
            )
    return MaxPool(pool_size, strides, margins, name=name)(x)


def _times(sizes):
    return "x".join("?" if size is None else str(size) for size in sizes)
