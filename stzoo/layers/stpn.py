"""Operators of the spatiotemporal pyramid network (STPN).

Wang, Long, Wang, Yu: Spatiotemporal Pyramid Network for Video Action Recognition.
CVPR 2017. https://arxiv.org/abs/1903.01038
"""

import keras
import numpy as np
from keras import ops

from stzoo.backend import count_sketch, inverse_spectrum, spectrum
from stzoo.layers import initializers
from stzoo.layers.nested import configs, nested


@keras.saving.register_keras_serializable("stzoo")
class SpatiotemporalCompactBilinear(keras.layers.Layer):
    """Fuses features of several sources into one of fixed width (Algorithm 1).

    Each input `v_i` has fixed random hashes `h_i` and signs `s_i`, one for each of
    its channels. Its count sketch is `v'_i[h_i(j)] += s_i(j) v_i(j)`. The output is the
    circular convolution of the sketches, `FFT⁻¹(Π FFT(v'_i))`, which is a sketch of the
    outer product of all inputs at each location. It is computed in float32 under any
    dtype policy.

    Hashes and signs are drawn from the seed with NumPy, so that they are the same on
    any backend. They are saved with the weights.

    Args:
        dim: int, channels of the output.
        seed: int of at least 0, seed of the hashes and signs.
        normalize: bool, whether to divide the output by its root mean square over the
            channels. Algorithm 1 does not. Gao et al. (Compact Bilinear Pooling, CVPR
            2016) apply a signed square root, which would amplify rounding errors around
            0, and divide by the L2 norm, which differs by the factor `sqrt(dim)`.

    Input shape: list of two or more tensors `(batch, ..., channels)`. Only the number
        of channels may differ.

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
                    f"{name} must be an integer, at least {least}. Received: {value!r}."
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
            factor = spectrum(x)
            product = factor if product is None else _multiply(product, factor)
        y = inverse_spectrum(product, self.dim)
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
    """The mean of a map over its locations, weighted by attention to another map.

    *Stated* by the figure of the paper: the fused pair of both streams passes two
    convolutions and a softmax, which gives one weight for each location. The weighted
    map is that of the frame. *Inferred*:

    * The softmax is over the locations, since the paper calls its output `1x7x7` and
      the pooling weighted.
    * The convolutions are 1x1, with a ReLU between them.
    * The first convolution has 64 filters, as in a student's re-implementation. The
      figure gives no number.

    The layer computes in float32 under any dtype policy.

    Args:
        filters: int, filters of the first convolution.
        dense: dict from names to configs of the inner Dense layers that are quantized
            or have LoRA enabled. `get_config` fills it in.

    Input shape: list of two tensors: the map `(batch, ..., channels)`, and the fused
        pair `(batch, ..., features)`, from which the weights are computed.

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
        # The second layer has no bias, since the softmax would cancel it.
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
        """Computes the weight of each location.

        Args:
            pair: tensor `(batch, ..., features)`, the fused pair.

        Returns:
            float32 tensor `(batch, ...)`, which sums to 1 over all locations.
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
    """Splits a clip into one frame and snippets of optical flow.

    Args:
        length: int, frames of a snippet.

    Input shape: `(batch, snippets * length, height, width, channels)`. Channels are 2
        (flow x and y), or 5 (red, green, blue, flow x and y).

    Output shape: list of the frame, `(batch, 1, height, width, 3)`, only for 5
        channels, and the flow, `(batch, snippets, height, width, 2 * length)`. The
        frame is the first one of the middle snippet ("RGB at time t, flow of [t, t +
        L)"). The channels of the flow are x and y of the first frame of the snippet, x
        and y of the second, and so on.

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
                "A clip must have 2 or 5 channels, and a multiple of "
                f"{self.length} frames. Received: input_shape={tuple(input_shape)}."
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
    """Multiplies complex numbers, given as pairs of real and imaginary parts."""
    (a, b), (c, d) = one, other
    return a * c - b * d, a * d + b * c


def _check_alike(shapes):
    """Raises an error unless there are several inputs that differ in channels only."""
    if not isinstance(shapes, list | tuple) or not isinstance(shapes[0], list | tuple):
        shapes = [shapes]
    sizes = list(zip(*(shape[:-1] for shape in shapes), strict=False))
    alike = len({len(shape) for shape in shapes}) == 1 and all(
        len({size for size in axis if size is not None}) < 2 for axis in sizes
    )
    if len(shapes) < 2 or not alike:
        raise ValueError(
            "Expected a list of two or more inputs whose shapes differ in the channels "
            f"only. Received: {', '.join(str(tuple(shape)) for shape in shapes)}."
        )
