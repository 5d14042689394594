"""Operators of the spatiotemporal pyramid network (STPN).

Wang, Long, Wang, Yu: Spatiotemporal Pyramid Network for Video Action Recognition.
CVPR 2017. https://arxiv.org/abs/1903.01038
"""

import keras
import numpy as np
from keras import ops

from stzoo.backend import count_sketch
from stzoo.layers import initializers
from stzoo.layers.nested import configs, nested


@keras.saving.register_keras_serializable("stzoo")
class SpatiotemporalCompactBilinear(keras.layers.Layer):
    """Fuses features of several sources into one of fixed width (Algorithm 1).

    Each input `v_i` has fixed random hashes `h_i` and signs `s_i`, one for each of
    its channels. Its count sketch adds up what meets: `v'_i[h_i(j)] += s_i(j) v_i(j)`.
    The answer is the circular convolution of the sketches, `FFT⁻¹(Π FFT(v'_i))`: a
    sketch of the outer product of all inputs, location by location. It is computed in
    float32 under any precision policy.

    Hashes and signs are drawn from the seed with NumPy, the same on any backend, and
    are saved with the weights, so that a saved layer answers the same anywhere.

    Args:
        dim: int, channels of the output.
        seed: int from 0, of the hashes and signs.
        normalize: bool, whether the answer is divided by its root mean square over the
            channels. Algorithm 1 does not. Gao et al. (Compact Bilinear Pooling, CVPR
            2016) divide by the L2 norm, which differs by the factor `sqrt(dim)`, after
            a signed square root, which would amplify rounding around 0.

    Input shape: list of two or more `(batch, ..., channels)`, of any number of
        channels each and else the same.

    Output shape: `(batch, ..., dim)`.

    Example:

    >>> frame, flow = np.random.rand(2, 7, 7, 64), np.random.rand(2, 7, 7, 32)
    >>> stzoo.layers.SpatiotemporalCompactBilinear(128)([frame, flow]).shape
    (2, 7, 7, 128)
    """

    def __init__(self, dim, seed=0, normalize=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.dim = dim
        self.seed = seed
        self.normalize = normalize
        for name, value, least in (("dim", dim, 1), ("seed", seed, 0)):
            if type(value) is not int or value < least:
                raise ValueError(
                    f"{name} must be a whole number from {least}. Received: {value!r}."
                )

    def build(self, input_shape):
        _check_alike(input_shape)
        self.hashes, self.signs = [], []
        for number, shape in enumerate(input_shape):
            rng = np.random.default_rng((self.seed, number))
            hashes = rng.integers(self.dim, size=shape[-1])
            signs = 2 * rng.integers(2, size=shape[-1]) - 1
            self.hashes.append(self._fixed(f"hash{number}", hashes, "int32"))
            self.signs.append(self._fixed(f"sign{number}", signs, "float32"))

    def _fixed(self, name, values, dtype):
        return self.add_weight(
            shape=values.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(values, dtype),
            dtype=dtype,
            trainable=False,
            name=name,
        )

    def call(self, inputs):
        product = None
        for x, hashes, signs in zip(inputs, self.hashes, self.signs, strict=True):
            x = count_sketch(ops.cast(x, "float32") * signs, hashes, self.dim)
            factor = ops.rfft(x)
            product = factor if product is None else _multiply(product, factor)
        y = ops.irfft(product, fft_length=self.dim)
        if self.normalize:
            y = y * ops.rsqrt(ops.mean(y * y, axis=-1, keepdims=True) + 1e-12)
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "dim": self.dim,
            "seed": self.seed,
            "normalize": self.normalize,
        }


@keras.saving.register_keras_serializable("stzoo")
class AttentionPooling(keras.layers.Layer):
    """The mean of a map over its locations, weighed by what another map says of them.

    *Stated* by the figure of the paper: the fused pair of both streams goes through
    two convolutions and a softmax to one weight for each location, and the weighted
    map is that of the frame. *Inferred*:

    * the softmax is over the locations, as what it gives is called `1x7x7` and the
      pooling weighted;
    * convolutions are 1x1, with ReLU between them;
    * the first has 64 filters, as in a student's re-implementation. The figure gives
      no number.

    Computed in float32 under any precision policy.

    Args:
        filters: int, of the first convolution.
        dense: dict, configs of the layers inside that Keras has quantized or given
            LoRA, by their names. `get_config` fills it in.

    Input shape: list of two: the map `(batch, ..., channels)`, and what says where to
        look, `(batch, ..., features)`.

    Output shape: `(batch, channels)`.

    Example:

    >>> frame, pair = np.random.rand(2, 7, 7, 64), np.random.rand(2, 7, 7, 128)
    >>> stzoo.layers.AttentionPooling()([frame, pair]).shape
    (2, 64)
    """

    def __init__(self, filters=64, dense=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.filters = filters
        self.dense = dense or {}

    def build(self, input_shape):
        _check_alike(input_shape)
        features = input_shape[1][-1]
        # Without a second bias, which the softmax would take away again.
        conv1 = initializers.dense(self.filters, "relu", name="conv1")
        conv2 = initializers.dense(1, use_bias=False, name="conv2")
        self.conv1, self.conv2 = nested(self, conv1), nested(self, conv2)
        self.conv1.build((None, features))
        self.conv2.build((None, self.filters))

    def call(self, inputs):
        x = ops.cast(inputs[0], "float32")
        weights = ops.expand_dims(self.weigh(inputs[1]), -1)
        pooled = ops.sum(x * weights, axis=tuple(range(1, len(x.shape) - 1)))
        return ops.cast(pooled, self.compute_dtype)

    def weigh(self, pair):
        """How much each location counts.

        Args:
            pair: tensor `(batch, ..., features)`, what says where to look.

        Returns:
            Tensor `(batch, ...)`, float32, with a sum of 1 over all locations.
        """
        scores = self.conv2(self.conv1(ops.cast(pair, "float32")))[..., 0]
        places = tuple(range(1, len(scores.shape)))
        powers = ops.exp(scores - ops.amax(scores, axis=places, keepdims=True))
        return powers / ops.sum(powers, axis=places, keepdims=True)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], input_shape[0][-1])

    def get_config(self):
        config = super().get_config()
        return {
            **config,
            "filters": self.filters,
            "dense": configs(self, "conv1", "conv2"),
        }


@keras.saving.register_keras_serializable("stzoo")
class Pyramid(keras.layers.Layer):
    """Takes a clip apart into one frame and snippets of optical flow.

    Args:
        length: int, frames of a snippet.

    Input shape: `(batch, snippets * length, height, width, channels)`: 2 channels of
        flow, x and y, or 5, red, green, blue and flow.

    Output shape: list of the frame, `(batch, 1, height, width, 3)`, if there are 5
        channels, which is the first one of the middle snippet ("RGB at time t, flow of
        [t, t + L)"), and the flow, `(batch, snippets, height, width, 2 * length)`,
        whose channels are x and y of the first frame of the snippet, of the second,
        and so on.

    Example:

    >>> clip = np.random.randint(0, 256, (2, 30, 56, 56, 5), "uint8")
    >>> [x.shape for x in stzoo.layers.Pyramid(10)(clip)]
    [(2, 1, 56, 56, 3), (2, 3, 56, 56, 20)]
    """

    def __init__(self, length, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.length = length

    def build(self, input_shape):
        frames, channels = input_shape[1], input_shape[-1]
        if channels not in (2, 5) or frames is None or frames % self.length:
            raise ValueError(
                f"A clip must have 2 or 5 channels, and snippets of {self.length} "
                f"frames. Received: input_shape={tuple(input_shape)}."
            )

    def call(self, inputs):
        _, frames, height, width, _ = ops.shape(inputs)
        flow = ops.reshape(
            inputs[..., -2:], (-1, frames // self.length, self.length, height, width, 2)
        )
        flow = ops.transpose(flow, (0, 1, 3, 4, 2, 5))
        shape = (-1, frames // self.length, height, width, 2 * self.length)
        outputs = [ops.reshape(flow, shape)]
        if inputs.shape[-1] == 5:
            start = frames // self.length // 2 * self.length
            outputs.insert(0, inputs[:, start : start + 1, ..., :3])
        return outputs

    def compute_output_shape(self, input_shape):
        batch, frames, height, width, channels = input_shape
        snippets = frames // self.length
        shapes = [(batch, snippets, height, width, 2 * self.length)]
        if channels == 5:
            shapes.insert(0, (batch, 1, height, width, 3))
        return shapes

    def compute_output_spec(self, inputs):
        return [
            keras.KerasTensor(shape, inputs.dtype)
            for shape in self.compute_output_shape(inputs.shape)
        ]

    def get_config(self):
        return {**super().get_config(), "length": self.length}


def _multiply(one, other):
    """The product of complex numbers, pairs of their real and imaginary parts."""
    (a, b), (c, d) = one, other
    return a * c - b * d, a * d + b * c


def _check_alike(shapes):
    """Raises an error unless there are several inputs, alike but for the channels."""
    if not isinstance(shapes, list | tuple) or not isinstance(shapes[0], list | tuple):
        shapes = [shapes]
    sizes = list(zip(*(shape[:-1] for shape in shapes), strict=False))
    alike = len({len(shape) for shape in shapes}) == 1 and all(
        len({size for size in axis if size is not None}) < 2 for axis in sizes
    )
    if len(shapes) < 2 or not alike:
        raise ValueError(
            "A list of two or more inputs is needed, of the same shape but for the "
            f"channels. Received: {', '.join(str(tuple(shape)) for shape in shapes)}."
        )
