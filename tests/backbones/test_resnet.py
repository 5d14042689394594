import numpy as np
import pytest
import twins
from harness import ask, close, numpy

import stzoo
from stzoo.models.cost import POOLING

RNG = np.random.default_rng(0)
DEPTHS = (2, 2, 1, 1)


def logits(model, x, pooling):
    """Computes the network of Table 1 in NumPy, with the weights of `model`."""
    sizes = POOLING[pooling]
    values = {variable.path: numpy(variable) for variable in model.weights}

    def weights(name):
        return [value for path, value in values.items() if path.startswith(f"{name}/")]

    def conv(x, name, stride=1):
        first, *others = weights(name)
        if others:  # CoST: its kernel, and two dense layers
            return twins.cost_b(x, first, *others, stride)
        kernel = first if first.ndim == 5 else first[None]
        return twins.convolution(x, kernel, (1, stride, stride))

    def norm(x, name):
        gamma, beta, mean, variance = weights(name)
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def relu(x):
        return np.maximum(x, 0)

    x = (x - model.stzoo.clip.mean) / model.stzoo.clip.std
    x = relu(norm(conv(x, "conv1", 2), "bn1"))
    x = twins.max_pool(x, sizes["pool1"], (1, 2, 2), pooling != "unpadded")
    for stage, depth in enumerate(DEPTHS, start=1):
        for block in range(depth):
            name, stride = f"layer{stage}_{block}", 2 if stage > 1 > block else 1
            y = relu(norm(conv(x, f"{name}_conv1"), f"{name}_bn1"))
            y = relu(norm(conv(y, f"{name}_conv2", stride), f"{name}_bn2"))
            y = norm(conv(y, f"{name}_conv3"), f"{name}_bn3")
            if block == 0:
                x = conv(x, f"{name}_downsample_0", stride)
                x = norm(x, f"{name}_downsample_1")
            x = relu(x + y)
        if stage == 1 and pooling != "spatial":
            x = twins.max_pool(x, sizes["pool2"], (2, 1, 1))
    kernel, bias = weights("fc")
    return x.mean((1, 2, 3)) @ kernel + bias


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("builder", ["c2d_tiny", "c3d_tiny", "cost_tiny"])
def test_network_matches_its_equations(builder, pooling):
    model = stzoo.create(
        builder, input_shape=(4, 34, 36, 3), width=4, depths=DEPTHS, pooling=pooling
    )
    for variable in model.weights:
        scale = 0.2 if variable.path.endswith("fc2/kernel") else 1
        if variable.path.endswith(("gamma", "moving_variance")):
            value = RNG.uniform(0.5, 1.5, variable.shape)
        elif len(variable.shape) == 1:
            value = RNG.normal(0, 0.2, variable.shape)
        else:
            value = RNG.normal(
                0, scale * np.prod(variable.shape[:-1]) ** -0.5, variable.shape
            )
        variable.assign(value)
    x = RNG.integers(0, 256, (2, 4, 34, 36, 3)).astype("uint8")
    close(ask(model, x), logits(model, x, pooling))
