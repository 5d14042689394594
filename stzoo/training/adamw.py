"""AdamW whose learning rate and weight decay differ between variables."""

import keras

from stzoo.training.sgd import Groups


@keras.saving.register_keras_serializable("stzoo")
class AdamW(keras.optimizers.Adam):
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
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.decoupled_decay = weight_decay
        self.exclude = tuple(exclude)
        self.rates = dict(rates or {})
        self.starts = dict(starts or {})

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._groups = Groups(
            variables, self.decoupled_decay, self.exclude, self.rates, self.starts
        )

    def update_step(self, gradient, variable, learning_rate):
        rate, decay = self._groups.find(variable, learning_rate, self.iterations)
        if decay:
            self.assign_sub(variable, rate * decay * variable)
        super().update_step(gradient, variable, rate)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay": self.decoupled_decay,
            "exclude": self.exclude,
            "rates": self.rates,
            "starts": self.starts,
        }
