"""The temporal operators of STM: a convolution over time, and motion.

Jiang, Wang, Gan, Wu, Yan: STM, SpatioTemporal and Motion Encoding for Action
Recognition. ICCV 2019. https://arxiv.org/abs/1908.02486

`TemporalDepthwiseConv` is the temporal part of the Channel-wise SpatioTemporal Module
(Section 3.1). The paper shortens its name to CSTM, but `stzoo.layers.CSTM` is another
operator. `MotionDifference` is the middle of the Channel-wise Motion Module, or CMM
(Section 3.2).

*Stated* by the paper: a kernel of three frames for each channel, which starts as
[1, 0, 0] in the first quarter of the channels, as [0, 0, 1] in the last quarter and as
[0, 1, 0] in the others. Motion is a 3x3 convolution of each channel of the next frame
minus this frame, and zero in the last frame.

*Our reading*: frames beyond the ends are zeros, and there is no bias.
"""

import keras
import numpy as np
from keras import ops

from stzoo.backend import pad
from stzoo.layers.initializers import HeNormal
from stzoo.layers.lowering import depthwise_by_frame
from stzoo.layers.shift import shift


@keras.saving.register_keras_serializable("stzoo")
class QuarterShift(keras.initializers.Initializer):
    """Initializes a kernel over time to shifts, as in STM (Section 4.2).

    The first quarter of the channels takes the previous frame, the last quarter the
    next frame, and all others this frame.
    """

    def __call__(self, shape, dtype=None):
        size, channels = shape
        quarter = channels // 4
        kernel = np.zeros(shape)
        kernel[size // 2 - 1, :quarter] = 1
        kernel[size // 2, quarter : channels - quarter] = 1
        kernel[size // 2 + 1, channels - quarter :] = 1
        return ops.convert_to_tensor(kernel, dtype)


@keras.saving.register_keras_serializable("stzoo")
class TemporalDepthwiseConv(keras.layers.Layer):
    """Convolves each channel over three frames, with a kernel of its own (STM).

    It starts as a shift of channels, see `QuarterShift`.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.arange(3.0).reshape(1, 3, 1, 1, 1) * np.ones(4)
    >>> y = stzoo.layers.TemporalDepthwiseConv()(x)
    >>> keras.ops.convert_to_numpy(y)[0, :, 0, 0]
    array([[0., 0., 0., 1.],
           [0., 1., 1., 2.],
           [1., 2., 2., 0.]], dtype=float32)
    """

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(3, input_shape[-1]), initializer=QuarterShift(), name="kernel"
        )

    def call(self, inputs):
        before, now, after = ops.unstack(ops.convert_to_tensor(self.kernel))
        return shift(inputs, 1) * before + inputs * now + shift(inputs, -1) * after

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config()


@keras.saving.register_keras_serializable("stzoo")
class MotionDifference(keras.layers.Layer):
    """A 3x3 convolution of each channel of the next frame, minus this frame (STM).

    It is zero in the last frame, which has no next one.

    Args:
        kernel_initializer: `keras.initializers.Initializer`, or its name. Defaults to
            `HeNormal`.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 4)
    >>> stzoo.layers.MotionDifference()(x).shape
    (2, 8, 14, 14, 4)
    """

    def __init__(self, kernel_initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = (
            keras.initializers.get(kernel_initializer) or HeNormal()
        )

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(3, 3, 1, input_shape[-1]),
            initializer=self.kernel_initializer,
            name="kernel",
        )

    def call(self, inputs):
        kernel = ops.convert_to_tensor(self.kernel)
        after = depthwise_by_frame(inputs[:, 1:], kernel)
        return pad(after - inputs[:, :-1], [(0, 0), (0, 1), (0, 0), (0, 0), (0, 0)])

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "kernel_initializer": initializer}
