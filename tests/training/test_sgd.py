import keras
import numpy as np
import pytest
import torch
from harness import close, numpy

from stzoo.training.sgd import SGD


@pytest.fixture
def model():
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc")(x))


def test_updates_equal_those_of_pytorch(model):
    rng = np.random.default_rng(0)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    rates = {"^fc/": 5.0, "bias$": 2.0}
    optimizer = SGD(rate, weight_decay=0.1, rates=rates, global_clipnorm=1.5)

    groups = {
        "conv/kernel": (1, 0.1),
        "conv/bias": (2, 0),
        "bn/gamma": (1, 0),
        "bn/beta": (1, 0),
        "fc/kernel": (5, 0.1),
        "fc/bias": (10, 0),
    }
    variables = model.trainable_variables
    assert [v.path for v in variables] == list(groups)
    twins = [torch.nn.Parameter(torch.tensor(numpy(v))) for v in variables]
    params = [
        {"params": [twin], "lr": 0.1 * factor, "weight_decay": decay}
        for twin, (factor, decay) in zip(twins, groups.values(), strict=True)
    ]
    expected = torch.optim.SGD(params, momentum=0.9)
    for step in range(6):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        for twin, gradient in zip(twins, gradients, strict=True):
            twin.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(twins, 1.5)
        for group, (factor, _) in zip(
            expected.param_groups, groups.values(), strict=True
        ):
            group["lr"] = factor * (0.1 if step <= 2 else 0.01)
        expected.step()
    for variable, twin in zip(variables, twins, strict=True):
        close(variable, twin.detach().numpy())


def test_variables_start_at_their_step(model):
    optimizer = SGD(0.1, momentum=0.0, starts={"^(?!fc/)": 2})
    variables = model.trainable_variables
    before = [numpy(v) for v in variables]
    ones = [keras.ops.ones(v.shape) for v in variables]
    for step in (1, 2, 3):
        optimizer.apply(ones, variables)
        for variable, value in zip(variables, before, strict=True):
            steps = step if variable.path.startswith("fc/") else max(step - 2, 0)
            close(variable, value - 0.1 * steps)


def test_it_works_in_fit_and_restores_from_its_config(model):
    x = np.random.default_rng(0).normal(size=(8, 3))
    optimizer = SGD(0.01, momentum=0.5, weight_decay=0.1, rates={"^fc/": 5})
    model.compile(optimizer, "mse")
    losses = model.fit(x, x[:, :2], epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
