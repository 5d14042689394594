"""Normalisations with the native kernel of each backend.

Ioffe & Szegedy: Batch Normalization. ICML 2015. https://arxiv.org/abs/1502.03167

Ba et al.: Layer Normalization. 2016. https://arxiv.org/abs/1607.06450
"""

import keras
from keras import ops

from stzoo.backend import batch_norm, layer_norm


@keras.saving.register_keras_serializable("stzoo")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras' `BatchNormalization` with PyTorch's constants and moving variance.

    The moving variance of PyTorch uses the unbiased variance of a batch, that of Keras
    the biased one. Training matches the originals only with the former. Keras also
    composes the operation of smaller ones, which is slower, see `stzoo.backend`.

    Args:
        momentum: float, momentum of the moving statistics.
        epsilon: float, added to the variance.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 16)
    >>> stzoo.layers.BatchNorm()(x, training=True).shape
    (2, 8, 14, 14, 16)
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None):
        training = bool(training) and self.trainable
        outputs, mean, variance = batch_norm(inputs, self, training)
        if training:
            kept = self.momentum
            for moving, batch in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moving.assign(
                    moving * kept + ops.cast(batch, moving.dtype) * (1 - kept)
                )
        return outputs


@keras.saving.register_keras_serializable("stzoo")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras' `LayerNormalization` of the channels of each token, which can be exported.

    Args:
        epsilon: float, added to the variance.

    Input shape: `(batch, tokens, channels)`.

    Output shape: same as the input.

    Example:

    >>> x = np.random.rand(2, 196, 768)
    >>> stzoo.layers.LayerNorm(epsilon=1e-6)(x).shape
    (2, 196, 768)
    """

    def call(self, inputs):
        return ops.cast(layer_norm(inputs, self), self.compute_dtype)
