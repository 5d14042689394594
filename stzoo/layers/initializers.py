"""Weight initializers that draw with NumPy.

Keras on JAX compiles a program for each shape that it draws, which took most of the
time of building a network. Each `seed` is an int, or `None` to derive one from
`keras.utils.set_random_seed`.
"""

import contextlib
import contextvars
import math

import keras
import numpy as np
from keras import ops

_left = contextvars.ContextVar("kernels and numbers that may be drawn", default=None)


@contextlib.contextmanager
def at_most(kernels, numbers):
    """Context manager that limits how many weights are drawn.

    A network that is too large raises an error before it fills the memory.

    Args:
        kernels: int, maximum number of kernels.
        numbers: int, maximum number of weights in all kernels together.

    Raises:
        ValueError: a network needs more.
    """
    token = _left.set([kernels, numbers])
    try:
        yield
    finally:
        _left.reset(token)


def _take(shape):
    """Counts a kernel that is about to be drawn."""
    left = _left.get()
    if left is None:
        return
    left[0] -= 1
    left[1] -= math.prod(shape)
    if min(left) < 0:
        raise ValueError("it would have more weights than its file")


@keras.saving.register_keras_serializable("stzoo")
class HeNormal(keras.initializers.HeNormal):
    """Like `keras.initializers.HeNormal`.

    He, Zhang, Ren, Sun: Delving Deep into Rectifiers. ICCV 2015, Equation 10; truncated
    at two standard deviations.

    Args:
        seed: int, or `None`.
    """

    def __call__(self, shape, dtype=None):
        _take(shape)
        rng = np.random.default_rng(self.seed)
        values = rng.standard_normal(shape, "float32")
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(outside.sum(), "float32")
        # Truncation leaves 0.8796 of the standard deviation.
        deviation = math.sqrt(2 / math.prod(shape[:-1])) / 0.87962566103423978
        return ops.convert_to_tensor(values * np.float32(deviation), dtype)


@keras.saving.register_keras_serializable("stzoo")
class GlorotUniform(keras.initializers.GlorotUniform):
    """Like `keras.initializers.GlorotUniform`, for matrices only.

    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural
    networks. AISTATS 2010, Equation 16.

    Args:
        seed: int, or `None`.
    """

    def __call__(self, shape, dtype=None):
        _take(shape)
        limit = math.sqrt(6 / sum(shape))
        values = np.random.default_rng(self.seed).uniform(-limit, limit, shape)
        return ops.convert_to_tensor(values.astype("float32"), dtype)


@keras.saving.register_keras_serializable("stzoo")
class RandomNormal(keras.initializers.RandomNormal):
    """Like `keras.initializers.RandomNormal`.

    Args:
        mean, stddev: floats.
        seed: int, or `None`.
    """

    def __call__(self, shape, dtype=None):
        _take(shape)
        values = np.random.default_rng(self.seed).normal(self.mean, self.stddev, shape)
        return ops.convert_to_tensor(values.astype("float32"), dtype)


@keras.saving.register_keras_serializable("stzoo")
class Identity(keras.initializers.Initializer):
    """Initializes a kernel to the identity: 1 at its centre, 0 elsewhere."""

    def __call__(self, shape, dtype=None):
        _take(shape)
        kernel = np.zeros(shape)
        kernel[tuple(size // 2 for size in shape[:-2])] = np.eye(*shape[-2:])
        return ops.convert_to_tensor(kernel, dtype)


def dense(units, activation=None, kernel_initializer=None, **kwargs):
    """Creates a `keras.layers.Dense` in float32, initialized with `GlorotUniform`.

    Args:
        units, activation, kernel_initializer, **kwargs: see `keras.layers.Dense`.
    """
    return keras.layers.Dense(
        units,
        activation,
        kernel_initializer=kernel_initializer or GlorotUniform(),
        dtype="float32",
        **kwargs,
    )
