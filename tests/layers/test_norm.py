import keras
import numpy as np
import pytest
import torch
from harness import check_layer, close, numpy

from stzoo.layers import BatchNorm

RNG = np.random.default_rng(0)


def twins():
    """The layer and that of PyTorch, with the same weights and statistics."""
    layer, other = BatchNorm(), torch.nn.BatchNorm3d(5)
    layer.build((None, None, None, None, 5))
    values = [RNG.uniform(0.5, 1.5, 5).astype("float32") for _ in range(4)]
    layer.set_weights(values)
    parts = (other.weight, other.bias, other.running_mean, other.running_var)
    with torch.no_grad():
        for tensor, value in zip(parts, values, strict=True):
            tensor.copy_(torch.from_numpy(value))
    return layer, other


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_moving_statistics_equal_those_of_pytorch(training):
    layer, other = twins()
    other.train(training)
    x = RNG.normal(3, 2, (2, 4, 6, 8, 5)).astype("float32")
    expected = other(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    close(layer(x, training=training), np.moveaxis(expected.detach().numpy(), 1, -1))
    close(layer.moving_mean, other.running_mean.numpy())
    close(layer.moving_variance, other.running_var.numpy())


def test_a_frozen_layer_does_not_change():
    layer, other = twins()
    layer.trainable = False
    x = RNG.normal(3, 2, (2, 4, 6, 8, 5)).astype("float32")
    before = numpy(layer.moving_mean)
    close(layer(x, training=True), layer(x, training=False))
    close(layer.moving_mean, before)


def test_training_equals_that_of_pytorch():
    """Weights and statistics agree after three steps of `fit`."""
    layer, other = twins()
    model = keras.Sequential([keras.Input((4, 6, 8, 5)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    optimizer = torch.optim.SGD(other.parameters(), 0.1)
    for _ in range(3):
        x = RNG.normal(3, 2, (2, 4, 6, 8, 5)).astype("float32")
        y = RNG.normal(size=x.shape).astype("float32")
        model.fit(x, y, verbose=0)
        optimizer.zero_grad()
        answer = other(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
        target = torch.from_numpy(np.moveaxis(y, -1, 1).copy())
        torch.nn.functional.mse_loss(answer, target).backward()
        optimizer.step()
    close(layer.gamma, other.weight.detach().numpy())
    close(layer.beta, other.bias.detach().numpy())
    close(layer.moving_mean, other.running_mean.numpy())
    close(layer.moving_variance, other.running_var.numpy())


def test_layer_satisfies_the_contract_of_keras(tmp_path):
    check_layer(
        BatchNorm(), RNG.normal(size=(2, 4, 6, 8, 5)).astype("float32"), tmp_path
    )
