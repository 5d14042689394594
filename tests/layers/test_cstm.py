import itertools

import numpy as np
import pytest
from harness import check_layer, close, numpy, randomize
from keras import ops
from twins import convolution, gate_shift, temporal_shift

from stzoo.layers import CSTM

RNG = np.random.default_rng(0)
CHOICES = pytest.mark.parametrize(
    ("fusion", "shift"),
    [*itertools.product(("attention", "sum"), ("gate", "tsm"))],
)


def cstm(x, weights, fusion, shift):
    """Two branches, weighted by attention in each channel."""
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    gamma, beta, mean, variance = (weights[f"bn/{name}"] for name in norm)
    deep = convolution(x, weights["conv/kernel"], (1, 1, 1))
    deep = (deep - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    if shift == "tsm":
        moved = temporal_shift(x)
    else:
        gate = (weights[f"shift/bn/{name}"] for name in norm)
        moved = gate_shift(x, *gate, weights["shift/kernel"], weights["shift/bias"])
    if fusion == "sum":
        return deep + moved
    seen = (deep + moved).mean((1, 2, 3))
    hidden = seen @ weights["fc1/kernel"] + weights["fc1/bias"]
    scores = np.maximum(hidden, 0) @ weights["fc2/kernel"] + weights["fc2/bias"]
    y = np.zeros_like(x)
    for b, c in np.ndindex(len(x), x.shape[-1]):
        e3d, eshift = np.exp(scores[b, c]), np.exp(scores[b, x.shape[-1] + c])
        share = e3d / (e3d + eshift)
        y[b, ..., c] = share * deep[b, ..., c] + (1 - share) * moved[b, ..., c]
    return y


def built(**kwargs):
    layer = CSTM(name="cstm", **kwargs)
    layer.build((None, None, None, None, 8))
    randomize(layer)
    return layer


@CHOICES
@pytest.mark.parametrize("size", [(3, 3, 3), (3, 1, 1)], ids=str)
def test_cstm_matches_the_loop(size, fusion, shift):
    x = RNG.normal(size=(2, 4, 6, 8, 8)).astype("float32")
    layer = built(kernel_size=size, fusion=fusion, shift=shift, reduction=2)
    weights = {w.path.removeprefix("cstm/"): numpy(w) for w in layer.weights}
    close(layer(x), cstm(x.astype("float64"), weights, fusion, shift))


def test_coefficients_weight_the_branches():
    x = RNG.normal(size=(2, 3, 4, 5, 8)).astype("float32")
    layer = built(reduction=4)
    found = numpy(layer.coefficients(ops.convert_to_tensor(x)))
    assert found.shape == (2, 2, 8)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    convolved = numpy(layer.bn(layer.conv(x)))
    shifted = numpy(layer.shifted(x))
    convolution, shift = found[:, :, None, None, None].swapaxes(0, 1)
    close(layer(x), convolution * convolved + shift * shifted)
    assert built(fusion="sum").parts == ()
    with pytest.raises(ValueError, match="depend on the clip. Pass clips"):
        layer.coefficients()


@CHOICES
def test_layer_satisfies_the_contract_of_keras(fusion, shift, tmp_path):
    x = RNG.normal(2, size=(2, 4, 6, 8, 8)).astype("float32")
    check_layer(built(fusion=fusion, shift=shift, reduction=2), x, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "mean"}, 'fusion must be "attention" or "sum"'),
        ({"shift": "both"}, 'shift must be "gate" or "tsm"'),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CSTM(**arguments)
