"""Stochastic gradient descent like PyTorch's, with which the papers were trained."""

import math
import re

import keras
from keras import ops


class Grouped:
    """The settings of optimizers whose rate and decay differ between variables.

    It comes before the optimizer of Keras among the base classes.

    Args:
        grouped_decay: float, weight decay. Keras would apply an attribute
            `weight_decay` again.
        exclude, rates, starts: see `SGD`.
        **kwargs: arguments of the optimizer of Keras.
    """

    def __init__(self, grouped_decay, exclude, rates, starts, **kwargs):
        super().__init__(**kwargs)
        self.grouped_decay = grouped_decay
        self.exclude = tuple(exclude)
        self.rates = dict(rates or {})
        self.starts = dict(starts or {})

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._groups = Groups(
            variables, self.grouped_decay, self.exclude, self.rates, self.starts
        )

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay": self.grouped_decay,
            "exclude": self.exclude,
            "rates": self.rates,
            "starts": self.starts,
        }


@keras.saving.register_keras_serializable("stzoo")
class SGD(Grouped, keras.optimizers.Optimizer):
    """SGD with momentum whose weight decay is part of the gradient.

    `keras.optimizers.SGD(weight_decay=)` decays weights outside the momentum. With a
    momentum of 0.9, this is a tenth of the effect of the same number in PyTorch and
    Caffe. Its momentum also contains past learning rates, which matters after a drop.
    This optimizer equals `torch.optim.SGD` with its parameter groups, and
    `torch.nn.utils.clip_grad_norm_` if `global_clipnorm` is given.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: float.
        weight_decay: float, factor of each weight that is added to its gradient.
        exclude: tuple of regular expressions. Variables whose path matches one are not
            decayed. Defaults to biases and the parameters of batch norms.
        rates: dict from regular expression to float, a multiplier of the learning rate
            of variables whose path matches. Several matches are multiplied.
        starts: dict from regular expression to int, the step from which variables whose
            path matches are trained. Before it, their learning rate is 0.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as
            `global_clipnorm`.

    Example:

    >>> from stzoo.training.sgd import SGD
    >>> optimizer = SGD(0.01, weight_decay=1e-4, rates={"^fc/": 5})
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=0.0,
        exclude=("bias$", "beta$", "gamma$"),
        rates=None,
        starts=None,
        name="SGD",
        **kwargs,
    ):
        kwargs |= {"learning_rate": learning_rate, "name": name}
        super().__init__(weight_decay, exclude, rates, starts, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momenta = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        rate, decay = self._groups.find(variable, learning_rate, self.iterations)
        gradient = ops.cast(gradient, variable.dtype)
        if decay:
            gradient = gradient + decay * variable
        momentum = self._momenta[self._groups.place(variable)]
        self.assign(momentum, self.momentum * momentum + gradient)
        self.assign_sub(variable, rate * momentum)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


class Groups:
    """The learning rate and the weight decay of each variable, by its path.

    Args:
        variables: list of variables of Keras.
        decay: float, weight decay.
        exclude, rates, starts: see `SGD`.
    """

    def __init__(self, variables, decay, exclude, rates, starts):
        self._places, self._settings = {}, []
        for place, variable in enumerate(variables):
            self._places |= {id(form): place for form in _forms(variable)}

            def matching(patterns, path=variable.path):
                return [patterns[key] for key in patterns if re.search(key, path)]

            kept = any(re.search(pattern, variable.path) for pattern in exclude)
            factor = math.prod(matching(rates), start=1.0)
            start = max(matching(starts), default=0)
            self._settings.append((factor, start, 0.0 if kept else decay))

    def place(self, variable):
        """Returns the index of a variable."""
        return self._places[id(variable)]

    def find(self, variable, learning_rate, step):
        """Returns the learning rate of a variable at a step, and its weight decay."""
        factor, start, decay = self._settings[self.place(variable)]
        rate = ops.cast(learning_rate * factor, variable.dtype)
        if start:
            rate = rate * ops.cast(step >= start, variable.dtype)
        return rate, decay


def _forms(variable):
    """Returns a variable of Keras, and what TensorFlow passes to `update_step`."""
    if keras.backend.backend() != "tensorflow":
        return (variable,)
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().experimental_local_results(variable.value)
    return (variable, variable.value, *replicas)
