import keras
import numpy as np
import pytest
import torch
from harness import close, numpy

from stzoo.training.adamw import AdamW


@pytest.fixture
def model():
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc")(x))


def test_updates_equal_those_of_pytorch(model):
    """With groups, a schedule, and a start that PyTorch does by a rate of 0."""
    rng = np.random.default_rng(0)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    optimizer = AdamW(
        rate,
        weight_decay=0.3,
        rates={"^fc/": 5.0, "bias$": 2.0},
        starts={"^(?!fc/)": 2},
        epsilon=1e-12,  # PyTorch adds it elsewhere
        global_clipnorm=1.5,
    )
    groups = {
        "conv/kernel": (1, 0.3),
        "conv/bias": (2, 0),
        "bn/gamma": (1, 0),
        "bn/beta": (1, 0),
        "fc/kernel": (5, 0.3),
        "fc/bias": (10, 0),
    }
    variables = model.trainable_variables
    assert [v.path for v in variables] == list(groups)
    twins = [torch.nn.Parameter(torch.tensor(numpy(v))) for v in variables]
    params = [
        {"params": [twin], "weight_decay": decay}
        for twin, (_, decay) in zip(twins, groups.values(), strict=True)
    ]
    expected = torch.optim.AdamW(params, eps=1e-12)
    for step in range(6):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        for twin, gradient in zip(twins, gradients, strict=True):
            twin.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(twins, 1.5)
        named = zip(expected.param_groups, groups.items(), strict=True)
        for group, (path, (factor, _)) in named:
            started = path.startswith("fc/") or step >= 2
            group["lr"] = started * factor * (0.1 if step <= 2 else 0.01)
        expected.step()
    for variable, twin in zip(variables, twins, strict=True):
        close(variable, twin.detach().numpy())


def test_it_works_in_fit_and_restores_from_its_config(model):
    x = np.random.default_rng(0).normal(size=(8, 3))
    optimizer = AdamW(0.01, 0.1, rates={"^fc/": 5}, starts={"^conv/": 1})
    model.compile(optimizer, "mse")
    losses = model.fit(x, x[:, :2], epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is AdamW
    assert copy.get_config() == optimizer.get_config()
    assert (copy.grouped_decay, copy.starts) == (0.1, {"^conv/": 1})
