"""Temporal shifts of channels, plain (TSM) and gated (GSM).

Lin, Gan, Han: TSM, Temporal Shift Module for Efficient Video Understanding. ICCV 2019.
https://arxiv.org/abs/1811.08383, https://github.com/mit-han-lab/temporal-shift-module

Sudhakaran, Escalera, Lanz: Gate-Shift Networks for Video Action Recognition. CVPR 2020.
https://arxiv.org/abs/1912.00381, https://github.com/swathikirans/GSM
"""

import keras
from keras import ops

from stzoo.backend import pad, reshape, shape_of
from stzoo.layers import initializers
from stzoo.layers.lowering import conv2d_by_frame
from stzoo.layers.nested import configs, nested
from stzoo.layers.norm import BatchNorm


@keras.saving.register_keras_serializable("stzoo")
class TemporalShift(keras.layers.Layer):
    """Shifts some channels one frame back, and some one frame ahead (TSM).

    The shift has no weights and no multiplications. The convolution that follows sees
    three frames, or two if the shift is online.

    An online shift never looks ahead, so frames can be given in parts, or one by one:
    `last_part(frames)` is what the next call needs as `previous`.

    Args:
        divisor: int. `1 / divisor` of the channels come from the next frame, and
            `1 / divisor` from the previous frame. The ends are filled with zeros.
        online: bool. If true, the first `1 / divisor` of the channels come from the
            previous frame, and none from the next frame.

    Call arguments:
        inputs: tensor `(batch, frames, height, width, channels)`.
        previous: tensor `(batch, 1, height, width, channels // divisor)`, what the
            first frame takes from the frame before, if the shift is online. `None`:
            zeros, for the first frame of a video.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.arange(3.0).reshape(1, 3, 1, 1, 1) * np.ones(8)
    >>> keras.ops.convert_to_numpy(stzoo.layers.TemporalShift()(x))[0, :, 0, 0, :3]
    array([[1., 0., 0.],
           [2., 0., 1.],
           [0., 1., 2.]], dtype=float32)
    """

    def __init__(self, divisor=8, online=False, **kwargs):
        super().__init__(**kwargs)
        self.divisor = divisor
        self.online = online
        if type(divisor) is not int or divisor < 2:
            raise ValueError(
                "divisor must be an integer, at least 2, since two parts are shifted. "
                f"Received: divisor={divisor!r}."
            )

    def call(self, inputs, previous=None):
        fold = inputs.shape[-1] // self.divisor
        if self.online:
            parts = [_delayed(inputs[..., :fold], previous), inputs[..., fold:]]
            return ops.concatenate(parts, axis=-1)
        if previous is not None:
            raise ValueError(
                f"{self.name} also takes channels from the next frame, so frames "
                "cannot be given in parts. Pass online=True, or omit previous."
            )
        parts = [
            shift(inputs[..., :fold], -1),
            shift(inputs[..., fold : 2 * fold], 1),
            inputs[..., 2 * fold :],
        ]
        return ops.concatenate(parts, axis=-1)

    def last_part(self, inputs):
        """Returns what the frame after the last one takes from it, see `previous`."""
        return inputs[:, -1:, ..., : inputs.shape[-1] // self.divisor]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        return {**config, "divisor": self.divisor, "online": self.online}


@keras.saving.register_keras_serializable("stzoo")
class GateShift(keras.layers.Layer):
    """Shifts the gated part of the channels in time, and keeps the rest (GSM).

    The channels are split into two halves. Each half has one gate for every position
    and frame, `tanh(conv(relu(bn(x))))`, where `conv` is a 3x3x3 convolution of this
    half. The gated part of the first half is shifted one frame back, that of the second
    half one frame ahead. The rest is added without a shift. The channels of each half
    are then shuffled, so that its two quarters alternate. Kernel and bias start at
    zero: gates are closed, and only the shuffle remains.

    Input shape: `(batch, frames, height, width, channels)`. Channels must be divisible
        by 4.

    Output shape: same as the input.

    Attributes:
        parts: names of the weighted terms, see `coefficients`.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 64)
    >>> stzoo.layers.GateShift()(x).shape
    (2, 8, 14, 14, 64)
    """

    parts = ("kept", "shifted")

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % 4:
            raise ValueError(
                "GateShift shuffles quarters of the channels, so their number must be "
                f"divisible by 4. Received: input_shape={tuple(input_shape)}."
            )
        self.bn = BatchNorm(dtype=self.dtype_policy, name="bn")
        self.bn.build(input_shape)
        self.kernel = self.add_weight(
            shape=(3, 3, 3, channels // 2, 2), initializer="zeros", name="kernel"
        )
        self.bias = self.add_weight(shape=(2,), initializer="zeros", name="bias")

    def call(self, inputs, training=None):
        gates = self._gates(inputs, training)
        half = inputs.shape[-1] // 2
        halves = []
        for side, by in enumerate((-1, 1)):
            x = inputs[..., side * half : (side + 1) * half]
            passed = gates[..., side : side + 1] * x
            halves.append(shuffle(shift(passed, by) + x - passed))
        return ops.concatenate(halves, axis=-1)

    def coefficients(self, inputs=None):
        """Computes the kept and the shifted fraction of each half of the channels.

        Args:
            inputs: the input of the layer.

        Returns:
            float32 tensor `(batch, 2, 2)`: kept and shifted, for each half. The shifted
            fraction is the mean absolute gate over time and space. The first half is
            shifted from the next frame, the second half from the previous one.
        """
        if inputs is None:
            raise ValueError(
                f"The gates of {self.name} depend on the clip. Pass clips."
            )
        gates = ops.abs(ops.cast(self._gates(inputs, training=False), "float32"))
        shifted = ops.mean(gates, axis=(1, 2, 3))
        return ops.stack([1 - shifted, shifted], axis=1)

    def _gates(self, inputs, training):
        seen = ops.relu(self.bn(inputs, training=training))
        return ops.tanh(self._convolve(seen) + self.bias)

    def _convolve(self, x):
        """A 3x3x3 convolution with two groups of channels and one filter for each.

        One Conv2D computes the three frames of both kernels as six filters, with zeros
        for the channels of the other group. Its outputs are shifted in time and added.
        Best ms forward on two busy CPU cores, for 8x28x28x64 and 8x14x14x192:

        | formulation         | TensorFlow  | JAX         |
        |---------------------|-------------|-------------|
        | two Conv3D          | 3.9 and 2.9 | 2.3 and 1.8 |
        | one dense Conv3D    | 3.2 and 2.7 | 2.3 and 1.7 |
        | matmul, 27 shifts   | 3.3 and 1.5 | 0.9 and 0.7 |
        | six filters (here)  | 2.1 and 1.3 | 0.9 and 0.8 |

        A grouped Conv3D takes up to a second on TensorFlow and JAX.
        """
        kernel = ops.convert_to_tensor(self.kernel)
        zeros = ops.zeros_like(kernel[..., 0])
        first = ops.concatenate([kernel[..., 0], zeros], axis=-1)
        second = ops.concatenate([zeros, kernel[..., 1]], axis=-1)
        filters = ops.stack([f[t] for t in range(3) for f in (first, second)], axis=-1)
        y = conv2d_by_frame(x, filters)
        return shift(y[..., :2], 1) + y[..., 2:4] + shift(y[..., 4:], -1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config()


@keras.saving.register_keras_serializable("stzoo")
class ChannelAttention(keras.layers.Layer):
    """Weights the channels of a clip by their global average.

    Hu, Shen, Sun: Squeeze-and-Excitation Networks. CVPR 2018, with the average taken
    over time as well: `x * sigmoid(fc2(relu(fc1(mean(x)))))`.

    Args:
        reduction: int. The hidden layer has `channels / reduction` units.
        dense: dict from names to configs of the inner Dense layers that are quantized
            or have LoRA enabled. `get_config` fills it in.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 64)
    >>> stzoo.layers.ChannelAttention()(x).shape
    (2, 8, 14, 14, 64)
    """

    def __init__(self, reduction=4, dense=None, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction
        self.dense = dense or {}

    def build(self, input_shape):
        channels = input_shape[-1]
        hidden = max(1, channels // self.reduction)
        self.fc1 = nested(self, initializers.dense(hidden, "relu", name="fc1"))
        self.fc2 = nested(self, initializers.dense(channels, "sigmoid", name="fc2"))
        self.fc1.build((None, channels))
        self.fc2.build((None, hidden))

    def call(self, inputs):
        seen = ops.mean(ops.cast(inputs, "float32"), axis=(1, 2, 3))
        weights = ops.expand_dims(self.fc2(self.fc1(seen)), (1, 2, 3))
        return inputs * ops.cast(weights, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        return {
            **config,
            "reduction": self.reduction,
            "dense": configs(self, "fc1", "fc2"),
        }


def _delayed(x, previous):
    """Every frame is that before. The first one is `previous`, or zeros."""
    if previous is None:
        return shift(x, 1)
    return ops.concatenate([previous, x[:, :-1]], axis=1)


def shift(x, by):
    """Shifts frames one later (`by=1`) or one earlier (`by=-1`), padded with zeros.

    Args:
        x: tensor `(batch, frames, height, width, channels)`.
    """
    ends = (1, 0) if by > 0 else (0, 1)
    kept = x[:, :-1] if by > 0 else x[:, 1:]
    return pad(kept, [(0, 0), ends, (0, 0), (0, 0), (0, 0)])


def shuffle(x):
    """Interleaves the two halves of the channels."""
    half = x.shape[-1] // 2
    pairs = ops.stack([x[..., :half], x[..., half:]], axis=-1)
    return reshape(pairs, (*shape_of(x)[:-1], 2 * half))
