import keras
import numpy as np
import pytest
import torch
from harness import check_layer, close, numpy

from stzoo.layers import BatchNorm, LayerNorm

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


def test_a_layer_norm_equals_that_of_pytorch():
    layer, other = LayerNorm(epsilon=1e-3), torch.nn.LayerNorm(5, 1e-3)
    x = RNG.normal(3, 0.1, (2, 7, 5)).astype("float32")
    layer.build(x.shape)
    values = [RNG.uniform(0.5, 1.5, 5).astype("float32") for _ in range(2)]
    layer.set_weights(values)
    with torch.no_grad():
        other.weight.copy_(torch.from_numpy(values[0]))
        other.bias.copy_(torch.from_numpy(values[1]))
    close(layer(x), other(torch.from_numpy(x)).detach().numpy())


def test_a_layer_norm_computes_in_float32():
    x = RNG.normal(300, 0.5, (2, 7, 64)).astype("float32")
    half = keras.ops.cast(x, "bfloat16")
    layer, exact = LayerNorm(dtype="bfloat16"), LayerNorm()
    answer = layer(half)
    assert keras.backend.standardize_dtype(answer.dtype) == "bfloat16"
    expected = exact(keras.ops.cast(half, "float32"))
    close(keras.ops.cast(answer, "float32"), numpy(expected), 1e-2)


@pytest.mark.parametrize(
    "layer, shape", [(BatchNorm(), (2, 4, 6, 8, 5)), (LayerNorm(), (2, 7, 5))]
)
def test_layer_satisfies_the_contract_of_keras(layer, shape, tmp_path):
    check_layer(layer, RNG.normal(size=shape).astype("float32"), tmp_path)
