"""Concatenation of channels."""

import keras

from stzoo import backend


@keras.saving.register_keras_serializable("stzoo")
class Concatenate(keras.layers.Concatenate):
    """Keras' `Concatenate` of the channels of clips, in the layout of an export.

    Input shape: list of `(batch, frames, height, width, channels)`.

    Output shape: the same, with all of their channels.
    """

    def __init__(self, **kwargs):
        super().__init__(axis=-1, **kwargs)

    def call(self, inputs):
        return backend.concatenate(inputs)

    def get_config(self):
        config = super().get_config()
        del config["axis"]
        return config
