"""Dropout whose rate a recipe can set after the model is built."""

import keras

from stzoo.layers.seeds import new_seed


@keras.saving.register_keras_serializable("stzoo")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` that also has a random generator at a rate of 0.

    Without one, a rate that is set later raises an error in training.

    Args:
        rate, noise_shape, **kwargs: see `keras.layers.Dropout`.
        seed: int. Defaults to a random one.
    """

    def __init__(self, rate=0.0, noise_shape=None, seed=None, **kwargs):
        seed = new_seed() if seed is None else seed
        super().__init__(rate or 0.5, noise_shape, seed, **kwargs)
        self.rate = rate
