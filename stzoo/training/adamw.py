"""AdamW whose learning rate and weight decay differ between variables."""

import keras

from stzoo.training.sgd import Grouped


@keras.saving.register_keras_serializable("stzoo")
class AdamW(Grouped, keras.optimizers.Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    `keras.optimizers.AdamW` has one learning rate for all variables. This optimizer has
    the groups of `stzoo.training.sgd.SGD`. Without groups, it is
    `keras.optimizers.AdamW`. A variable with a learning rate of 0 is not decayed.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: float. Each step multiplies weights by `1 - rate * weight_decay`,
            with their own learning rate.
        exclude, rates, starts: see `stzoo.training.sgd.SGD`.
        **kwargs: arguments of `keras.optimizers.Adam`, such as `global_clipnorm`.

    Example:

    >>> from stzoo.training.adamw import AdamW
    >>> optimizer = AdamW(1e-3, weight_decay=0.01, rates={"^fc/": 10})
    """

    def __init__(
        self,
        learning_rate=0.001,
        weight_decay=0.0,
        exclude=("bias$", "beta$", "gamma$"),
        rates=None,
        starts=None,
        name="AdamW",
        **kwargs,
    ):
        kwargs |= {"learning_rate": learning_rate, "name": name}
        super().__init__(weight_decay, exclude, rates, starts, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        rate, decay = self._groups.find(variable, learning_rate, self.iterations)
        if decay:
            self.assign_sub(variable, rate * decay * variable)
        super().update_step(gradient, variable, rate)
