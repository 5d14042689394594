"""Normalisation of the input of a network."""

import dataclasses
import json
import logging

import keras
from keras import ops

from stzoo import backend
from stzoo.weights.config import ModelConfig

logger = logging.getLogger("stzoo")
# Fields that are not in a config.json, since it lies next to the weights.
_OF_THE_ZOO = ("repository", "revision", "allow_missing")


@keras.saving.register_keras_serializable("stzoo")
class Normalize(keras.layers.Layer):
    """Normalises RGB from 0 to 255 to the input that the weights were trained on.

    The layer computes `(x - mean) / std` in float32 under any dtype policy, and then
    reorders the channels.

    Args:
        mean: sequence of floats from 0 to 255, one for each channel of the input.
        std: sequence of floats, one for each channel of the input.
        order: `"RGB"`, or `"BGR"` for weights that come from Caffe.
        record: `stzoo.weights.config.ModelConfig`, or its config. The layer does
            not use it. It stores it for `model.stzoo`, since Keras copies and saves a
            model by the configs of its layers.

    Input shape: `(..., channels)`, uint8 or float.

    Output shape: same as the input.

    Example:

    >>> frame = np.full((1, 8, 14, 14, 3), 255, "uint8")
    >>> x = stzoo.layers.Normalize((127.5,) * 3, (127.5,) * 3)(frame)
    >>> keras.ops.convert_to_numpy(x)[0, 0, 0, 0]
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, mean, std, order="RGB", record=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.order = order
        self.record = record
        policy = self.dtype_policy
        if policy.quantization_mode:  # this is the first layer of every network
            raise ValueError(
                f"The dtype policy {policy.name} quantizes, which only few layers of a "
                "network support. Build the model under another policy, such as "
                '`keras.config.set_dtype_policy("float32")`, then quantize it: '
                f'`model.quantize("{policy.quantization_mode}")`.'
            )

    @property
    def record(self):
        return self._record

    @record.setter
    def record(self, record):
        if isinstance(record, ModelConfig):
            record = _config(record)
        # The record is kept as text, since Keras changes dicts. An unknown record is
        # saved again unchanged.
        self._text = None if record is None else json.dumps(record)
        self._record = self._text and _record(json.loads(self._text))

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        x = backend.normalize(x, self.mean, self.std, self.order == "BGR")
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config |= {"mean": self.mean, "std": self.std, "order": self.order}
        return config | ({"record": json.loads(self._text)} if self._text else {})


def _config(record):
    """Returns a record as plain values."""
    rest = {name: getattr(record, name) for name in _OF_THE_ZOO}
    return record.to_config() | rest


def _record(config):
    """Returns the record of these values, or `None` with a warning."""
    try:
        rest = {name: config.pop(name) for name in _OF_THE_ZOO if name in config}
        record = ModelConfig.from_config(config)
        values = {**rest, "allow_missing": tuple(rest.get("allow_missing", ()))}
        options = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in record.options.items()
        }
        return dataclasses.replace(record, options=options, **values)
    except (TypeError, ValueError) as error:
        logger.warning(
            "The model has a record that this version of stzoo does not understand: "
            "%s. The model works, but it has no `model.stzoo`. To get it, load the "
            "model with the version of stzoo that saved it, or a newer one.",
            error,
        )
        return None
