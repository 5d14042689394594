"""What happens to pixels on their way into a network."""

import keras
from keras import ops

from stzoo.backend import constant


@keras.saving.register_keras_serializable("stzoo")
class Normalize(keras.layers.Layer):
    """Turns RGB of 0 to 255 into what the weights were trained on.

    `(x - mean) / std`, computed in float32 under any precision policy, then the
    order of channels.

    Args:
        mean: sequence of floats, one for each channel of the input, of 0..255.
        std: sequence of floats, likewise.
        order: `"RGB"`, or `"BGR"` for weights that come from Caffe.

    Input shape: `(..., channels)`, uint8 or float.

    Output shape: as the input.

    Example:

    >>> frame = np.full((1, 8, 14, 14, 3), 255, "uint8")
    >>> answer = stzoo.layers.Normalize((127.5,) * 3, (127.5,) * 3)(frame)
    >>> keras.ops.convert_to_numpy(answer)[0, 0, 0, 0]
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, mean, std, order="RGB", **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.order = order
        policy = self.dtype_policy
        if policy.quantization_mode:  # every network begins here
            raise ValueError(
                f"The policy {policy.name} quantizes, which few layers of a network "
                "can do. Build the model under another policy, such as "
                '`keras.config.set_dtype_policy("float32")`, then quantize it: '
                f'`model.quantize("{policy.quantization_mode}")`.'
            )

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        x = (x - constant(self.mean, x)) / constant(self.std, x)
        if self.order == "BGR":
            x = ops.flip(x, axis=-1)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        return {**config, "mean": self.mean, "std": self.std, "order": self.order}
