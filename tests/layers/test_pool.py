import itertools

import keras
import numpy as np
import pytest
import twins
from harness import check_layer, close

from stzoo.layers import pool

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(1, 3, 3), (2, 1, 1), (3, 3, 3), (3, 1, 1)], ids=str)
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 9)], ids=str)
def test_max_pool_matches_the_definition(shape, size):
    """The pools are those of the code and the paper of CoST."""
    x = RNG.uniform(size=(2, *shape, 3)).astype("float32")
    strides = tuple(2 if n > 1 else 1 for n in size)
    answer = pool.max_pool(keras.ops.convert_to_tensor(x), size, strides, "pool")
    close(answer, twins.max_pool(x, size, strides))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 9), (1, 2, 3)], ids=str)
def test_max_pool_of_caffe_pools_the_remainder(shape, known):
    """There are ceil((n - size) / stride) + 1 pools. The last one can be partial."""
    x = RNG.uniform(size=(2, *shape, 3)).astype("float32")
    sizes, strides = (2, 3, 3), (2, 2, 2)
    places = [range(-(-(n - k) // 2) + 1) for n, k in zip(shape, sizes, strict=True)]
    expected = np.zeros((2, *map(len, places), 3))
    for t, h, w in itertools.product(*places):
        near = x[:, 2 * t : 2 * t + 2, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
        expected[:, t, h, w] = near.max((1, 2, 3))
    inputs = keras.Input((*shape, 3) if known else (None, None, None, 3))
    pooled = pool.max_pool(inputs, sizes, strides, "pool", ceil=True)
    close(keras.Model(inputs, pooled)(x), expected)


@pytest.mark.parametrize(
    ("sizes", "pool_size", "ceil", "text"),
    [
        ((4, 1, 9), (1, 3, 3), True, "is 1x3x3 .* its input is only 4x1x9"),
        ((1, 4, 4), (2, 1, 1), False, "is 2x1x1 .* its input is only 1x4x4"),
        (
            (None, None, 0),
            (1, 2, 2),
            False,
            r"is 1x2x2 .* its input is only \?x\?x0",
        ),
    ],
)
def test_a_clip_smaller_than_the_pool_is_an_error(sizes, pool_size, ceil, text):
    inputs = keras.Input((*sizes, 3))
    with pytest.raises(ValueError, match=f"here {text}.*larger input_shape"):
        pool.max_pool(inputs, pool_size, (2, 2, 2), "here", ceil)


# Smaller than the window, as large, less than twice and more than twice as large.
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 4, 4), (3, 5, 7), (6, 8, 9)], ids=str)
def test_window_mean_matches_the_definition(shape, known):
    x = RNG.normal(size=(2, *shape, 3)).astype("float32")
    inputs = keras.Input((*shape, 3) if known else (None, None, None, 3))
    model = keras.Model(inputs, pool.WindowMean((2, 4, 4))(inputs))
    close(model(x), twins.window_mean(x.astype("float64"), (2, 4, 4)))


def test_window_mean_is_the_mean_of_a_clip_of_its_size():
    x = RNG.normal(size=(2, 2, 7, 7, 3)).astype("float32")
    close(pool.WindowMean((2, 7, 7))(x), x.mean((1, 2, 3)))


def test_spatial_mean_keeps_frames():
    x = RNG.normal(size=(2, 3, 4, 6, 5)).astype("float32")
    close(pool.SpatialMean()(x), x.mean((2, 3)))


@pytest.mark.parametrize(
    "layer", [pool.SpatialMean, lambda: pool.WindowMean((2, 3, 3))]
)
def test_means_satisfy_the_contract_of_keras(layer, tmp_path):
    x = RNG.normal(size=(2, 3, 4, 6, 5)).astype("float32")
    check_layer(layer(), x, tmp_path)
