"""Layers of video transformers that Keras does not have.

Vaswani et al.: Attention Is All You Need. NeurIPS 2017. https://arxiv.org/abs/1706.03762

Su et al.: RoFormer, Enhanced Transformer with Rotary Position Embedding. 2021.
https://arxiv.org/abs/2104.09864
"""

import functools

import keras
import numpy as np
from keras import ops

from stzoo.backend import attend, constant, reshape, shape_of
from stzoo.layers import initializers

BASE = 10_000.0  # of the wavelengths of all positions


@keras.saving.register_keras_serializable("stzoo")
class TubeletEmbedding(keras.layers.Layer):
    """Cuts a clip into tubelets and maps each to a token.

    It equals a 3D convolution whose strides are its kernel size. Frames, rows and
    columns that do not fill a tubelet are dropped, as by the convolution.

    Args:
        filters: int, channels of a token.
        size: tuple of ints, frames, height and width of a tubelet.

    Input shape: `(batch, frames, height, width, channels)`, all sizes known.

    Output shape: `(batch, tokens, filters)`, in the order of time, rows and columns.

    Example:

    >>> clip = np.zeros((1, 16, 224, 224, 3))
    >>> stzoo.layers.TubeletEmbedding(768)(clip).shape
    (1, 1568, 768)
    """

    def __init__(self, filters, size=(2, 16, 16), **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size = filters, tuple(size)

    def build(self, input_shape):
        if None in input_shape[1:]:
            raise ValueError(
                "A transformer needs clips of a fixed size. Received: input_shape="
                f"{tuple(input_shape[1:])}."
            )
        if min(self.grid(input_shape)) < 1:
            raise ValueError(
                f"A clip must have at least {self.size} frames, rows and columns. "
                f"Received: input_shape={tuple(input_shape[1:])}."
            )
        self.kernel = self.add_weight(
            shape=(*self.size, input_shape[-1], self.filters),
            initializer=initializers.RandomNormal(stddev=0.02),
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.filters,), initializer="zeros", name="bias"
        )

    def call(self, inputs):
        frames, height, width = self.size
        t, h, w = self.grid(inputs.shape)
        x = inputs[:, : t * frames, : h * height, : w * width]
        channels = x.shape[-1]
        x = reshape(x, (-1, frames, h, height, w, width * channels))
        x = ops.transpose(x, (0, 2, 4, 1, 3, 5))
        x = reshape(x, (-1, t * h * w, frames * height * width * channels))
        return ops.matmul(x, ops.reshape(self.kernel, (-1, self.filters))) + self.bias

    def grid(self, shape):
        """Returns the number of tubelets of a clip in time, rows and columns.

        Args:
            shape: tuple `(batch, frames, height, width, channels)`.
        """
        return tuple(n // size for n, size in zip(shape[1:4], self.size, strict=True))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], int(np.prod(self.grid(input_shape))), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "size": self.size}


@keras.saving.register_keras_serializable("stzoo")
class SineCosinePositions(keras.layers.Layer):
    """Adds sines and cosines of its index to each token.

    The index counts all tokens of a clip in order, as in VideoMAE. If the grid differs
    from the native one, the native vectors are interpolated linearly in time, rows and
    columns.

    Args:
        grid: tuple of ints, tubelets of the clip in time, rows and columns.
        native: tuple of ints, the grid that the weights were trained with. Defaults to
            `grid`.

    Input shape: `(batch, tokens, channels)`.

    Output shape: same as the input.
    """

    def __init__(self, grid, native=None, **kwargs):
        super().__init__(**kwargs)
        self.grid = tuple(grid)
        self.native = self.grid if native is None else tuple(native)

    def build(self, input_shape):
        self.table = sine_cosines(self.grid, self.native, input_shape[-1])

    def call(self, inputs):
        return inputs + constant(self.table, inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "grid": self.grid, "native": self.native}


def sine_cosines(grid, native, channels):
    """Computes the vectors of `SineCosinePositions`.

    Args:
        grid, native: see `SineCosinePositions`.
        channels: int, of a token.

    Returns:
        float32 array `(tokens, channels)`.
    """
    angles = np.arange(np.prod(native))[:, None] / np.power(
        BASE, 2 * (np.arange(channels) // 2) / channels
    )
    table = np.where(np.arange(channels) % 2, np.cos(angles), np.sin(angles))
    table = table.reshape(*native, channels)
    for axis, count in enumerate(grid):
        table = _resample(table, axis, count)
    return table.reshape(-1, channels).astype("float32")


def _resample(table, axis, count):
    """Interpolates an axis linearly between the centres of `count` equal parts."""
    total = table.shape[axis]
    if total == count:
        return table
    places = ((np.arange(count) + 0.5) * total / count - 0.5).clip(0, total - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, total - 1)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(table.ndim)])
    return (1 - share) * table.take(low, axis) + share * table.take(high, axis)


@keras.saving.register_keras_serializable("stzoo")
class DotProductAttention(keras.layers.Layer):
    """Multi-head attention without weights.

    Each backend uses its own fused kernel.

    Args:
        heads: int. Channels must be divisible by it.
        grid: tuple of ints, tubelets in time, rows and columns. With it, queries and
            keys are rotated by their position (V-JEPA 2): the first third of the
            channels of a head by the frame, the second by the row, the third by the
            column. Remaining channels are not rotated.

    Input shape: list of queries `(batch, queries, channels)`, keys and values `(batch,
        tokens, channels)`.

    Output shape: `(batch, queries, channels)`.
    """

    def __init__(self, heads, grid=None, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.grid = None if grid is None else tuple(grid)

    def build(self, input_shape):
        channels = input_shape[0][-1]
        if channels % self.heads:
            raise ValueError(
                f"The channels must be divisible by heads={self.heads}. Received: "
                f"{channels} channels."
            )
        if self.grid is not None:
            self.rotations = rotations(self.grid, channels // self.heads)

    def call(self, inputs):
        query, key, value = (self._in_heads(x) for x in inputs)
        if self.grid is not None:
            query, key = (rotate(x, *self.rotations) for x in (query, key))
        y = attend(query, key, value)
        return reshape(y, (*shape_of(y)[:2], inputs[2].shape[-1]))

    def _in_heads(self, x):
        sizes = (*shape_of(x)[:2], self.heads, x.shape[-1] // self.heads)
        return reshape(x, sizes)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "grid": self.grid}


@functools.lru_cache(maxsize=8)  # all blocks of a network have the same
def rotations(grid, channels):
    """Computes the cosines and sines of the angles of each token and channel.

    The weights of V-JEPA 2 need this layout: adjacent channels are rotated as pairs,
    but the angles of a third are all wavelengths in a row, twice.

    Args:
        grid: tuple of ints, tubelets in time, rows and columns.
        channels: int, of a head.

    Returns:
        Two float32 arrays `(tokens, 1, channels)`.
    """
    half = channels // 3 // 2
    waves = BASE ** -(np.arange(half) / half)
    positions = np.stack(np.indices(grid), axis=-1).reshape(-1, 3)
    angles = positions[:, :, None] * np.tile(waves, 2)  # (tokens, 3, 2 half)
    angles = angles.reshape(len(positions), -1)
    angles = np.pad(angles, ((0, 0), (0, channels - angles.shape[1])))[:, None]
    return np.cos(angles).astype("float32"), np.sin(angles).astype("float32")


def rotate(x, cosines, sines):
    """Rotates pairs of neighbouring channels.

    Args:
        x: tensor `(batch, tokens, heads, channels)`.
        cosines, sines: see `rotations`.
    """
    if x.shape[-1] % 2:
        raise ValueError(f"Channels of a head must be even. Received: {x.shape[-1]}.")
    pairs = ops.stack([-x[..., 1::2], x[..., ::2]], axis=-1)
    turned = reshape(pairs, (*shape_of(x)[:3], x.shape[-1]))
    return x * constant(cosines, x) + turned * constant(sines, x)


@keras.saving.register_keras_serializable("stzoo")
class QueryToken(keras.layers.Layer):
    """A learned token, the same for all clips of a batch.

    Input shape: `(batch, tokens, channels)`. Only the batch and the channels are used.

    Output shape: `(batch, 1, channels)`.
    """

    def build(self, input_shape):
        self.query_tokens = self.add_weight(
            shape=(1, 1, input_shape[-1]),
            initializer=initializers.RandomNormal(stddev=0.02),
            name="query_tokens",
        )

    def call(self, inputs):
        return ops.zeros_like(inputs[:, :1]) + self.query_tokens

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1, input_shape[-1])
