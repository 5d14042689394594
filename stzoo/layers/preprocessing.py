"""What happens to pixels on their way into a network."""

import dataclasses
import json
import logging

import keras
from keras import ops

from stzoo.backend import constant
from stzoo.weights.config import ModelConfig

logger = logging.getLogger("stzoo")
# What a config.json does not say, since it stands with the weights themselves.
_OF_THE_ZOO = ("repository", "revision", "allow_missing")


@keras.saving.register_keras_serializable("stzoo")
class Normalize(keras.layers.Layer):
    """Turns RGB of 0 to 255 into what the weights were trained on.

    `(x - mean) / std`, computed in float32 under any precision policy, then the
    order of channels.

    Args:
        mean: sequence of floats, one for each channel of the input, of 0..255.
        std: sequence of floats, likewise.
        order: `"RGB"`, or `"BGR"` for weights that come from Caffe.
        record: `stzoo.weights.config.ModelConfig`, or its config. The layer does
            not use it. It carries it for the model, `model.stzoo`, since Keras copies
            and saves a model by the configs of its layers.

    Input shape: `(..., channels)`, uint8 or float.

    Output shape: as the input.

    Example:

    >>> frame = np.full((1, 8, 14, 14, 3), 255, "uint8")
    >>> answer = stzoo.layers.Normalize((127.5,) * 3, (127.5,) * 3)(frame)
    >>> keras.ops.convert_to_numpy(answer)[0, 0, 0, 0]
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, mean, std, order="RGB", record=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.order = order
        self.record = record
        policy = self.dtype_policy
        if policy.quantization_mode:  # every network begins here
            raise ValueError(
                f"The policy {policy.name} quantizes, which few layers of a network "
                "can do. Build the model under another policy, such as "
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
        # As a text, since Keras changes dicts. A record that is not understood stays as
        # it is when the model is saved again.
        self._text = None if record is None else json.dumps(record)
        self._record = self._text and _record(json.loads(self._text))

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
        config |= {"mean": self.mean, "std": self.std, "order": self.order}
        return config | ({"record": json.loads(self._text)} if self._text else {})


def _config(record):
    """A record as plain values."""
    rest = {name: getattr(record, name) for name in _OF_THE_ZOO}
    return record.to_config() | rest


def _record(config):
    """The record of these values, or `None` with a warning."""
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
            "%s. The model answers, but it has no `model.stzoo`. To get that, load it "
            "with the version of stzoo that saved it, or a newer one.",
            error,
        )
        return None
