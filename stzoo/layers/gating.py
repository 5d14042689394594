"""Self-gating of S3D-G.

Xie, Sun, Huang, Tu, Murphy: Rethinking Spatiotemporal Feature Learning. ECCV 2018.
https://arxiv.org/abs/1712.04851, Section 4.4
"""

import keras
from keras import ops

from stzoo.layers import initializers
from stzoo.layers.nested import configs, nested


@keras.saving.register_keras_serializable("stzoo")
class SelfGating(keras.layers.Layer):
    """Weights the channels of a clip by a dense layer of their global average.

    The layer computes `x * sigmoid(fc(mean(x)))`, with the mean over frames, height and
    width. `stzoo.layers.ChannelAttention` has a hidden layer instead.

    Args:
        dense: dict from names to configs of the inner Dense layer if it is quantized or
            has LoRA enabled. `get_config` fills it in.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 64)
    >>> stzoo.layers.SelfGating()(x).shape
    (2, 8, 14, 14, 64)
    """

    def __init__(self, dense=None, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense or {}

    def build(self, input_shape):
        channels = input_shape[-1]
        self.fc = nested(self, initializers.dense(channels, "sigmoid", name="fc"))
        self.fc.build((None, channels))

    def call(self, inputs):
        seen = ops.mean(ops.cast(inputs, "float32"), axis=(1, 2, 3))
        weights = ops.expand_dims(self.fc(seen), (1, 2, 3))
        return inputs * ops.cast(weights, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "dense": configs(self, "fc")}
