"""Pooling of clips, `(batch, frames, height, width, channels)`, like the originals.

Every backend pools in the way that is fast there. On one CPU core, ms forward, and with
gradients:

|                            | Keras on JAX | slices  | Keras on torch | its images |
|----------------------------|--------------|---------|----------------|------------|
| maximum, 8x114x114x64, 3x3 | 10.3, 171    | 1.3, 27 |                |            |
| mean, 8x28x28x256, 3x3     | 7.9, 16      | 1.1, 3  | 24, 56         | 1.2, 8     |
"""

from functools import reduce
from operator import add

import keras
from keras import ops

from stzoo.layers.shapes import pad, reshape, shape_of


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
        super().__init__(pool_size, strides, **kwargs)
        self.margins = tuple(map(tuple, margins))

    def call(self, inputs):
        margins = [(0, 0), *self.margins, (0, 0)]
        if keras.backend.backend() == "torch":
            from torch.nn import functional

            before, after = zip(*self.margins, strict=True)
            if before != after:
                inputs, before = pad(inputs, margins), 0
            x = inputs.permute(0, 4, 1, 2, 3)
            x = functional.max_pool3d(x, self.pool_size, self.strides, before)
            return x.permute(0, 2, 3, 4, 1)
        x = pad(inputs, margins)
        if sliced():
            return _by_axis(ops.maximum, x, self.pool_size, self.strides)
        return super().call(x)

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
        shape = shape_of(inputs)
        if keras.backend.backend() == "torch":
            from torch.nn import functional

            x = reshape(inputs, (-1, *shape[2:])).permute(0, 3, 1, 2)
            x = functional.avg_pool2d(x, 3, 1, 1).permute(0, 2, 3, 1)
            return reshape(x, shape)
        size, strides = (1, 3, 3), (1, 1, 1)
        x = pad(inputs, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
        if sliced():
            return _by_axis(add, x, size, strides) / 9
        return ops.average_pool(x, size, strides)

    def compute_output_shape(self, input_shape):
        return input_shape


def sliced():
    """Whether pools are fastest as slices: on JAX's CPU, which has no kernels."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def _by_axis(function, x, pool_size, strides):
    """Pools one axis after the other: what stands in each place of the pool, as one."""
    for axis, (size, stride) in enumerate(zip(pool_size, strides, strict=True), 1):
        last = (x.shape[axis] - size) // stride * stride
        places = [
            (slice(None),) * axis + (slice(place, place + last + 1, stride),)
            for place in range(size)
        ]
        x = reduce(function, [x[place] for place in places])
    return x


def max_pool(x, pool_size, strides, name, ceil=False):
    """Max pooling of what is not negative, half of the pool as zeros on both sides.

    Args:
        x: tensor `(batch, frames, height, width, channels)`, after a ReLU, so that
            zeros never win.
        pool_size: tuple of 3 ints. An even size is not padded.
        strides: tuple of 3 ints.
        ceil: bool, pool as Caffe does: no margins, and what is left over at the end
            of an axis is pooled as well.
    """
    margins = [((size - 1) // 2,) * 2 for size in pool_size]
    if ceil:
        margins = [
            (0, stride - 1 if n is None else (size - n) % stride)
            for n, size, stride in zip(x.shape[1:4], pool_size, strides, strict=True)
        ]
    return MaxPool(pool_size, strides, margins, name=name)(x)
