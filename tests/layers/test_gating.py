import numpy as np
from harness import check_layer, close, numpy, randomize

from stzoo.layers import SelfGating

RNG = np.random.default_rng(0)


def test_self_gating_matches_the_equation():
    x = RNG.normal(size=(2, 3, 4, 5, 8)).astype("float32")
    layer = SelfGating()
    layer.build(x.shape)
    randomize(layer)
    kernel, bias = map(numpy, layer.weights)
    scores = x.astype("float64").mean((1, 2, 3)) @ kernel + bias
    close(layer(x), x / (1 + np.exp(-scores))[:, None, None, None])


def test_layer_satisfies_the_contract_of_keras(tmp_path):
    check_layer(
        SelfGating(), RNG.normal(size=(2, 3, 4, 6, 8)).astype("float32"), tmp_path
    )
