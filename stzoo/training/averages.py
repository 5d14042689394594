"""The moving average of the weights, in place of the weights themselves.

Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging. SIAM Journal on
Control and Optimization 30 (4), 1992. The optimizer of Keras keeps the average.
"""

from contextlib import contextmanager

import keras
from keras import ops


@contextmanager
def averaged(model):
    """Gives a model the averaged weights, and then its own ones again, bit for bit.

    Args:
        model: a compiled model. Without `use_ema` in its optimizer, nothing changes.
    """
    variables = model.trainable_variables if model.optimizer.use_ema else []
    own = _copies(variables)
    model.optimizer.finalize_variable_values(variables)
    # On JAX, both variables now have one array, which the next step deletes.
    _assign(variables, _copies(variables))
    try:
        yield
    finally:
        _assign(variables, own)


def _copies(variables):
    return [ops.convert_to_numpy(variable.value).copy() for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Averages(keras.callbacks.Callback):
    """Validates the averaged weights of a model."""

    def on_test_begin(self, logs=None):
        self._context = averaged(self.model)
        self._context.__enter__()

    def on_test_end(self, logs=None):
        self._context.__exit__(None, None, None)
