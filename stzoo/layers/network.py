"""The kind of model that every builder returns."""

import os

import keras

from stzoo.layers.plan import make_plan, may_be_short, standardize
from stzoo.layers.preprocessing import Normalize
from stzoo.layers.rematerialization import Rematerialized


@keras.saving.register_keras_serializable("stzoo", "Network")
class Network(keras.Model):
    """A functional `keras.Model` that has a record and runs faster on PyTorch.

    PyTorch runs layers one by one, and Keras keeps all their outputs until the last
    layer is done. Each output needs new memory, which takes a fifth of the time of CoST
    on ResNet-50 for one clip on a CPU core. A call of a layer by Keras takes 0.2 ms,
    which is longer than most of the 692 layers of P3D-199 need for a clip. On PyTorch,
    this model frees a tensor after its last use, and gradients before the next step. It
    bypasses `keras.Layer.__call__` where the result is the same.

    Args:
        inputs, outputs, name: see `keras.Model`.

    Attributes:
        stzoo: `stzoo.weights.config.ModelConfig`, the record of the model. Reading it
            before it is set raises an `AttributeError`. The `Normalize` layer of the
            model stores it, so that it survives `.keras` files, `clone_model` and
            copies.
        rematerialize: bool, whether training computes the outputs of layers again for
            the gradient, instead of keeping them, see `stzoo.layers.rematerialization`.
            A step needs less memory and more time. Set it before the first step. It is
            not stored.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._plan = make_plan(self) if keras.backend.backend() == "torch" else None
        self._rematerialized = None

    @property
    def rematerialize(self):
        return self._rematerialized is not None

    @rematerialize.setter
    def rematerialize(self, value):
        run = None
        if value:
            plan = self._plan or make_plan(self)
            if plan is None:
                raise ValueError(
                    f"The model {self.name!r} cannot be rematerialized: its graph is "
                    f"not a plain one, or Keras {keras.__version__} is not known. "
                    "Leave out rematerialize."
                )
            run = Rematerialized(plan).__call__  # not a layer of this model
        self._rematerialized = run
        self.train_function = None  # of Keras, which was made for the other way

    @property
    def stzoo(self):
        for layer in self._carriers():
            if layer.record is not None:
                return layer.record
        raise AttributeError(f"The model {self.name!r} has no record of stzoo.")

    @stzoo.setter
    def stzoo(self, record):
        carriers = self._carriers()
        if not carriers:
            raise AttributeError(
                f"The model {self.name!r} has no layer `stzoo.layers.Normalize`, which "
                "stores the record of a model. Add one, or keep the record elsewhere."
            )
        for layer in carriers:
            layer.record = record

    def _carriers(self):
        return [layer for layer in self.layers if isinstance(layer, Normalize)]

    def call(self, inputs, training=None, mask=None, **kwargs):
        again = training and self.rematerialize
        x = None
        if (again or self._plan) and mask is None and not kwargs:
            x = standardize(inputs, self.input)
        if x is None:
            return super().call(inputs, training=training, mask=mask, **kwargs)
        del inputs
        short = keras.backend.backend() == "torch" and may_be_short(self)
        if again:
            return self._rematerialized(x, short=short)
        return self._plan.run([x], training, short)

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Like `keras.Model.export`, also for a model that was never called."""
        self(keras.Input(batch_shape=self.input_shape, dtype=self.input.dtype))
        # Keras accepts a `Path` for some formats, and only strings for others.
        return super().export(os.fspath(filepath), format=format, **kwargs)

    def train_step(self, *args, **kwargs):
        if keras.backend.backend() == "torch":
            # Keras drops the gradients of the last step only after the forward pass.
            self.zero_grad()
        return super().train_step(*args, **kwargs)


# A legacy .h5 file stores the `__name__` of the class, but Keras looks it up under the
# registered name.
Network.__name__ = keras.saving.get_registered_name(Network)
