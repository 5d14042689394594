import keras
import numpy as np
import pytest
from harness import numpy

from stzoo.training.averages import Averages, averaged

X, Y = np.ones((1, 1), "float32"), np.full((1, 1), 8.0, "float32")


@pytest.fixture
def model():
    """One weight, whose distance to 8 halves in each step."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([layer])
    optimizer = keras.optimizers.SGD(0.25, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "mse", run_eagerly=True, jit_compile=False)
    return model


def weight(model):
    return numpy(model.trainable_variables[0]).item()


def test_the_average_is_there_for_a_while(model):
    assert [step(model) for _ in range(2)] == [4, 6]
    with averaged(model):
        assert weight(model) == 0.5 * 4 + 0.5 * 6
    assert weight(model) == 6
    with pytest.raises(KeyError), averaged(model):
        raise KeyError
    assert weight(model) == 6
    assert step(model) == 7
    with averaged(model):
        assert weight(model) == 0.5 * 5 + 0.5 * 7


def step(model):
    model.train_on_batch(X, Y)
    return weight(model)


def test_the_average_is_validated(model):
    for _ in range(2):
        step(model)
    callback = Averages()
    loss = model.evaluate(X, Y, verbose=0, callbacks=[callback])
    assert loss == (8 - 5) ** 2
    assert weight(model) == 6
    fitted = model.fit(*(X, Y), verbose=0, callbacks=[callback], validation_data=(X, Y))
    assert fitted.history["val_loss"] == [(8 - 6) ** 2]


def test_without_an_average_nothing_changes(model):
    model.compile(keras.optimizers.SGD(0.25), "mse", run_eagerly=True)
    step(model)
    with averaged(model):
        assert weight(model) == 4
    assert weight(model) == 4
