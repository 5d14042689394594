import itertools

import keras
import numpy as np
import pytest
import twins
from harness import close

from stzoo.layers import pool

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(1, 3, 3), (2, 1, 1), (3, 3, 3), (3, 1, 1)], ids=str)
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 9)], ids=str)
def test_max_pool_is_the_definition(shape, size):
    """The pools of CoST's code and paper."""
    x = RNG.uniform(size=(2, *shape, 3)).astype("float32")
    strides = tuple(2 if n > 1 else 1 for n in size)
    answer = pool.max_pool(keras.ops.convert_to_tensor(x), size, strides, "pool")
    close(answer, twins.max_pool(x, size, strides))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 9), (1, 2, 3)], ids=str)
def test_max_pool_of_caffe_leaves_nothing_over(shape, known):
    """ceil((n - size) / stride) + 1 places, the last one perhaps not a whole pool."""
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
        ((4, 1, 9), (1, 3, 3), True, "pools 1x3x3 places .* of the clip 4x1x9 are"),
        ((1, 4, 4), (2, 1, 1), False, "pools 2x1x1 places .* of the clip 1x4x4 are"),
        (
            (None, None, 0),
            (1, 2, 2),
            False,
            r"pools 1x2x2 .* of the clip \?x\?x0 are left",
        ),
    ],
)
def test_a_clip_smaller_than_the_pool_is_an_error(sizes, pool_size, ceil, text):
    inputs = keras.Input((*sizes, 3))
    with pytest.raises(ValueError, match=f"here {text}.*larger input_shape"):
        pool.max_pool(inputs, pool_size, (2, 2, 2), "here", ceil)
