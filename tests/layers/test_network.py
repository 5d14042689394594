import gc
import weakref

import keras
import numpy as np
import pytest
from harness import close

from stzoo.layers.network import Network

only_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="others run as a graph"
)


class Log:
    """Weak references to what layers returned, and which were alive at the last."""

    def __init__(self):
        self.results, self.alive = [], []

    def note(self, outputs):
        gc.collect()  # Keras leaves cycles around lists of tensors
        self.alive = [
            i for i, result in enumerate(self.results) if result() is not None
        ]
        self.results.append(weakref.ref(outputs))


class Double(keras.layers.Layer):
    def __init__(self, log, **kwargs):
        super().__init__(**kwargs)
        self.log = log

    def call(self, inputs):
        outputs = inputs * 2
        self.log.note(outputs)
        return outputs


def graph(log):
    """Two residual units of two layers."""
    inputs = x = keras.Input((3,))
    for _ in range(2):
        y = Double(log)(Double(log)(x))
        x = keras.layers.Add()([x, y])
    return inputs, keras.layers.Add()([x, x])


def test_it_answers_like_a_keras_model():
    x = np.arange(6, dtype="float32").reshape(2, 3)
    network = Network(*graph(Log()), name="units")
    close(network(x), 50 * x)
    close(network.predict(x, verbose=0), 50 * x)
    close(keras.Model(*graph(Log()))(x), 50 * x)


def test_it_trains_like_a_keras_model():
    """Layers learn whether they train, and what is added to the loss arrives."""
    inputs = keras.Input((3,))
    norm = keras.layers.BatchNormalization(momentum=0.5, activity_regularizer="l2")
    network = Network(inputs, keras.layers.Dropout(1 - 1e-7)(norm(inputs)))
    x = np.arange(6, dtype="float32").reshape(2, 3)
    close(network(x), x / np.sqrt(1 + 1e-3))
    close(norm.moving_mean, np.zeros(3))
    close(network(x, training=True), np.zeros((2, 3)))
    close(norm.moving_mean, x.mean(0) / 2)
    assert len(network.losses) == 1


def test_it_computes_in_the_type_that_is_asked_for():
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(2, dtype="mixed_bfloat16")
    assert (
        keras.backend.standardize_dtype(
            Network(inputs, dense(inputs))(np.ones((1, 3), "float32")).dtype
        )
        == "bfloat16"
    )


@only_torch
def test_it_calls_what_a_user_has_hooked():
    network = Network(*graph(Log()))
    seen = []
    network.layers[1].register_forward_hook(lambda *args: seen.append(args[0].name))
    network(np.ones((2, 3), "float32"))
    assert seen == [network.layers[1].name]


@only_torch
def test_it_holds_what_is_still_needed_alone():
    log = Log()
    network = Network(*graph(log))
    log.results.clear()
    network(np.ones((2, 3), "float32"))
    assert log.alive == [2]  # the input of the last one, not the first unit's


@only_torch
def test_it_lets_go_of_gradients_before_a_step():
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(1)
    network = Network(inputs, dense(inputs))
    network.compile(keras.optimizers.SGD(0.5), "mse")
    held = []
    dense.register_forward_pre_hook(lambda *_: held.append(dense.kernel.value.grad))
    x = np.ones((2, 3), "float32")
    for _ in range(2):
        network.train_on_batch(x, x[:, :1])
    assert held == 3 * [None], "of building and of two steps"
    assert dense.kernel.value.grad is not None
